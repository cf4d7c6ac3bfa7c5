"""``composition``: what a run's edges are made of."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory
from feature_graph.terminal import percent

if TYPE_CHECKING:
    from pathlib import Path

    from feature_graph.analysis import Computation, EdgeShare
    from feature_graph.artifacts import InteractionSet
    from feature_graph.cli.tables import FittedTable


def composition(
    run_dir: RunDirectory,
    method: Annotated[
        str | None, typer.Option("--method", help="Method whose edges are used: clamping or jacobian. Default: clamping if the run has it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the significant edges of a run are made of: copies, and what the model computes.

    Of all edges significant by any effect, unfiltered: the share of each kind, how many of them replicate on the confirm documents, and
    how many are at least as much computed as copied, by the number of blocks that they cross.
    """
    from feature_graph.analysis import composition as shares_of
    from feature_graph.analysis import computation

    found, chosen = edges_of(run_dir, method)
    shares, by_distance = shares_of(found.frame, float(found.meta.get("level", 0.05))), computation(found.frame)
    tested = found.meta.get("families", {}).get("total", len(found))
    if as_json:
        answer = {"tested": tested, "method": chosen, "kinds": [_plain(s) for s in shares]}
        blocks = [asdict(part) | {"share": part.share} for part in by_distance.by_blocks]
        common.answer(True, answer | {"computed": {"by_blocks": blocks, "largest": by_distance.largest, "summary": by_distance.summary()}})
        return
    rows = [(s.kind, f"{s.edges:,}", _percent(s.share), f"{s.replication.measured:,}", _rate(s)) for s in shares]
    table = common.table(
        f"Edges of {run_dir} ({chosen}), of {tested:,} tested pairs",
        ("kind", "edges", "share", "measured again", "replicated"),
        rows,
        right=("edges", "share", "measured again"),
    )
    common.out.print(table)
    common.out.print(_by_distance(by_distance))
    common.answer(False, None, by_distance.summary())
    if not any(s.kind == "specific" for s in shares):
        common.say("Specificity was not measured in this run, so specific and generic edges are not told apart.")


def edges_of(run_dir: Path, method: str | None = None) -> tuple[InteractionSet, str]:
    """What a run measured by one method, and its name; without one, by clamping if the run has it."""
    from feature_graph.artifacts import InteractionSet, RunPaths

    found = InteractionSet.load(RunPaths.of(run_dir).interactions)
    methods = sorted(found.frame["method"].unique())
    chosen = method or ("clamping" if "clamping" in methods or not methods else methods[0])
    if methods and chosen not in methods:
        common.fail(f"--method: got {chosen}; the run was measured by {', '.join(methods)}", common.USAGE)
    return InteractionSet(found.frame[found.frame["method"] == chosen], found.meta), chosen


def _by_distance(found: Computation) -> FittedTable:
    from feature_graph.analysis import COMPUTED

    rows = [(part.blocks, f"{part.edges:,}", f"{part.computed:,}", _percent(part.share)) for part in found.by_blocks]
    heads = ("blocks crossed", "edges", COMPUTED, "share")
    return common.table("What is computed, by distance", heads, rows, right=heads)


def _percent(value: float) -> str:
    return "" if math.isnan(value) else percent(value, 1)


def _rate(share: EdgeShare) -> str:
    found = share.replication
    return "" if math.isnan(found.rate) else f"{percent(found.rate, 1)} ({percent(found.rate_low, 1)} to {percent(found.rate_high, 1)})"


def _plain(share: EdgeShare) -> dict[str, Any]:
    values = asdict(share) | {"replication": {k: None if v != v else v for k, v in asdict(share.replication).items()}}
    return values | {"share": None if math.isnan(share.share) else share.share}
