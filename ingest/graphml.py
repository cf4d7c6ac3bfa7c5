r"""GraphML, written and read as a stream: networkx holds the whole document in memory, some four gigabytes for 200,000 edges.

XML 1.0 has no form for most control characters and for halves of characters: not even an entity. They are written as ``\uXXXX``, and so is
a backslash before such an escape, so that every text is read back as it was; any other reader sees the escape.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

from ingest.errors import IngestError

SCALARS = (bool, int, float, str)
_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
#: What XML 1.0 forbids, carriage return (readers turn it into a line feed), C1 (forbidden by later versions), and backslashes that would
#: be read as an escape.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]|\\\\(?=u[0-9a-f]{4})")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_TYPE_NAMES = {bool: "boolean", int: "long", float: "double", str: "string"}

Attributes = dict[str, Any]


class GraphMLError(IngestError, ValueError):
    """A file that is no GraphML of a directed graph; the message does not name it."""


@dataclass
class GraphML:
    """A graph as its file holds it.

    Attributes:
        facts: Attributes of the graph.
        nodes: Id → attributes, in file order.
        edges: (source, target, attributes), in file order.
    """

    facts: Attributes = field(default_factory=dict)
    nodes: dict[str, Attributes] = field(default_factory=dict)
    edges: list[tuple[str, str, Attributes]] = field(default_factory=list)


def safe(text: str) -> str:
    r"""Text that XML 1.0 can hold: other characters are ``\uXXXX``."""
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def restored(text: str) -> str:
    """The inverse of :func:`safe`."""
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), text)


# --- writing ---


def write_graphml(
    file: TextIO, facts: Attributes, nodes: Iterable[tuple[str, Attributes]], edges: Iterable[tuple[str, str, Attributes]]
) -> None:
    """Write a directed graph.

    Args:
        file: Open for text.
        facts: Attributes of the graph.
        nodes: Id and attributes; gone through twice.
        edges: Source, target and attributes; gone through twice. Values are text, numbers or truth values.
    """
    keys = _keys(facts, nodes, edges)
    file.write(f'<?xml version="1.0" encoding="utf-8"?>\n<graphml xmlns="{_NAMESPACE}">\n')
    for (part, name, kind), key in keys.items():
        file.write(f'<key id="{key}" for="{part}" attr.name={quoteattr(safe(name))} attr.type="{_TYPE_NAMES[kind]}"/>\n')
    file.write('<graph edgedefault="directed">\n')
    file.writelines(_data(keys, "graph", facts))
    for node, data in nodes:
        file.write(f"<node id={quoteattr(safe(node))}>{''.join(_data(keys, 'node', data))}</node>\n")
    for source, target, data in edges:
        ends = f"source={quoteattr(safe(source))} target={quoteattr(safe(target))}"
        file.write(f"<edge {ends}>{''.join(_data(keys, 'edge', data))}</edge>\n")
    file.write("</graph>\n</graphml>\n")


def _keys(
    facts: Attributes, nodes: Iterable[tuple[str, Attributes]], edges: Iterable[tuple[str, str, Attributes]]
) -> dict[tuple[str, str, type], str]:
    """Key of every (part, attribute, type) that occurs."""
    keys: dict[tuple[str, str, type], str] = {}
    for part, items in (("graph", [facts]), ("node", (d for _, d in nodes)), ("edge", (d for _, _, d in edges))):
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
        return value if value.isalnum() and value.isascii() else escape(safe(value))
    if kind is bool:
        return "true" if value else "false"
    return _number(value)


def _number(value: float) -> str:
    """Shortest text that reads back to the same number, in the words of XML Schema."""
    if value - value == 0:
        return repr(float(value) if isinstance(value, float) else int(value))
    return "NaN" if value != value else "INF" if value > 0 else "-INF"


# --- reading ---


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False, "": False}
    if text.strip().lower() not in known:
        raise GraphMLError(f"got {text!r} for a boolean; expected true or false")
    return known[text.strip().lower()]


_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": _truth,
    "int": int,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "string": restored,
}


@dataclass(frozen=True)
class _Key:
    """One <key> of a GraphML file."""

    part: str
    name: str
    read: Callable[[str], Any]
    default: str | None

    def value(self, text: str | None) -> Any:
        try:
            return self.read(text or "")
        except ValueError as error:
            raise GraphMLError(f"attribute {self.name}: {error}") from error


def read_graphml(path: str | Path) -> GraphML:
    """Read a file of this module, networkx, igraph, Gephi, yEd or another program.

    Raises:
        GraphMLError: If it is XML of another kind, or its graph is undirected or has edges between more than two nodes.
        xml.etree.ElementTree.ParseError: If it is no XML.
    """
    found, keys, graphs = GraphML(), dict[str, _Key](), 0
    for _, element in ET.iterparse(path):
        tag = element.tag.rpartition("}")[2]
        if tag == "key":
            keys[_attribute(element, "id")] = _key(element)
        elif tag == "node":
            found.nodes.setdefault(restored(_attribute(element, "id")), {}).update(_values(element, "node", keys))
        elif tag == "edge":
            found.edges.append(_edge(element, keys))
        elif tag == "hyperedge":
            raise GraphMLError("it has a hyperedge; expected edges from one node to one other")
        elif tag == "graph":
            graphs += 1
            _check_directed(element.get("edgedefault", "directed") == "directed")
            found.facts.update(_values(element, "graph", keys))
        if tag in {"node", "edge"}:
            element.clear()
    if not graphs:
        raise GraphMLError("XML, but no GraphML: no <graph> element")
    for source, target, _ in found.edges:
        found.nodes.setdefault(source, {})
        found.nodes.setdefault(target, {})
    return found


def _attribute(element: ET.Element, name: str) -> str:
    if name not in element.attrib:
        raise GraphMLError(f"a <{element.tag.rpartition('}')[2]}> without {name}")
    return element.attrib[name]


def _check_directed(directed: bool) -> None:
    if not directed:
        raise GraphMLError("got an undirected graph; expected a directed one")


def _edge(element: ET.Element, keys: Mapping[str, _Key]) -> tuple[str, str, Attributes]:
    _check_directed(element.get("directed", "true") in {"true", "1"})
    source, target = (restored(_attribute(element, end)) for end in ("source", "target"))
    return source, target, _values(element, "edge", keys)


def _key(element: ET.Element) -> _Key:
    default = next((child.text or "" for child in element if child.tag.endswith("default")), None)
    name = restored(element.get("attr.name", _attribute(element, "id")))
    return _Key(element.get("for", "all"), name, _READERS.get(element.get("attr.type", "string").lower(), restored), default)


def _values(element: ET.Element, part: str, keys: Mapping[str, _Key]) -> Attributes:
    values = {k.name: k.value(k.default) for k in keys.values() if k.default is not None and k.part in {part, "all"}}
    for child in element:
        if child.tag.endswith("data"):
            name = _attribute(child, "key")
            if name not in keys:
                raise GraphMLError(f"<data> with the key {name!r}, which no <key> describes")
            values[keys[name].name] = keys[name].value(child.text)
    return values
