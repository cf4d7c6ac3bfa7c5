"""``validate``: does the graph of a run predict what the model does?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory
from feature_graph.terminal import percent


def validate(
    run_dir: RunDirectory,
    behavior: Annotated[
        list[str] | None, typer.Option("--behavior", "-b", help="A behaviour's name or a YAML file; may be repeated. Default: all eight.")
    ] = None,
    sources: Annotated[int, typer.Option("--sources", min=4, help="Random features to steer, in addition to ten hubs.")] = 60,
    as_json: JsonOption = False,
) -> None:
    """Study behaviours (score, seeds, faithfulness) and compare forecasts of steering with the model.

    Needs the run's activations, interactions and graph. Writes validation.json. What was measured before is kept, so that an
    interrupted validation is resumed.
    """
    from feature_graph.artifacts import RunPaths
    from feature_graph.evaluation.validation import ALL_BEHAVIORS, validate_run
    from feature_graph.pipeline import locked

    common.load_config(str(run_dir))
    with locked(RunPaths.of(run_dir).lock):
        found = validate_run(run_dir, behavior or ALL_BEHAVIORS, n_sources=sources)
    if as_json:
        common.out.print_json(data={key: value for key, value in found.items() if key != "pairs"})
        return
    heads = ["behaviour", "score", "right", "seeds", "size", "faithful", "random", "complete", "80 %"]
    common.out.print(common.table("Behaviours", heads, _behaviors(found["behaviors"]), right=heads[1:]))
    heads = ["hop", "pairs", "Spearman", "95 %", "Pearson", "slope", "sign", "covered"]
    common.out.print(common.table("Forecast of steering compared with the model", heads, _hops(found["cascade"]), right=heads[1:]))
    heads = ["hop", "graph", "cosine", "co-activation", "Jacobian", "placebo"]
    common.out.print(common.table("Rank correlation compared with other forecasts", heads, _baselines(found["cascade"]), right=heads[1:]))
    rate = found["replication_rate"]
    if rate is not None:
        common.out.print(f"{percent(rate, 1)} of the significant edges replicate on held-out documents", highlight=False)
    common.out.print(f"{RunPaths.of(run_dir).validation} holds all figures", highlight=False, soft_wrap=True)


def _behaviors(found: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, b in found.items():
        yield (
            name if b["able"] else f"{name} (cannot)",
            _number(b["score"], ".2f"),
            "" if b["accuracy"] is None else percent(b["accuracy"]),
            f"{b['confirmed']}/{b['seeds']}",
            b["size"],
            *(_number(b[key], ".2f") for key in ("faithfulness", "random_faithfulness", "completeness")),
            _number(b["size_for_80"], ".0f"),
        )


def _hops(found: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, h in _by_hop(found):
        between = "" if None in h["ci"] else f"{h['ci'][0]:.2f} … {h['ci'][1]:.2f}"
        figures = (h["pearson"], h["slope"], h["sign"], h["coverage"])
        yield (name, h["n"], _number(h["spearman"], ".2f"), between, *(_number(value, ".2f") for value in figures))


def _baselines(found: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, h in _by_hop(found):
        yield (name, *(_number(value, ".2f") for value in (h["spearman"], *h["baselines"].values(), h["placebo"])))


def _by_hop(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name.removeprefix("hop"), value) for name, value in found.items() if name.startswith("hop"))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
