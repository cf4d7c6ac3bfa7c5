"""Take a run out of the graph, in batches, without touching any other run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ingest.connection import Database, Row, Transaction, as_database
from ingest.errors import ServerMemory
from ingest.runs import find_run

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

_BATCH, _LEAST = 10_000, 100

# In this order: what hangs on features first, features that nothing refers to any more last.
_STEPS = {
    "edges": "MATCH ()-[x:AFFECTS]->() WHERE x.run = $n AND x.method IS NOT NULL WITH x LIMIT $batch DELETE x RETURN count(*) AS gone",
    "behaviors": "MATCH (x:Behavior) WHERE x.run = $n WITH x LIMIT $batch DETACH DELETE x RETURN count(*) AS gone",
    "communities": "MATCH (x:Community) WHERE x.run = $n WITH x LIMIT $batch DETACH DELETE x RETURN count(*) AS gone",
    "motifs": "MATCH (x:Motif) WHERE x.run = $n AND x.name IS NOT NULL WITH x LIMIT $batch DETACH DELETE x RETURN count(*) AS gone",
    "analyses": "MATCH (x:Analysis) WHERE x.run = $n WITH x LIMIT $batch DETACH DELETE x RETURN count(*) AS gone",
    "observations": (
        "MATCH (x:Observation) WHERE x.run = $n AND x.layer IS NOT NULL WITH x LIMIT $batch "
        "OPTIONAL MATCH (x)-[:OF]->(f:Feature) DETACH DELETE x WITH f "
        "FOREACH (_ IN CASE WHEN f.label_run = $n THEN [1] ELSE [] END | REMOVE f.label, f.label_run) RETURN count(*) AS gone"
    ),
    "batches": "MATCH (x:IngestBatch) WHERE x.run = $n WITH x LIMIT $batch DELETE x RETURN count(*) AS gone",
    "features": (
        "MATCH (x:Feature) WHERE NOT EXISTS { (x)<-[:OF]-() } AND NOT EXISTS { (x)<-[:SEEDED_BY|HAS_MEMBER]-() } WITH x LIMIT $batch "
        "DETACH DELETE x RETURN count(*) AS gone"
    ),
}
_RELABEL = (
    "MATCH (f:Feature) WHERE f.label IS NULL MATCH (f)<-[:OF]-(o:Observation) WHERE o.label <> '' "
    "WITH f, o ORDER BY o.run DESC WITH f, collect(o)[0] AS newest SET f.label = newest.label, f.label_run = newest.run"
)


@dataclass(frozen=True)
class DropReport:
    """How many of each kind were deleted."""

    run: str
    deleted: dict[str, int]


def drop_run(connection: neo4j.Driver | py2neo.Graph | Database, run: str) -> DropReport:
    """Delete a run by its id (or the beginning of it). It can be interrupted and called again.

    The Run node stays, with status ``dropped``: its number is never given to another run.

    Raises:
        IngestError: If no run, or more than one, begins like this.
    """
    database = as_database(connection)
    found = find_run(database, run)
    mark = "MATCH (r:Run {id: $id}) SET r.status = 'dropped' REMOVE r.lease_owner, r.lease_since, r.lease_at"
    database.write(lambda tx: tx.run(mark, id=found["id"]))
    deleted = delete_contents(database, found["n"])
    logger.info("run %s dropped: %s", found["id"], deleted)
    return DropReport(found["id"], deleted)


def delete_contents(database: Database, n: int) -> dict[str, int]:
    """Delete all that belongs to run number ``n``, and features that no run observes any more."""
    deleted = {what: _delete(database, query, n) for what, query in _STEPS.items()}
    database.write(lambda tx: tx.run(_RELABEL))
    return deleted


def _delete(database: Database, query: str, n: int) -> int:
    total, batch = 0, _BATCH
    while True:
        try:
            gone = int(database.write(partial(_delete_some, query=query, n=n, batch=batch))[0]["gone"])
        except ServerMemory:
            if batch <= _LEAST:
                raise
            batch //= 2
            logger.warning("the server has too little memory to delete %d at once; going on with %d", 2 * batch, batch)
            continue
        total += gone
        if gone < batch:
            return total


def _delete_some(tx: Transaction, query: str, n: int, batch: int) -> list[Row]:
    return tx.run(query, n=n, batch=batch)
