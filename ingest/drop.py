"""Take a run out of the graph, in batches, without touching any other run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ingest import displayed
from ingest.connection import Database, Transaction, as_database
from ingest.errors import ServerMemory
from ingest.migrations import migrate
from ingest.runs import find_run

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

_BATCH, _LEAST = 10_000, 100

_OWN = "MATCH (x:{0}) WHERE x.run = $n AND x.{1} STARTS WITH toString($n) + '/' WITH x LIMIT $batch "
_ALONE = _OWN + "DETACH DELETE x WITH count(*) AS gone RETURN gone, [] AS features"
_WITH_FEATURES = _OWN + (
    "OPTIONAL MATCH (x)--(f:Feature) WITH collect(DISTINCT x) AS own, collect(DISTINCT elementId(f)) AS features "
    "FOREACH (x IN own | DETACH DELETE x) RETURN size(own) AS gone, features"
)
# What belongs to a run carries its number and a key that begins with it: nodes of another program may carry a `run` of their own. Each
# statement gives the features that lost a reference which may have been the last: whatever else of the run refers to one, its observation
# does too, or a behaviour; so observations go last.
_STEPS = {
    "edges": (
        "MATCH ()-[x:AFFECTS]->() WHERE x.run = $n AND x.method IS NOT NULL AND x.span IS NOT NULL AND x.by IS NOT NULL "
        "WITH x LIMIT $batch DELETE x WITH count(*) AS gone RETURN gone, [] AS features"
    ),
    "communities": _ALONE.format("Community", "uid"),
    "families": _ALONE.format("Family", "uid"),
    "motifs": _ALONE.format("Motif", "uid"),
    "analyses": _ALONE.format("Analysis", "uid"),
    "behaviors": _WITH_FEATURES.format("Behavior", "uid"),
    "observations": _WITH_FEATURES.format("Observation", "key"),
    "batches": _ALONE.format("IngestBatch", "key"),
}
# Taking the lock before looking: a run that is being loaded may be about to point to it.
_UNUSED = (
    "UNWIND $features AS id MATCH (f:Feature) WHERE elementId(f) = id AND f.brought_by IS NOT NULL SET f.brought_by = f.brought_by "
    "WITH f WHERE NOT EXISTS { (f)--() } DELETE f RETURN count(*) AS gone"
)
# A feature that another program made gives up what runs wrote on it when none refers to it any more.
_EMPTY = (
    "UNWIND $features AS id MATCH (f:Feature) WHERE elementId(f) = id AND f.filled IS NOT NULL "
    "AND NOT EXISTS { (f)<-[:OF]-(o:Observation) WHERE o.key STARTS WITH toString(o.run) + '/' } "
    "AND NOT EXISTS { (f)-[:SEEDED_BY|HAS_MEMBER|WRITES_TO]-(b:Behavior) WHERE b.uid STARTS WITH toString(b.run) + '/' } "
    "FOREACH (name IN f.filled | REMOVE f[name]) REMOVE f.filled"
)


@dataclass(frozen=True)
class DropReport:
    """How many of each kind were deleted."""

    run: str
    deleted: dict[str, int]


def drop_run(connection: neo4j.Driver | py2neo.Graph | Database, run: str) -> DropReport:
    """Delete a run by its id, the beginning of it, or its name. It can be interrupted and called again.

    The Run node stays, with status ``dropped``: its number is never given to another run. Nodes and relationships of other programs stay.

    Raises:
        IngestError: If no run, or more than one, begins like this.
        SchemaMismatch: If the database was made by a newer or an altered program.
    """
    database = as_database(connection)
    found = find_run(database, run)
    migrate(database)  # a database of an older version does not know yet which features this program made
    mark = "MATCH (r:Run {id: $id}) SET r.status = 'dropped' REMOVE r.lease_owner, r.lease_since, r.lease_at"
    database.write(lambda tx: tx.run(mark, id=found["id"]))
    deleted = delete_contents(database, found["n"])
    logger.info("run %s dropped: %s", found["id"], deleted)
    return DropReport(found["id"], deleted)


def delete_contents(database: Database, n: int) -> dict[str, int]:
    """Delete all that belongs to run number ``n``, and with it the features that a run of this program made and nothing refers to any more.

    A feature goes in the transaction that deletes the last thing that points to it, so nothing is left behind by a drop that is cut off.
    One that another program made stays, and so does one that has a relationship of any kind, to whomever.
    """
    deleted = dict.fromkeys([*_STEPS, "features"], 0)
    for what, query in _STEPS.items():
        for gone, features in _delete(database, query, n):
            deleted[what] += gone
            deleted["features"] += features
    return deleted


def _delete(database: Database, query: str, n: int) -> Iterator[tuple[int, int]]:
    """Delete in batches; gives, for each, how many of the kind are gone and how many features with them."""
    batch = _BATCH
    while True:
        try:
            gone, features = database.write(partial(_delete_some, query=query, n=n, batch=batch))
        except ServerMemory:
            if batch <= _LEAST:
                raise
            batch //= 2
            logger.warning("the server has too little memory to delete %d at once; going on with %d", 2 * batch, batch)
            continue
        yield gone, features
        if gone < batch:
            return


def _delete_some(tx: Transaction, query: str, n: int, batch: int) -> tuple[int, int]:
    row = tx.run(query, n=n, batch=batch)[0]
    if not row["features"]:
        return int(row["gone"]), 0
    unused = int(tx.run(_UNUSED, features=row["features"])[0]["gone"])
    displayed.hand_on(tx, row["features"], n)
    tx.run(_EMPTY, features=row["features"])
    return int(row["gone"]), unused
