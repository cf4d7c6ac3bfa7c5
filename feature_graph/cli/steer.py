"""``steer``: what else moves when one feature is steered, and counter-steers against it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory, ending
from feature_graph.cli.features import SteeredFeature, SteeringDelta, check_features, check_nodes
from feature_graph.terminal import percent

if TYPE_CHECKING:
    import pandas as pd

    from feature_graph.steering import Compensation, CompensationOptions, SideEffects

_HOW = "--target, --measured, --compensate-directly"


def steer(
    run_dir: RunDirectory,
    feature: SteeredFeature,
    delta: SteeringDelta = -0.5,
    compensate: Annotated[
        str, typer.Option("--compensate", metavar="IDS", help="Side effects to cancel by counter-steers, such as L11_F5,L15_F7.")
    ] = "",
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The intended change, which is to stay. Default: the largest that is forecast.")
    ] = None,
    max_counter_steers: Annotated[int, typer.Option("--max-counter-steers", min=1, help="Maximum number of counter-steers.")] = 3,
    measured: Annotated[
        bool, typer.Option("--measured", help="Cancel the side effects measured on other documents, not those that the graph forecasts.")
    ] = False,
    compensate_directly: Annotated[
        bool, typer.Option("--compensate-directly", help="Allow counter-steers on the named features themselves.")
    ] = False,
    top: Annotated[int, typer.Option("--top", "-n", min=1, help="Number of side effects to print.")] = 15,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", callback=ending(".html", ".htm"), help="Write pictures to this page."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Steer one feature in the model: what else moves, how the output changes, and which counter-steers cancel side effects.

    The delta is added at one position at which the feature is active, in documents of the confirm split. What moves is compared with the
    graph's forecast. Needs the run's activations and graph.
    """
    named = [part.strip() for part in compensate.split(",") if part.strip()]
    _check(run_dir, feature, delta, compensate, named, target)
    if not named and (target or measured or compensate_directly):
        raise typer.BadParameter("these say how side effects are cancelled; name them by --compensate", param_hint=_HOW)
    check_nodes(run_dir, [feature, *named, *([target] if target else [])])
    from feature_graph.steering import CompensationOptions

    aim: Literal["forecast", "measured"] = "measured" if measured else "forecast"
    options = CompensationOptions(at_most=max_counter_steers, target=target, aim=aim, themselves=compensate_directly)
    effects, countered, G = _measure(run_dir, feature, delta, named, options)
    if output is not None:
        _draw(G, effects, countered, output)
    if as_json:
        data = {"side_effects": effects.to_dict(), "compensation": None if countered is None else countered.to_dict()}
        common.out.print_json(data=data)
        return
    _show(effects, countered, top)
    if output is not None:
        common.out.print(f"written to {output}", highlight=False, soft_wrap=True)


def _check(run_dir: Path, feature: str, delta: float, text: str, named: list[str], target: str | None) -> None:
    options = [("--feature", feature), *(("--compensate", name) for name in named), *([("--target", target)] if target else [])]
    for option, name in options:
        check_features(run_dir, option, [name])
    if not (math.isfinite(delta) and delta != 0):
        raise typer.BadParameter(f"got {delta}; expected a finite number other than 0", param_hint="--delta")
    if text and not named:
        raise typer.BadParameter(f"got {text!r}; expected ids such as L11_F5,L15_F7", param_hint="--compensate")


def _measure(
    run_dir: Path, feature: str, multiple: float, named: list[str], options: CompensationOptions
) -> tuple[SideEffects, Compensation | None, Any]:
    from feature_graph.artifacts import ActivationStore, RunPaths, feature_key
    from feature_graph.graph import load_graph
    from feature_graph.interventions import AnalysedModel
    from feature_graph.loading import load_model_and_saes
    from feature_graph.steering import SteeringError, check_compensation, check_steer, compensate, side_effects

    cfg, paths = common.load_config(str(run_dir)), RunPaths.of(run_dir)
    store, G = ActivationStore.load(paths.activations), load_graph(paths.graph_json)
    check_steer(G, store, feature, multiple)
    layer, index = feature_key(feature, store.layers)
    unit = float(store.mean_activations[layer][index])
    if unit <= 0:
        raise SteeringError(f"--feature: {feature} is never active in the recorded text")
    delta = multiple * unit
    if named:
        check_compensation(G, feature, named, options)
    model, saes = load_model_and_saes(cfg, run_dir)
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    effects = side_effects(analysed, saes, G, store, feature, delta, cfg)
    if not named:
        return effects, None, G
    return effects, compensate(analysed, saes, G, store, feature, delta, named, cfg, options), G


