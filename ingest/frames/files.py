"""Edges, and features where they are there, from files: CSV, Parquet, GraphML; also those that ``runs export`` writes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.casting import FormatError
from ingest.feature_ids import FeatureId
from ingest.graphml import GraphML, GraphMLError, read_graphml

_ENDINGS = (".csv", ".tsv", ".parquet", ".graphml")


@dataclass(frozen=True)
class Frames:
    """What files hold.

    Attributes:
        features: Features; None if there are none.
        edges: Edges.
        texts: Whether all values are texts.
    """

    features: pd.DataFrame | None
    edges: pd.DataFrame
    texts: bool


def is_edges(path: Path) -> bool:
    """Whether a path is a file of edges, or a folder that ``runs export`` wrote, and no run directory."""
    return path.suffix.lower() in _ENDINGS if not path.is_dir() else not (path / "config.json").exists() and _exported(path) is not None


def read_frames(path: str | Path, features: str | Path | None = None) -> Frames:
    """Read edges, and the features that belong to them.

    Args:
        path: A .csv, .tsv, .parquet or .graphml file, or a folder that ``runs export`` wrote.
        features: File of the features, of the same format; by default ``nodes`` next to a file called ``edges``.

    Raises:
        FormatError: If a file is missing, not readable, or of another format.
    """
    path = Path(path)
    chosen = (_exported(path) or path) if path.is_dir() else path
    ending = chosen.suffix.lower()
    if ending not in _ENDINGS:
        raise FormatError(f"{path}: expected a run directory, or a file of edges that ends in {', '.join(_ENDINGS)}")
    if ending == ".graphml":
        if features is not None:
            raise FormatError(f"{path}: a GraphML file holds its own features; leave out the file of features")
        nodes, edges = _graph(chosen)
        return Frames(nodes, edges, False)
    beside = chosen.with_name(f"nodes{chosen.suffix}")
    other = Path(features) if features is not None else beside if chosen.stem == "edges" and beside.is_file() else None
    if other is not None and (other.suffix.lower() == ".parquet") != (ending == ".parquet"):
        raise FormatError(f"{other}: got {other.suffix}; expected features in the format of the edges, {ending}")
    return Frames(None if other is None else _table(other), _table(chosen), ending != ".parquet")


def _exported(folder: Path) -> Path | None:
    found = [folder / name for name in ("edges.parquet", "edges.csv", "graph.graphml")]
    return next((path for path in found if path.is_file()), None)


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    if path.suffix.lower() == ".parquet":
        try:
            return pq.read_table(path).to_pandas(types_mapper=pd.ArrowDtype)
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{path}: not a readable Parquet file: {error}") from error
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a readable table: {error}") from error


def _graph(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    try:
        graph = read_graphml(path)
    except GraphMLError as error:
        raise FormatError(f"{path}: {error}") from error
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not readable as XML: {error}") from error
    names = _names(graph)
    nodes = pd.DataFrame([_without_nothing(data) | {"id": names[node]} for node, data in graph.nodes.items()], dtype=object)
    rows = [_without_nothing(data) | {"source": names[u], "target": names[v]} for u, v, data in graph.edges]
    return nodes, pd.DataFrame(rows, columns=None if rows else ["source", "target", "strength"], dtype=object)


def _names(graph: GraphML) -> dict[str, str]:
    """Node → its name: its own id, or its attribute ``id`` or ``name`` where the ids are only numbers that a program gave out (igraph)."""
    if not all(FeatureId.read(node) for node in graph.nodes):
        for attribute in ("id", "name"):
            found = [data.get(attribute) for data in graph.nodes.values()]
            if found and None not in found and len(set(found)) == len(found):
                return dict(zip(graph.nodes, map(str, found), strict=True))
    return {node: node for node in graph.nodes}


def _without_nothing(data: dict[str, Any]) -> dict[str, Any]:
    """Attributes that have a value: GraphML has no empty ones, so graph files write NaN or an empty uid."""
    return {k: v for k, v in data.items() if v == v and not (k in ("uid", "replicated") and v == "")}
