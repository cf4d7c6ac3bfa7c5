"""What a schema is made of: labels, relationship types, their properties, indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["STRING", "INTEGER", "FLOAT", "BOOLEAN", "LIST<STRING>", "LIST<INTEGER>", "LIST<FLOAT>"]


@dataclass(frozen=True)
class Property:
    """One property: name, Cypher type, meaning; ``optional`` ones may be absent."""

    name: str
    type: Type
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class Node:
    """One label. ``key`` is unique."""

    label: str
    key: str
    meaning: str
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Relationship:
    """One relationship type between two labels."""

    type: str
    source: str
    target: str
    meaning: str
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True)
class Index:
    """One index in addition to the unique keys. ``on`` is a label, or a relationship type."""

    name: str
    kind: Literal["RANGE", "FULLTEXT", "VECTOR"]
    on: str
    properties: tuple[str, ...]
    relationship: bool = False


RUN = Property("run", "INTEGER", "Run.n of the run that this belongs to; it is deleted with that run")
