"""Numbered changes of the database's schema: Cypher files, applied in order, recorded in the graph with their checksums."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from importlib.resources import files

from ingest.connection import Database, Transaction
from ingest.errors import SchemaMismatch
from ingest.schema import INDEXES
from ingest.versions import check_server

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{4})_\w+\.cypher")


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name, its text."""

    n: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Hex sha256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, without comments and semicolons."""
        lines = [line for line in self.text.splitlines() if line.strip() and not line.startswith("//")]
        return [s.strip() for s in "\n".join(lines).split(";\n") if s.strip(" ;\n")]


def migrations() -> list[Migration]:
    """All migrations that this program knows, in order."""
    entries = sorted((e for e in files(__name__).iterdir() if _NAME.fullmatch(e.name)), key=lambda e: e.name)
    return [Migration(int(e.name[:4]), e.name, e.read_text(encoding="utf-8")) for e in entries]


@dataclass(frozen=True)
class Step:
    """One migration and when it was applied to a database.

    Attributes:
        migration: What is, or would be, applied.
        applied: Milliseconds since 1970; None if it is still to be applied.
    """

    migration: Migration
    applied: int | None


def history(database: Database) -> list[Step]:
    """Every migration of this program in order, with when it was applied; nothing is written.

    Raises:
        SchemaMismatch: If the database has migrations that this program does not know, one of its own was altered, or one is missing
            between others.
    """
    known = migrations()
    rows = database.read("MATCH (v:SchemaVersion) RETURN v.n AS n, v.checksum AS checksum, v.applied AS applied")
    recorded = {row["n"]: row["checksum"] for row in rows}
    _check_history({m.n: m for m in known}, recorded)
    applied = {row["n"]: int(row["applied"] or 0) for row in rows}
    return [Step(m, applied.get(m.n)) for m in known]


#: Seconds for which each index of a large store is waited for: five million edges take about 15.
INDEX_SECONDS = 7_200


def await_indexes(tx: Transaction) -> None:
    """Return when every index of the schema is online; indexes of the user's own are not looked at."""
    names = [index.name for index in INDEXES]
    for row in tx.run("SHOW INDEXES YIELD name, state WHERE name IN $names AND state <> 'ONLINE' RETURN name", names=names):
        tx.run("CALL db.awaitIndex($name, $seconds)", name=row["name"], seconds=INDEX_SECONDS)


def migrate(database: Database, wait: bool = True) -> list[int]:
    """Bring the schema up to date and give the numbers of the migrations that were applied now.

    Args:
        database: The database.
        wait: Return when every index is online; else they are filled while the caller goes on (:func:`await_indexes` waits for them).

    Raises:
        UnsupportedServer: If the server is too old, or no Neo4j.
        SchemaMismatch: As :func:`history`.
    """
    check_server(database)
    pending = [step.migration for step in history(database) if step.applied is None]
    for migration in pending:
        logger.info("schema: applying %s", migration.name)
        for statement in migration.statements:
            database.execute(statement.rstrip(";"))
        _record(database, migration)
    if pending and wait:
        database.write(await_indexes)
    return [m.n for m in pending]


def _check_history(known: dict[int, Migration], recorded: dict[int, str]) -> None:
    newer = sorted(set(recorded) - set(known))
    if newer:
        raise SchemaMismatch(
            f"the database has schema version {newer[-1]}, this program knows {max(known)}: "
            "install the newer feature-graph, or use another home"
        )
    altered = [n for n, checksum in recorded.items() if known[n].checksum != checksum]
    if altered:
        raise SchemaMismatch(
            f"migration {known[altered[0]].name} was applied with another text (checksum {str(recorded[altered[0]])[:12]}, "
            f"here {known[altered[0]].checksum[:12]}): this database was made by an altered program; ingest into a new home"
        )
    missing = sorted(set(range(1, max(recorded, default=0))) - set(recorded))
    if missing:
        raise SchemaMismatch(
            f"the database has migration {max(recorded)} and not {missing[0]}: its record of migrations was altered; ingest into a new home"
        )


def _record(database: Database, migration: Migration) -> None:
    query = "MERGE (v:SchemaVersion {n: $n}) ON CREATE SET v.applied = timestamp(), v.checksum = $checksum"
    database.write(lambda tx: tx.run(query, n=migration.n, checksum=migration.checksum))
