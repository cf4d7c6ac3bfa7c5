"""``pruning-recall``: which share of the true edges the pruning stages of a run lose, measured on an exhaustive slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory
from feature_graph.terminal import percent

if TYPE_CHECKING:
    from feature_graph.artifacts import PruningRecall


def pruning_recall(
    run_dir: RunDirectory,
    sources: Annotated[
        int,
        typer.Option(
            "--sources",
            min=2,
            help="Sources per site: in equal parts top features, others and, if there is one, sources of the shortlist.",
        ),
    ] = 8,
    as_json: JsonOption = False,
) -> None:
    """Measure what share of the true edges pruning loses.

    All effects of a few sources are measured and compared with what each pruning stage keeps, and with what the shortlist by
    responses keeps if candidates are chosen by it. Needs the run's activations, atlas and
    candidates. Writes pruning_recall.json, which the report shows. An interrupted measurement is resumed.
    """
    found = _measure(run_dir, sources)
    if as_json:
        common.out.print_json(data=found.to_dict())
        return
    _show(found)
    common.out.print(f"Add it to the report: feature-graph report {run_dir}", highlight=False, soft_wrap=True)


def _measure(run_dir: Path, sources: int) -> PruningRecall:
    from feature_graph.artifacts import ActivationStore, CandidateSet, CoactivationAtlas, RunPaths
    from feature_graph.evaluation.pruning_recall import pruning_recall as measure
    from feature_graph.loading import load_model_and_saes
    from feature_graph.pipeline import locked

    cfg, paths = common.load_config(str(run_dir)), RunPaths.of(run_dir)
    store = ActivationStore.load(paths.activations)
    atlas, chosen = CoactivationAtlas.load(paths.atlas), CandidateSet.load(paths.candidates)
    with locked(paths.lock):
        model, saes = load_model_and_saes(cfg, run_dir)
        shortlisted = chosen.frame if cfg.candidates == "responses" else None
        found = measure(
            model, saes, store, atlas, cfg,
            n_sources=sources, importance=chosen.importance, shortlisted=shortlisted, parts_dir=paths.parts("recall"),
        )  # fmt: skip
        found.save(paths.pruning_recall)
    return found


def _show(found: PruningRecall) -> None:
    s = found.settings
    common.out.print(
        f"{found.tested:,} pairs measured, {found.edges:,} significant at {s['level']:g} ({s['correction']}); "
        f"{sum(d['drawn'] for d in found.sources.values())} sources stand for {sum(d['testable'] for d in found.sources.values()):,}.",
        highlight=False,
    )
    for group, title in (
        ("all", "Edges of all testable sources"),
        ("chosen", "Edges of the sources of the shortlist"),
        ("top", f"Edges of the top {s['top_k_features']} sources of each site"),
    ):
        if not found.has(group):
            continue
        heads = ["stage", "edges", "lost", "of", "share", "95 %", "strength"]
        common.out.print(common.table(title, heads, _rows(found, group), right=heads[2:]))
    for reason, count in found.left_out.items():
        common.out.print(f"left out: {count} sources, {reason}", highlight=False)


def _rows(found: PruningRecall, group: str) -> Iterator[tuple[object, ...]]:
    for loss in found.losses:
        if loss.sources != group or (group == "top" and loss.stage == "source"):
            continue
        between = "" if loss.low is None or loss.high is None else f"{percent(loss.low)} … {percent(loss.high)}"
        shares = ["" if share is None else percent(share, 1) for share in (loss.share, loss.strength_share)]
        yield (
            *(("", loss.sign) if loss.sign != "both" else (found.stage_names[loss.stage], "all")),
            loss.lost,
            loss.edges,
            shares[0],
            between,
            shares[1],
        )
