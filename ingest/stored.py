"""What the database holds of a run: counts, and the digest over every row."""

from __future__ import annotations

from dataclasses import dataclass

from ingest import digest, observations
from ingest.connection import Database, Transaction
from ingest.rows import EDGE_PROPERTIES

_READ_ROWS = 20_000
_READ_EDGES = (
    "MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = $n AND e.method IS NOT NULL "
    f"RETURN [s.uid, t.uid, {', '.join(f'e.{name}' for name in EDGE_PROPERTIES)}] AS row"
)


@dataclass(frozen=True)
class Stored:
    """What the database holds of a run: the digest over every row, features observed, edges."""

    digest: int
    nodes: int
    edges: int


def stored(database: Database, n: int) -> Stored:
    """Counts and digest of what the database holds of run number ``n``."""
    return database.write(lambda tx: _stored(tx, n))


def _stored(tx: Transaction, n: int) -> Stored:
    nodes, total = observations.read(tx, n)
    edges = 0
    for rows in observations.chunks(tx.stream(_READ_EDGES, n=n), _READ_ROWS):
        edges, total = edges + len(rows), digest.add(total, digest.edges_of_rows(rows))
    return Stored(total, nodes, edges)
