"""What a running database holds: for deciding whether it may be replaced, and for the note beside a dump."""

from __future__ import annotations

from dataclasses import dataclass

from feature_graph.database import server
from feature_graph.database.offline.errors import StoppedDatabaseError
from feature_graph.database.server.staging import Staging
from ingest import IS_RUN
from ingest.connection import DriverDatabase
from ingest.migrations import history
from ingest.schema import INDEXES, NODES

_COUNTS = (
    "CALL () { MATCH (n) RETURN count(n) AS nodes } CALL () { MATCH ()-[r]->() RETURN count(r) AS relationships } "
    "CALL () { OPTIONAL MATCH (v:SchemaVersion) WHERE v.checksum IS NOT NULL RETURN max(v.n) AS schema } "
    "CALL dbms.components() YIELD versions RETURN nodes, relationships, schema, versions[0] AS neo4j LIMIT 1"
)
_RUNS = (
    f"MATCH (r:Run) WHERE {IS_RUN} RETURN r.id AS id, r.n AS n, r.name AS name, r.status AS status, r.nodes AS nodes, r.edges AS edges, "
    "r.digest AS digest ORDER BY r.n"
)
_MORE = (
    "MATCH (n) WHERE NOT n:SchemaVersion OR n.n IS NULL OR n.runs > 0 "
    "RETURN labels(n) AS labels, count(n) AS count ORDER BY count DESC LIMIT 3"
)


@dataclass(frozen=True)
class RunNote:
    """One run of a database, as its Run node says."""

    id: str
    n: int
    name: str | None
    status: str
    nodes: int | None
    edges: int | None
    digest: str | None


@dataclass(frozen=True)
class Contents:
    """Counts and runs of a database.

    Attributes:
        nodes: Nodes of any label.
        relationships: Relationships of any type.
        schema: Number of the last migration; None before the first.
        neo4j: Version of the server.
        runs: Every run, by number.
    """

    nodes: int
    relationships: int
    schema: int | None
    neo4j: str
    runs: tuple[RunNote, ...]


def contents(connection: server.Connection) -> Contents:
    """What the database holds."""
    with server.driver(connection) as driver:
        database = DriverDatabase(driver)
        counts = database.read(_COUNTS)[0]
        runs = tuple(RunNote(**row) for row in database.read(_RUNS))
    return Contents(runs=runs, **counts)


def other_content(connection: server.Connection) -> list[str]:
    """What the database holds besides an untouched schema of ours, in words; empty if nothing would be lost with it.

    Raises:
        SchemaMismatch: If its schema is newer than this program, or was altered.
    """
    with server.driver(connection) as driver:
        database = DriverDatabase(driver)
        found = []
        history(database)
        rows = database.read(_MORE)
        if rows:
            kinds = ", ".join(f"{row['count']} {':'.join(row['labels']) or 'without label'}" for row in rows)
            found.append(f"the database is not empty ({kinds}): use another home, or `db reset`")
        names = {row["name"] for row in database.read("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name")}
        foreign = sorted(names - _own_names())
        if foreign:
            found.append(f"the database has indexes or constraints of its own ({', '.join(foreign[:3])}), which would be lost")
    return found


def put_in_place(staged: Staging, expected: Contents) -> None:
    """Swap the staged store in; where the server was running, start it and compare once more. The old store goes last.

    Raises:
        StoppedDatabaseError: If the new one does not hold what it should; the old store was put back.
        ServerError: If the new one does not start; likewise.
    """
    staged.swap()
    if staged.was_running:
        try:
            found = contents(staged.restart().connection())
        except server.ServerError:
            staged.restore_clean()
            raise
        if found != expected:
            staged.restore_clean()
            raise StoppedDatabaseError(f"After the swap the database holds {found}, expected {expected}; the old store was put back.")
    staged.forget_old()


def _own_names() -> set[str]:
    return {index.name for index in INDEXES} | {f"{node.label.lower()}_{node.key}" for node in NODES} | {"run_n"}
