"""Unique keys and indexes, and the Cypher that makes them."""

from __future__ import annotations

from ingest.schema.nodes import NODES
from ingest.schema.parts import Index

INDEXES = (
    Index("feature_id", "RANGE", "Feature", ("id",)),
    Index("observation_run_layer", "RANGE", "Observation", ("run", "layer")),
    Index("observation_run_id", "RANGE", "Observation", ("run", "id")),
    Index("affects_run_method", "RANGE", "AFFECTS", ("run", "method"), relationship=True),
    Index("ingest_batch_run", "RANGE", "IngestBatch", ("run",)),
    Index("behavior_run_name", "RANGE", "Behavior", ("run", "name")),
    Index("family_run_method", "RANGE", "Family", ("run", "method")),
    Index("motif_run_name", "RANGE", "Motif", ("run", "name")),
    Index("feature_labels", "FULLTEXT", "Feature", ("label",)),
    Index("feature_decoder", "VECTOR", "Feature", ("decoder",)),
)
#: (name of the constraint, label, property) of every unique key.
UNIQUE_KEYS = (*((f"{n.label.lower()}_{n.key}", n.label, n.key) for n in NODES), ("run_n", "Run", "n"))
_VECTOR_OPTIONS = "{indexConfig: {`vector.similarity_function`: 'cosine', `vector.quantization.enabled`: false}}"


def constraint_statements() -> list[str]:
    """Cypher that makes every key unique."""
    return [f"CREATE CONSTRAINT {name} IF NOT EXISTS FOR (x:{label}) REQUIRE x.{key} IS UNIQUE" for name, label, key in UNIQUE_KEYS]


def index_statements() -> list[str]:
    """Cypher that makes every index."""
    return [_index_statement(index) for index in INDEXES]


def _index_statement(index: Index) -> str:
    pattern = f"()-[x:{index.on}]-()" if index.relationship else f"(x:{index.on})"
    on = ", ".join(f"x.{name}" for name in index.properties)
    if index.kind == "FULLTEXT":
        return f"CREATE FULLTEXT INDEX {index.name} IF NOT EXISTS FOR {pattern} ON EACH [{on}]"
    if index.kind == "VECTOR":
        return f"CREATE VECTOR INDEX {index.name} IF NOT EXISTS FOR {pattern} ON ({on}) OPTIONS {_VECTOR_OPTIONS}"
    return f"CREATE INDEX {index.name} IF NOT EXISTS FOR {pattern} ON ({on})"
