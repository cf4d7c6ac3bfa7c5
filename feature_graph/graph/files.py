"""Graph files: GraphML for other tools (Gephi, Cytoscape, yEd, Neo4j's APOC) and node-link JSON for programs.

Both are read back exactly. What was not measured (NaN in memory) is ``NaN`` in GraphML and null in JSON, which has no NaN. Characters that
XML cannot hold are written as ``\\uXXXX``. GraphML is written and read as a stream: networkx holds the whole document in memory, some four
gigabytes for 200,000 edges.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Literal, TextIO
from xml.sax.saxutils import escape, quoteattr

import networkx as nx

from feature_graph.artifacts import parse_feature_id
from feature_graph.graph.attributes import KIND, SCALARS, VERSION
from feature_graph.utils import whole_file

FileKind = Literal["graphml", "json"]
_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\\\\\ufffe\uffff\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_TYPE_NAMES = {bool: "boolean", int: "long", float: "double", str: "string"}
_READERS: dict[str, Any] = {
    "boolean": lambda text: text.strip().lower() in {"true", "1"},
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": lambda text: _restored(text),
}


class GraphFileError(ValueError):
    """A file that is not a graph; the message names it and what was expected."""


def save_graph(graph: nx.DiGraph, path: str | Path, format: FileKind | None = None) -> Path:
    """Write a graph; folders are made, and a killed run never leaves half a file.

    Args:
        graph: Graph whose node, edge and graph attributes are text, numbers or truth values.
        path: Where to.
        format: ``"graphml"`` or ``"json"``. Default: by the ending of ``path``.

    Raises:
        ValueError: If the format is unknown or an attribute is of another type.
    """
    kind = _kind(Path(path), format)
    _check_values(graph)
    with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
        if kind == "graphml":
            _write_graphml(graph, file)
        else:
            json.dump(_node_link(graph), file, allow_nan=False)
    return Path(path)


def load_graph(path: str | Path, format: FileKind | None = None) -> nx.DiGraph:
    """Read a graph written by :func:`save_graph`, or any directed GraphML / node-link JSON file.

    Every node has ``layer`` and ``label`` afterwards; a file made elsewhere that has no layer gets it from ids such as ``L5_F12``.

    Raises:
        GraphFileError: If the file is missing, not readable, of a later version, or its graph is undirected.
    """
    path = Path(path)
    if not path.is_file():
        raise GraphFileError(f"{path}: no such file; expected a graph written by save_graph or `feature-graph graph`")
    kind = _kind(path, format)
    try:
        graph = _read_graphml(path) if kind == "graphml" else _read_json(path)
    except (ET.ParseError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, nx.NetworkXError) as error:
        raise GraphFileError(f"{path}: not a readable {kind} graph: {error!r}") from error
    if graph.graph.get("kind") == KIND and graph.graph.get("version") != VERSION:
        raise GraphFileError(f"{path}: got {KIND} version {graph.graph.get('version')}; this program reads version {VERSION}")
    return _completed(graph)


def _kind(path: Path, format: str | None) -> FileKind:
    name = format or path.suffix.removeprefix(".").lower()
    if name == "graphml":
        return "graphml"
    if name == "json":
        return "json"
    raise ValueError(f"format: got {format or path.name!r}, expected graphml or json (or a file name that ends so)")


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
                    raise ValueError(
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
        return parse_feature_id(str(name))[0]
    except ValueError:
        return 0


# --- JSON ---


def _node_link(graph: nx.DiGraph) -> dict[str, Any]:
    def clean(data: Mapping[str, Any]) -> dict[str, Any]:
        return {k: None if v != v else v for k, v in data.items()}

    nodes = [{"id": n, **clean(d)} for n, d in graph.nodes(data=True)]
    edges = [{"source": u, "target": v, **clean(d)} for u, v, d in graph.edges(data=True)]
    return {"directed": True, "multigraph": False, "graph": clean(graph.graph), "nodes": nodes, "edges": edges}


def _read_json(path: Path) -> nx.DiGraph:
    values = json.loads(path.read_text(encoding="utf-8"), object_hook=_null_to_nan)
    if not isinstance(values, dict) or values.get("directed") is not True or values.get("multigraph"):
        raise GraphFileError(f"{path}: expected node-link JSON of a directed graph without parallel edges")
    return nx.DiGraph(nx.node_link_graph(values, edges="edges" if "edges" in values else "links"))


def _null_to_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {k: nan if v is None else v for k, v in values.items()}


# --- GraphML ---


def _write_graphml(graph: nx.DiGraph, file: TextIO) -> None:
    keys = _keys(graph)
    file.write(f'<?xml version="1.0" encoding="utf-8"?>\n<graphml xmlns="{_NAMESPACE}">\n')
    for (part, name, kind), key in keys.items():
        file.write(f'<key id="{key}" for="{part}" attr.name={quoteattr(_safe(name))} attr.type="{_TYPE_NAMES[kind]}"/>\n')
    file.write('<graph edgedefault="directed">\n')
    file.writelines(_data(keys, "graph", graph.graph))
    for node, data in graph.nodes(data=True):
        file.write(f"<node id={quoteattr(_safe(str(node)))}>{''.join(_data(keys, 'node', data))}</node>\n")
    for u, v, data in graph.edges(data=True):
        ends = f"source={quoteattr(_safe(str(u)))} target={quoteattr(_safe(str(v)))}"
        file.write(f"<edge {ends}>{''.join(_data(keys, 'edge', data))}</edge>\n")
    file.write("</graph>\n</graphml>\n")


def _keys(graph: nx.DiGraph) -> dict[tuple[str, str, type], str]:
    """Key of every (part, attribute, type) that occurs."""
    keys: dict[tuple[str, str, type], str] = {}
    edges = (d for _, _, d in graph.edges(data=True))
    for part, items in (("graph", [graph.graph]), ("node", (d for _, d in graph.nodes(data=True))), ("edge", edges)):
        for data in items:
            for name, value in data.items():
                keys.setdefault((part, name, _scalar(value)), f"d{len(keys)}")
    return keys


def _scalar(value: object) -> type:
    """Which of the plain types ``value`` is (NumPy's float64 is a float)."""
    if type(value) in _TYPE_NAMES:
        return type(value)
    return next(t for t in SCALARS if isinstance(value, t))


def _data(keys: Mapping[tuple[str, str, type], str], part: str, data: Mapping[str, Any]) -> Iterator[str]:
    for name, value in data.items():
        kind = _scalar(value)
        yield f'<data key="{keys[part, name, kind]}">{_text(value, kind)}</data>'


def _text(value: Any, kind: type) -> str:
    if kind is str:
        return value if value.isalnum() and value.isascii() else escape(_safe(value))
    if kind is bool:
        return "true" if value else "false"
    return _number(value)


def _number(value: float) -> str:
    """Shortest text that reads back to the same number, in the words of XML Schema."""
    if value - value == 0:
        return repr(float(value) if isinstance(value, float) else int(value))
    return "NaN" if value != value else "INF" if value > 0 else "-INF"


@dataclass(frozen=True)
class _Key:
    """One <key> of a GraphML file."""

    part: str
    name: str
    read: Callable[[str], Any]
    default: str | None


def _read_graphml(path: Path) -> nx.DiGraph:
    graph: nx.DiGraph = nx.DiGraph()
    keys: dict[str, _Key] = {}
    tags = set()
    for _, element in ET.iterparse(path):
        tag = element.tag.rpartition("}")[2]
        tags.add(tag)
        if tag == "key":
            keys[element.attrib["id"]] = _read_key(element)
        elif tag == "node":
            graph.add_node(_restored(element.attrib["id"]), **_values(element, "node", keys))
        elif tag == "edge":
            graph.add_edge(_restored(element.attrib["source"]), _restored(element.attrib["target"]), **_values(element, "edge", keys))
        elif tag == "graph":
            if element.get("edgedefault", "directed") != "directed":
                raise GraphFileError(f"{path}: got an undirected graph; expected a directed one")
            graph.graph.update(_values(element, "graph", keys))
        if tag in {"node", "edge"}:
            element.clear()
    if "graph" not in tags:
        raise GraphFileError(f"{path}: XML, but no GraphML: no <graph> element")
    return graph


def _read_key(element: ET.Element) -> _Key:
    default = next((child.text or "" for child in element if child.tag.endswith("default")), None)
    name = _restored(element.get("attr.name", element.attrib["id"]))
    return _Key(element.get("for", "all"), name, _READERS[element.get("attr.type", "string")], default)


def _values(element: ET.Element, part: str, keys: Mapping[str, _Key]) -> dict[str, Any]:
    values = {k.name: k.read(k.default) for k in keys.values() if k.default is not None and k.part in {part, "all"}}
    for child in element:
        if child.tag.endswith("data"):
            key = keys[child.attrib["key"]]
            values[key.name] = key.read(child.text or "")
    return values


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _restored(text: str) -> str:
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), text)
