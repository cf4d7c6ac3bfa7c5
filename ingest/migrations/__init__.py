"""Numbered changes of the database's schema: Cypher files, applied in order, recorded in the graph with their checksums."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from importlib.resources import files

from ingest.connection import Database, Transaction
from ingest.errors import SchemaMismatch
from ingest.indexes import await_indexes, check_names
from ingest.versions import check_server

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{4})_\w+\.cypher")
#: How a statement begins that changes data.
_CHANGES = re.compile(r"MATCH \(\w+:(\w+)\)")
# Other programs may keep nodes of this label, too.
_RECORDED = (
    "MATCH (v:SchemaVersion) WHERE v.n IS NOT NULL AND (v.applied IS NOT NULL OR v.checksum IS NOT NULL) "
    "RETURN v.n AS n, v.checksum AS checksum, v.applied AS applied"
)
#: Locks the record of the first migration, and changes nothing.
_LOCK = "MATCH (v:SchemaVersion {n: 1}) SET v.applied = v.applied"
#: Migrations whose text was changed since: number → checksums under which databases may have recorded it.
FORMER = {3: {"8955523cf020011672b192129cb26bb69e36f1ca32ba032e60bad8c4d7aab58e"}}


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
class AppliedMigration:
    """One migration and when it was applied to a database.

    Attributes:
        migration: What is, or would be, applied.
        applied: Milliseconds since 1970; None if it is still to be applied.
    """

    migration: Migration
    applied: int | None


def history(database: Database) -> list[AppliedMigration]:
    """Every migration of this program in order, with when it was applied; nothing is written.

    Raises:
        SchemaMismatch: If the database has migrations that this program does not know, one of its own was altered, or one is missing
            between others.
    """
    known = migrations()
    rows = database.read(_RECORDED)
    recorded = {row["n"]: row["checksum"] for row in rows}
    _check_history({m.n: m for m in known}, recorded)
    applied = {row["n"]: int(row["applied"] or 0) for row in rows}
    return [AppliedMigration(m, applied.get(m.n)) for m in known]


def migrate(database: Database, wait: bool = True) -> list[int]:
    """Bring the schema up to date and give the numbers of the migrations that were applied now.

    One that begins while another is under way waits for it, and then has nothing left to do.

    Args:
        database: The database.
        wait: Return when every index is online; else they are filled while the caller goes on
            (:func:`ingest.indexes.await_indexes` waits for them).

    Raises:
        UnsupportedServer: If the server is too old, or no Neo4j.
        SchemaMismatch: As :func:`history`; or if data, an index or a constraint of another program stand in the way.
    """
    check_server(database)
    applied: list[int] = []
    pending = _pending(database)
    if pending:
        check_names(database)
        if pending[0].n == 1:  # nothing is there that two could change twice, and nothing to lock
            _apply_pending(database, applied)
        else:
            database.write(lambda tx: _apply_alone(tx, database, applied))
    if applied and wait:
        database.write(await_indexes)
    return applied


def _pending(database: Database) -> list[Migration]:
    return [step.migration for step in history(database) if step.applied is None]


def _apply_alone(lock: Transaction, database: Database, applied: list[int]) -> None:
    """Apply what is pending under a lock, which ends with this transaction, however it ends.

    A statement reads an edge before it locks it: of two migrations at once, one could exchange again what the other has exchanged.
    """
    lock.run(_LOCK)
    _apply_pending(database, applied)


def _apply_pending(database: Database, applied: list[int]) -> None:
    for migration in _pending(database):
        logger.info("schema: applying %s", migration.name)
        for statement in migration.statements:
            _apply(database, statement.rstrip(";"))
        _record(database, migration)
        applied.append(migration.n)


def _apply(database: Database, statement: str) -> None:
    begins = _CHANGES.match(statement)
    if begins and not database.read(f"MATCH (x:{begins[1]}) RETURN 1 AS one LIMIT 1"):
        return  # it finds nothing; of a new database, planning all of these is most of the work
    try:
        database.execute(statement)
    except Exception as error:  # of either driver
        if "ConstraintCreationFailed" not in f"{getattr(error, 'code', '')} {error}":
            raise
        key = re.search(r"FOR \(x:(\w+)\) REQUIRE x\.(\w+)", statement)
        what = f"(:{key[1]}) with the same {key[2]}" if key else "with the same key"
        raise SchemaMismatch(
            f"the database holds several nodes {what}, which another program made, so the schema's unique key cannot be: give them another "
            "label or property, or keep the runs in a database of their own (another home, or --database)"
        ) from error


def _check_history(known: dict[int, Migration], recorded: dict[int, str]) -> None:
    newer = sorted(set(recorded) - set(known))
    if newer:
        raise SchemaMismatch(
            f"the database has schema version {newer[-1]}, this program knows {max(known)}: "
            "install the newer feature-graph, or use another home"
        )
    altered = [n for n, checksum in recorded.items() if checksum not in {known[n].checksum, *FORMER.get(n, ())}]
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