def _draw(G: Any, effects: SideEffects, countered: Compensation | None, output: Path) -> None:
    from feature_graph.steering import predict_cascade
    from feature_graph.visualization import render_side_effects

    cascade = predict_cascade(G, effects.source, effects.delta, effects.n_hops)
    title = f"Steering {effects.source} by {effects.delta / effects.unit:+.3g} × its mean activation"
    render_side_effects(G, effects, output, cascade=cascade, compensation=countered, title=title)


def _show(effects: SideEffects, countered: Compensation | None, top: int) -> None:
    shown = effects.table(top)
    heads = ["feature", "hop", "forecast", "measured", "95 %", "of its mean", "on", "label"]
    title = (
        f"Side effects of {effects.source} by {effects.delta:+.4g} ({effects.delta / effects.unit:+.3g} × its mean activation): "
        f"{effects.n_moved} of {len(effects.features)} later features moved"
    )
    common.out.print(common.table(title, heads, _feature_rows(shown), right=heads[1:-1]))
    heads = ["position", "KL", "95 %", "random", "text's next token", "other top"]
    common.out.print(common.table("Output: KL(steered ‖ clean) in nats", heads, _output_rows(effects), right=heads))
    heads = ["gained", "before", "after", "lost", "before ", "after "]
    common.out.print(
        common.table("Next token at the steered position", heads, _token_rows(effects), right=["before", "after", "before ", "after "])
    )
    common.out.print(_agreement(effects), highlight=False, soft_wrap=True)
    if countered is not None:
        common.out.print(common.escaped(countered.summary()), highlight=False, soft_wrap=True)


def _agreement(effects: SideEffects) -> str:
    found = effects.agreement()
    where = f"in {effects.n_documents} held-out documents"
    if found.spearman != found.spearman:
        return f"measured {where}; the forecast reaches {found.n} features, too few to correlate forecast and measurement"
    return (
        f"forecast from {effects.based_on} and measurement {where}, over {found.n} features: Spearman {found.spearman:.2f}, slope "
        f"{found.slope:.2f}"
    )


def _feature_rows(shown: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    for row in shown.to_dict("records"):
        yield (
            row["feature"],
            row["hop"] or "–",
            f"{row['forecast']:+.3g}" if row["hop"] or row["forecast"] else "–",
            f"{row['measured']:+.3g}",
            f"{row['ci_low']:+.2g} … {row['ci_high']:+.2g}",
            f"{row['relative']:+.1%}",
            f"{percent(row['on_before'])} → {percent(row['on_after'])}",
            row["label"],
        )


def _output_rows(effects: SideEffects) -> Iterator[tuple[object, ...]]:
    for row in effects.output.to_dict("records"):
        yield (
            f"+{row['offset']}" if row["offset"] else "steered",
            f"{row['kl']:.3g}",
            f"{row['kl_low']:.2g} … {row['kl_high']:.2g}",
            f"{row['placebo_kl']:.2g}",
            "–" if row["next_change"] != row["next_change"] else f"{row['next_change']:+.3f}",
            percent(row["top_changed"]),
        )


def _token_rows(effects: SideEffects) -> Iterator[tuple[object, ...]]:
    here = effects.tokens[effects.tokens["when"] == "here"]
    sides = [here[here["side"] == side].to_dict("records") for side in ("gained", "lost")]
    for pair in zip_longest(*sides):
        yield tuple(
            v for row in pair for v in (("", "", "") if row is None else (repr(row["text"]), _p(row["p_before"]), _p(row["p_after"])))
        )


def _p(value: float) -> str:
    return f"{value:.4f}"
