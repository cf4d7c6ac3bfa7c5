"""Runs as wholes: what is there, one run as files, two runs side by side."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

import queries
from feature_graph.database.store.database import Store
from feature_graph.database.store.errors import StoreError
from feature_graph.utils import whole_file
from ingest.graphml import write_graphml

ExportFormat = Literal["csv", "parquet", "graphml"]
#: Change of strength, as a share of the larger one, from which an edge counts as changed.
TOLERANCE = 0.1

_RUNS = """
MATCH (r:Run) WHERE r.n IS NOT NULL AND r.status IN ['loading', 'ready', 'failed', 'dropped']
OPTIONAL MATCH (r)-[:OF_MODEL]->(m:Model) WHERE m.uid IS NOT NULL
RETURN r.id AS id, r.name AS name, r.status AS status, m.uid AS model, r.layers AS layers, r.methods AS methods,
       r.nodes AS nodes, r.edges AS edges, r.created AS created, r.error AS error
ORDER BY r.n
"""
_EDGES = """
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
RETURN s.uid AS source, t.uid AS target, e.strength AS strength
"""


def list_runs(db: Store) -> pd.DataFrame:
    """Every run in the database, oldest first, whatever its status.

    Returns:
        ``id``, ``name``, ``status``, ``model``, ``layers``, ``methods``, ``nodes``, ``edges``, ``created`` (ms since 1970), ``error``.
    """
    return db.run(_RUNS, {})


def export_run(db: Store, run: str | None, folder: str | Path, kind: ExportFormat = "csv", method: str | None = None) -> list[Path]:
    """Write a ready run's features and edges as files that other programs read.

    Args:
        db: An open database.
        run: Id of the run, the beginning of it, or its name; the newest ready one if None.
        folder: Made if it is not there.
        kind: ``csv`` and ``parquet``: ``nodes`` and ``edges`` files; ``graphml``: one ``graph.graphml``.
        method: Whose edges; clamping where the run has it, if None.

    Returns:
        The files.

    Raises:
        StoreError: If the format is unknown.
        queries.QueryError: If there is no such ready run.
    """
    if kind not in get_args(ExportFormat):
        raise StoreError(f"format: got {kind!r}; expected one of {', '.join(get_args(ExportFormat))}")
    nodes, edges = db.fetch_features(run), db.fetch_edges(run, method)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "graphml":
        path = folder / "graph.graphml"
        with whole_file(path) as part:
            _write_graphml(part, nodes, edges)
        return [path]
    paths = []
    for name, frame in (("nodes", nodes), ("edges", edges)):
        path = folder / f"{name}.{kind}"
        with whole_file(path) as part:
            _write_csv(part, frame) if kind == "csv" else frame.to_parquet(part, index=False)
        paths.append(path)
    return paths


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Quoted throughout where a text holds a carriage return, which the csv module of Python leaves bare."""
    strange = any(frame[c].map(lambda v: isinstance(v, str) and "\r" in v).any() for c in frame)
    frame.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC if strange else csv.QUOTE_MINIMAL)


def _write_graphml(path: Path, nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    """GraphML has no empty values and no lists."""
    named = [(str(row.pop("id")), _plain(row)) for row in nodes.to_dict("records")]
    joined = [(str(row.pop("source")), str(row.pop("target")), _plain(row)) for row in edges.to_dict("records")]
    with path.open("w", encoding="utf-8") as file:
        write_graphml(file, {}, named, joined)


def _plain(values: dict[Any, Any]) -> dict[str, Any]:
    kept = {str(k): json.dumps(v) if isinstance(v, list | dict) else v for k, v in values.items()}
    return {k: v for k, v in kept.items() if v is not None and not (isinstance(v, float) and np.isnan(v))}


@dataclass(frozen=True)
class RunDiff:
    """Two runs edge by edge.

    Attributes:
        first: Id of the first run.
        second: Id of the second.
        edges: ``source``, ``target`` (uids), ``change``, ``strength`` (first), ``other_strength`` (second), largest change first.
        counts: ``gained``, ``lost``, ``flipped``, ``changed``, ``kept`` → edges.
    """

    first: str
    second: str
    edges: pd.DataFrame
    counts: dict[str, int]


def diff_runs(
    db: Store, first: str, second: str, method: str | None = None, tolerance: float = TOLERANCE, other_method: str | None = None
) -> RunDiff:
    """Compare the edges of two ready runs, feature by feature (the same feature has the same uid in every run).

    Args:
        db: An open database.
        first: Id of a run, the beginning of it, or its name.
        second: The other.
        method: Whose edges of the first run; clamping where it has it, else its only one, if None.
        tolerance: Change of strength, as a share of the larger one, from which an edge counts as ``changed``.
        other_method: Whose edges of the second run; the same if it has edges by it, else its only one, if None.

    Raises:
        queries.QueryError: If one of them is no ready run, or has no edges by the method.
    """
    ids = [db.find_run(run) for run in (first, second)]
    chosen = db.choose_method(ids[0], method)
    other = queries.choose_other_method(chosen, ids[1], db.methods(ids[1]), other_method)
    one, two = (db.run(_EDGES, {"run": run, "method": m}) for run, m in zip(ids, (chosen, other), strict=True))
    both = one.merge(two.rename(columns={"strength": "other_strength"}), on=["source", "target"], how="outer")
    a, b = both["strength"].to_numpy(float), both["other_strength"].to_numpy(float)
    gap = np.abs(np.nan_to_num(a) - np.nan_to_num(b))
    moved = gap > tolerance * np.fmax(np.abs(a), np.abs(b))
    names = ["gained", "lost", "flipped", "changed"]
    both["change"] = np.select([np.isnan(a), np.isnan(b), np.sign(a) != np.sign(b), moved], names, "kept")
    both = both.iloc[np.argsort(-gap, kind="stable")].reset_index(drop=True)
    counts = {name: int((both["change"] == name).sum()) for name in (*names, "kept")}
    return RunDiff(ids[0], ids[1], both[["source", "target", "change", "strength", "other_strength"]], counts)
