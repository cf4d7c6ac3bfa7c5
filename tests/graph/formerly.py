"""A database as schema version 5 left it, made from one of now: for tests of the migration to version 6."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from feature_graph.database.store import Store
from ingest import digest, run_id
from ingest.blocks import edge_blocks
from ingest.rows import DISPLAYED, EDGE_FILE_COLUMNS
from ingest.rundir import open_run
from ingest.validate import validate

_BACK = (
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


def as_version_5(store: Store, roots: Iterable[Path]) -> None:
    """Take back what migration 6 adds, and note for each of these runs the digest that version 5 noted."""
    for statement in _BACK:
        store.driver.execute_query(statement)
    for root in roots:
        store.write("MATCH (r:Run {id: $id}) SET r.digest = $digest", id=run_id(root), digest=digest_of_version_5(root))


def digest_of_version_5(root: Path, standardised: bool = True) -> str:
    """What version 5 noted as the run's digest; without standardised effects as versions before it did."""
    run = open_run(root)
    seen = validate(run)
    uids, total = digest.words(seen.features["uid"].tolist()), digest.observations_of_table(seen.features)
    for block in edge_blocks(run.interactions, seen.layout, EDGE_FILE_COLUMNS):
        total = digest.add(total, digest.edges_of_table(block.table, uids, digest.FORMERLY if standardised else (), version=1))
    return digest.hex_of(total)
