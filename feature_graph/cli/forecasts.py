"""``forecasts``: which forecast of steering is the best, on documents that none of them has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory, check_exists

_TITLES = {
    "total": "Total change: rank correlation with the forecast by sites crossed, pooled (within sources)",
    "computed": "Computed change: total minus what the copied direction alone does at the same tokens",
    "orthogonal": "Total change of pairs with |cosine| < 0.02",
}
_OPEN = {"often": "targets with P̂ ≥ 0.1", "rare": "targets with P̂ < 0.1"}


def forecasts(
    run_dir: RunDirectory,
    sources: Annotated[int, typer.Option("--sources", min=4, help="Random features to steer, equally many per site.")] = 60,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Text to steer on, a file or a folder, instead of the run's confirm documents; preferably held out.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare forecasts of steering: response, measured edge, paths, and baselines such as the cosine and its negative.

    Random features are steered on held-out documents, by a size and sign that nothing was measured with: the run's confirm documents, or
    with --text another text, which can be one that trained no dictionary. Needs the run's activations; if the run has no responses, those
    of the steered features are measured first. Writes forecasts.json.
    """
    from feature_graph.artifacts import RunPaths
    from feature_graph.evaluation.forecasts import ComparisonOptions, compare_run
    from feature_graph.pipeline import locked

    check_exists(text, "--text")
    common.load_config(str(run_dir))
    with locked(RunPaths.of(run_dir).lock):
        found = compare_run(run_dir, ComparisonOptions(n_sources=sources), text=None if text is None else str(text))
    if as_json:
        common.out.print_json(data=found)
        return
    _show(found)
    common.out.print(f"{RunPaths.of(run_dir).forecasts} holds all figures", highlight=False, soft_wrap=True)


def _show(found: dict[str, Any]) -> None:
    from feature_graph.evaluation.forecasts import score_rows

    for key, name in _OPEN.items():
        for effect, scores in found["scores"][key].items():
            heads = ["forecast", *scores]
            title = f"{_TITLES[effect]}; {name}"
            common.out.print(common.table(title, heads, score_rows(scores, _number), right=heads[1:]))
    where = "held-out documents of the run" if found["text"] is None else found["text"]
    common.out.print(f"{len(found['sources'])} sources were steered on {where}", highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
