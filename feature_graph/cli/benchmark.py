"""``feature-graph calibrate --score``, ``--export`` and ``--methods``: the benchmark of edges."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_graph.cli import common
from feature_graph.cli.common import out, table

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the tables, and their headings.
_HEADINGS = {
    "method": "method",
    "model": "model",
    "true": "true",
    "precision": "precision",
    "precision_computed": "computed",
    "signs": "signs",
    "rank_correlation": "rank",
    "recall": "recall",
    "false": "false",
}


def answer(score: Path | None, export: Path | None, models: str, *, as_json: bool) -> None:
    """Score a file, or write models, or score the known methods: the first that is asked for."""
    from feature_graph.evaluation.benchmark import STANDARD, compare_methods, export_models, read_edges, score_edges

    names = [name.strip() for name in models.split(",") if name.strip()] or list(STANDARD)
    if score is not None:
        _print("Edges against the truth", score_edges(read_edges(score)), as_json=as_json)
    elif export is not None:
        places = export_models(names, export)
        common.answer(as_json, [str(place) for place in places]) if as_json else out.print("\n".join(map(str, places)), highlight=False)
    else:
        _print("Ways to draw edges, means over the models", compare_methods(names), as_json=as_json)


def _print(title: str, found: pd.DataFrame, *, as_json: bool) -> None:
    if as_json:
        common.answer(as_json, [_plain(row) for row in found.to_dict("records")])
        return
    if "method" in found:
        found = found.drop(columns="model").groupby("method", sort=False).mean().reset_index()
    columns = [name for name in _HEADINGS if name in found]
    rows = [[None if _missing(row[name]) else row[name] for name in columns] for row in found.to_dict("records")]
    headings = [_HEADINGS[name] for name in columns]
    out.print(table(title, headings, rows, right=[h for h in headings if h not in ("method", "model")]))


def _missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): None if _missing(value) else value for name, value in row.items()}
