"""The graph: its nodes, relationships, properties, constraints and indexes. docs/schema.md is made from this package."""

from ingest.schema.indexes import INDEXES, UNIQUE_KEYS, constraint_statements, index_statements
from ingest.schema.nodes import NODES, SCORE_NAMES
from ingest.schema.parts import Index, Node, Property, Relationship, Type
from ingest.schema.relationships import RELATIONSHIPS

VERSION = 8

__all__ = [
    "INDEXES",
    "NODES",
    "RELATIONSHIPS",
    "SCORE_NAMES",
    "UNIQUE_KEYS",
    "VERSION",
    "Index",
    "Node",
    "Property",
    "Relationship",
    "Type",
    "constraint_statements",
    "index_statements",
]
