"""A database as schema versions 5, 6 and 7 left it, made from one of now: for tests of the migrations since."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from feature_graph.database.store import Store
from ingest import DriverDatabase, digest, run_id
from ingest.blocks import edge_blocks
from ingest.connection import Row
from ingest.rows import DISPLAYED, EDGE_FILE_COLUMNS
from ingest.rundir import open_run
from ingest.validate import validate

#: What a run that an earlier version loaded cannot have, since it is in the files only.
UNKNOWN = (
    "MATCH ()-[e:AFFECTS]->() WHERE e.method IS NOT NULL "
    "REMOVE e.q_computed, e.floor_computed, e.specific, e.p_specific, e.q_specific, e.sign_specific "
    "SET e.sign_computed = CASE WHEN e.by CONTAINS 'computed' THEN e.sign_computed END",
    "MATCH (x:Family) WHERE x.uid IS NOT NULL DETACH DELETE x",
    "MATCH (r:Run) REMOVE r.families",
)
_TO_7 = (
    "MATCH ()-[e:AFFECTS]->() WHERE e.method IS NOT NULL REMOVE e.blocks",
    "MATCH (p:Site) WHERE p.uid IS NOT NULL REMOVE p.name, p.kind, p.reads, p.writes",
    "MATCH (r:Run) WHERE r.digest_version IS NOT NULL SET r.digest_version = 3",
    "MATCH (v:SchemaVersion {n: 8}) DELETE v",
)
_TO_6 = (
    *_TO_7,
    *UNKNOWN,
    "MATCH ()-[e:AFFECTS]->() WHERE e.method IS NOT NULL REMOVE e.computed, e.sign_computed",
    "MATCH (r:Run) WHERE r.digest_version IS NOT NULL SET r.digest_version = 2",
    "MATCH (v:SchemaVersion {n: 7}) DELETE v",
    "DROP CONSTRAINT family_uid IF EXISTS",
    "DROP INDEX family_run_method IF EXISTS",
)
_TO_5 = (
    "MATCH ()-[e:AFFECTS]->() WHERE e.structural IS NOT NULL "
    "SET e.strength = CASE WHEN e.by STARTS WITH 'direct' THEN e.total ELSE e.strength END "
    "SET e.total = CASE WHEN e.by = 'later' THEN e.total END REMOVE e.structural, e.sign, e.run_id",
    "MATCH (f:Feature) WHERE f.brought_by IS NOT NULL OR 'id' IN f.filled REMOVE f.id",
    "MATCH (f:Feature) WHERE f.filled IS NOT NULL SET f.filled = [name IN f.filled WHERE name <> 'id']",
    "MATCH (f:Feature) WHERE f.scores_run IS NOT NULL FOREACH (name IN coalesce(f.scores, []) | REMOVE f[name]) "
    f"REMOVE f.scores, f.scores_run, {', '.join(f'f.{name}' for name in DISPLAYED)}",
    "MATCH (r:Run) REMOVE r.digest_version",
    "MATCH (v:SchemaVersion {n: 6}) DELETE v",
    "DROP INDEX feature_id IF EXISTS",
)


class CutOffMigration(DriverDatabase):
    """The real database over a connection that breaks after so many statements of a migration."""

    def __init__(self, store: Store, statements: int) -> None:
        super().__init__(store.driver, store.database)
        self._left = statements

    def execute(self, query: str) -> list[Row]:
        self._left -= 1
        if self._left < 0:
            raise ConnectionAbortedError("cut off")
        return super().execute(query)


def as_version_5(store: Store, roots: Iterable[Path]) -> None:
    """Take back what migrations 6 to 8 add, and note for each of these runs the digest that version 5 noted."""
    _take_back(store, (*_TO_6, *_TO_5), {run_id(root): digest_of_version_5(root) for root in roots})


def as_version_6(store: Store, roots: Iterable[Path]) -> None:
    """Take back what migrations 7 and 8 add, and note for each of these runs the digest that version 6 noted."""
    _take_back(store, _TO_6, {run_id(root): _digest(root, digest.SECOND, 2) for root in roots})


def as_version_7(store: Store, roots: Iterable[Path]) -> None:
    """Take back what migration 8 adds, and note for each of these runs the digest that version 7 noted."""
    _take_back(store, _TO_7, {run_id(root): _digest(root, digest.THIRD, 3) for root in roots})


def digest_of_version_5(root: Path, standardised: bool = True) -> str:
    """What version 5 noted as the run's digest; without standardised effects as versions before it did."""
    return _digest(root, digest.FORMERLY if standardised else (), 1)


def _take_back(store: Store, statements: Iterable[str], digests: dict[str, str]) -> None:
    for statement in statements:
        store.driver.execute_query(statement)
    for run, noted in digests.items():
        store.write("MATCH (r:Run {id: $id}) SET r.digest = $digest", id=run, digest=noted)


def _digest(root: Path, added: tuple[str, ...], version: int) -> str:
    run = open_run(root)
    seen = validate(run)
    uids, total = digest.words(seen.features["uid"].tolist()), digest.observations_of_table(seen.features)
    for block in edge_blocks(run.interactions, seen.layout, EDGE_FILE_COLUMNS):
        total = digest.add(total, digest.edges_of_table(block.table, uids, added, version))
    return digest.hex_of(total)
