"""``cascade``: what steering one feature is forecast to do, and how much of that the paths of the graph explain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory
from feature_graph.cli.features import SteeredFeature, SteeringDelta, check_features, check_nodes

if TYPE_CHECKING:
    from feature_graph.steering import Cascade


def cascade(
    run_dir: RunDirectory,
    feature: SteeredFeature,
    delta: SteeringDelta = -0.5,
    hops: Annotated[int, typer.Option("--hops", min=1, help="Longest path that is listed, in edges. The changes do not depend on it.")] = 3,
    paths_only: Annotated[bool, typer.Option("--paths-only", help="Forecast from paths even if the run has responses.")] = False,
    top: Annotated[int, typer.Option("--top", "-n", min=1, help="Number of changes and of paths to print.")] = 15,
    as_json: JsonOption = False,
) -> None:
    """Forecast what steering one feature does to the others, without running the model.

    The forecast comes from the feature's measured response if the run has responses, otherwise from paths of the graph. Either way the sum
    over paths and what it leaves unexplained are columns.
    """
    if not math.isfinite(delta):
        raise typer.BadParameter(f"got {delta}; expected a finite number", param_hint="--delta")
    check_features(run_dir, "--feature", [feature])
    check_nodes(run_dir, [feature])
    from feature_graph.graph import graph_of_run
    from feature_graph.steering import predict_cascade

    graph = graph_of_run(run_dir)
    found = predict_cascade(graph, feature, delta * _unit(graph, feature), hops, top_paths=top, by="paths" if paths_only else "responses")
    if as_json:
        common.out.print_json(data=found.to_dict(top))
        return
    _show(found, delta, top)


def _unit(graph: Any, feature: str) -> float:
    """Its mean activation where active.

    Raises:
        SteeringError: If the graph does not tell it.
    """
    from feature_graph.steering import SteeringError

    unit = float(graph.nodes[feature].get("mean_act", math.nan))
    if not unit > 0:
        raise SteeringError(
            f"--delta: the graph does not tell the mean activation of {feature}; call predict_cascade with activation units"
        )
    return unit


def _show(found: Cascade, delta: float, top: int) -> None:
    from ingest import counted

    heads = ["feature", "hop", "forecast", "by paths", "unexplained", "label"]
    change = counted(len(found.effects), "feature changes", "features change")
    title = f"Steering {found.source} by {found.steer_delta:+.4g} ({delta:+.3g} × its mean activation): {change}"
    common.out.print(common.table(title, heads, _rows(found, top), right=heads[1:-1]))
    if found.paths:
        paths = ((f"{path.effect:+.3g}", " → ".join(path.nodes)) for path in found.paths)
        common.out.print(common.table("Paths that contribute most", ["change", "path"], paths, right=["change"]))
    said = "forecast from the measured response" if found.based_on == "responses" else f"forecast from paths: {found.why_paths}"
    common.out.print(common.escaped(said), highlight=False, soft_wrap=True)


def _rows(found: Cascade, top: int) -> Iterator[tuple[object, ...]]:
    for row in found.table(top).to_dict("records"):
        yield (
            row["feature"],
            row["hop"] or "–",
            f"{row['forecast']:+.3g}",
            f"{row['by_paths']:+.3g}" if row["hop"] else "–",
            "–" if math.isnan(row["unexplained"]) else f"{row['unexplained']:+.3g}",
            row["label"],
        )
