"""Graph files: GraphML for other tools (Gephi, Cytoscape, yEd, Neo4j's APOC) and node-link JSON for programs.

Both are read back exactly. What was not measured (NaN in memory) is ``NaN`` in GraphML and null in JSON, which has no NaN. Characters that
XML cannot hold are written as ``\\uXXXX`` (:mod:`ingest.graphml`).
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from math import nan
from pathlib import Path
from typing import Any, Literal, TextIO

import networkx as nx

from feature_graph.artifacts import read_feature_id
from feature_graph.graph.attributes import KIND, VERSION
from feature_graph.graph.errors import InteractionGraphError
from feature_graph.graph.families import name_families
from feature_graph.graph.named_responses import with_absolute_file, with_relative_file
from feature_graph.utils import whole_file
from ingest.graphml import SCALARS, GraphMLError, read_graphml, write_graphml

FileKind = Literal["graphml", "json"]


class GraphFileError(InteractionGraphError):
    """A file that is not a graph; the message names it and what was expected."""


def save_graph(graph: nx.DiGraph, path: str | Path, format: FileKind | None = None) -> Path:
    """Write a graph; folders are made, and a killed run never leaves half a file.

    Args:
        graph: Graph whose node, edge and graph attributes are text, numbers or truth values.
        path: Where to.
        format: ``"graphml"`` or ``"json"``. Default: by the ending of ``path``.

    Raises:
        InteractionGraphError: If the format is unknown or an attribute is of another type.
    """
    kind = _kind(Path(path), format)
    _check_values(graph)
    facts = with_relative_file(graph.graph, Path(path).parent)
    with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
        if kind == "graphml":
            _write_graphml(graph, facts, file)
        else:
            json.dump(_node_link(graph, facts), file, allow_nan=False)
    return Path(path)


def load_graph(path: str | Path, format: FileKind | None = None) -> nx.DiGraph:
    """Read a graph written by :func:`save_graph`, or any directed GraphML / node-link JSON file.

    Every node has ``layer`` and ``label`` afterwards; a file made elsewhere that has no layer gets it from ids such as ``L5_F12``. Nodes of
    an interaction graph from before copy families were kept in files name theirs.

    Raises:
        GraphFileError: If the file is missing, not readable, of a later version, or its graph is undirected.
    """
    path = Path(path)
    if not path.is_file():
        raise GraphFileError(f"{path}: no such file; expected a graph written by save_graph or `feature-graph graph`")
    kind = _kind(path, format)
    try:
        graph = _read_graphml(path) if kind == "graphml" else _read_json(path)
    except GraphMLError as error:
        raise GraphFileError(f"{path}: {error}") from error
    except (ET.ParseError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, nx.NetworkXError) as error:
        raise GraphFileError(f"{path}: not a readable {kind} graph: {error!r}") from error
    if graph.graph.get("kind") == KIND and graph.graph.get("version") != VERSION:
        raise GraphFileError(f"{path}: got {KIND} version {graph.graph.get('version')}; this program reads version {VERSION}")
    graph.graph.update(with_absolute_file(graph.graph, path.parent))
    completed = _completed(graph)
    if completed.graph.get("kind") == KIND and not all("family" in data for _, data in completed.nodes(data=True)):
        name_families(completed)
    return completed


def _kind(path: Path, format: str | None) -> FileKind:
    name = format or path.suffix.removeprefix(".").lower()
    if name == "graphml":
        return "graphml"
    if name == "json":
        return "json"
    raise InteractionGraphError(f"format: got {format or path.name!r}, expected graphml or json (or a file name that ends so)")


def _check_values(graph: nx.DiGraph) -> None:
    parts: list[tuple[str, Iterable[tuple[Any, Mapping[str, Any]]]]] = [
        ("graph", [("", graph.graph)]),
        ("node", graph.nodes(data=True)),
        ("edge", (((u, v), d) for u, v, d in graph.edges(data=True))),
    ]
    for part, items in parts:
        for name, data in items:
            for key, value in data.items():
                if not isinstance(value, SCALARS):
                    raise InteractionGraphError(
                        f"{part} {name} attribute {key!r}: got {type(value).__name__}; text, numbers and truth values can be saved"
                    )


def _completed(graph: nx.DiGraph) -> nx.DiGraph:
    """Give every node a layer (int) and a label (text)."""
    for name, data in graph.nodes(data=True):
        if not isinstance(data.get("label"), str):
            data["label"] = ""
        if not isinstance(data.get("layer"), int):
            data["layer"] = _layer_of(name)
    return graph


def _layer_of(name: object) -> int:
    try:
        return read_feature_id(str(name)).layer
    except ValueError:
        return 0


# --- JSON ---


def _node_link(graph: nx.DiGraph, facts: Mapping[str, Any]) -> dict[str, Any]:
    def clean(data: Mapping[str, Any]) -> dict[str, Any]:
        return {k: None if v != v else v for k, v in data.items()}

    nodes = [{"id": n, **clean(d)} for n, d in graph.nodes(data=True)]
    edges = [{"source": u, "target": v, **clean(d)} for u, v, d in graph.edges(data=True)]
    return {"directed": True, "multigraph": False, "graph": clean(facts), "nodes": nodes, "edges": edges}


def _read_json(path: Path) -> nx.DiGraph:
    values = json.loads(path.read_text(encoding="utf-8"), object_hook=_null_to_nan)
    if not isinstance(values, dict) or values.get("directed") is not True or values.get("multigraph"):
        raise GraphFileError(f"{path}: expected node-link JSON of a directed graph without parallel edges")
    return nx.DiGraph(nx.node_link_graph(values, edges="edges" if "edges" in values else "links"))


def _null_to_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {k: nan if v is None else v for k, v in values.items()}


# --- GraphML ---


def _write_graphml(graph: nx.DiGraph, facts: dict[str, Any], file: TextIO) -> None:
    nodes = [(str(node), data) for node, data in graph.nodes(data=True)]
    write_graphml(file, facts, nodes, [(str(u), str(v), data) for u, v, data in graph.edges(data=True)])


def _read_graphml(path: Path) -> nx.DiGraph:
    found = read_graphml(path)
    graph: nx.DiGraph = nx.DiGraph(**found.facts)
    graph.add_nodes_from(found.nodes.items())
    for source, target, data in found.edges:
        if graph.has_edge(source, target):
            raise GraphMLError(f"{source} → {target} appears twice; expected one edge for each pair")
        graph.add_edge(source, target, **data)
    return graph
