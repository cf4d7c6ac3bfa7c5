"""Write a finished run into Neo4j: exactly once, in blocks that are recorded with what they wrote, resumable after a kill.

1. Check every file before the first write.
2. Bring the schema up to date; claim the run (one writer, by a lease).
3. Write its model, dictionaries, text and sites, then features with what the run observed, then edges. A transaction carries whole
   blocks and creates their ledger nodes with them: a block is in the graph with its ledger node or not at all.
4. Compare ledger, counts, the digest of what was observed and the checksum of the edges with the files, while indexes that are new are
   filled; in the same transaction, when they are online, the run becomes ready.
5. Write what follows from a ready run, or can be added to it: copy families and decoder vectors. After a large one, have the server count
   its indexes again.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import behaviors, checksum, digest, family_nodes, observations, provenance, runs, vectors
from ingest.batch_size import MOST_ROWS
from ingest.blocks import ledger_key
from ingest.checksum import EdgeCheck
from ingest.connection import Database, DriverDatabase, Transaction, as_database
from ingest.disk_space import check_space
from ingest.drop import delete_contents
from ingest.errors import IngestMismatch
from ingest.indexes import await_indexes, refresh_statistics
from ingest.migrations import migrate
from ingest.report import IngestReport, Options
from ingest.rundir import BLOCK_ROWS, RunDirectory, open_run
from ingest.validate import Validated, validate
from ingest.writers import PARALLEL_EDGES, EdgeWriter, Ledger, Progress

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

#: From so many edges on, a plan made from the counts of before the load costs more than planning every statement anew.
REPLANNED_EDGES = 10_000

_LEDGER = "MATCH (b:IngestBatch) WHERE b.run = $n AND b.key STARTS WITH toString($n) + '/'"


def ingest_run(
    connection: neo4j.Driver | py2neo.Graph | Database,
    run_dir: str | Path,
    progress: Progress | None = None,
    transaction_blocks: int = MOST_ROWS // BLOCK_ROWS,
    writers: int | None = None,
    checked: Validated | None = None,
    options: Options | None = None,
) -> IngestReport:
    """Write the run in ``run_dir`` into the database; a run that is there is left as it is, an interrupted one is finished.

    Args:
        connection: An open driver or a py2neo graph.
        run_dir: The run directory.
        progress: Called with what is being written, rows done and rows in all.
        transaction_blocks: Blocks of 1,000 rows that a transaction carries at most; fewer need less memory of the server.
        writers: Transactions at a time, on edges that have no site in common; by default two from 200,000 edges on.
        checked: What :func:`ingest.validate.validate` found in these files, if it was asked already.
        options: Which edges, and what happens with rows that are wrong; all of them, and refused, by default.

    Raises:
        InvalidRun: If a file is missing or wrong. Nothing was written.
        NotEnoughDisk: If the server's disk has too little space for it. Nothing was written.
        LeaseHeld: If another process is loading the same run.
        SchemaMismatch: If the database was made by a newer or an altered program.
        IngestMismatch: If the database does not hold what was written.
    """
    begun = time.monotonic()
    database, progress, options = as_database(connection), progress or (lambda *_: None), options or Options()
    run = open_run(run_dir, options.selection)
    seen = checked or validate(run, options.bad_rows, options.rejected)
    wanted = behaviors.read(run, seen.features)
    directions = vectors.read(run, seen.features)
    migrate(database, wait=False)
    if not runs.exists(database, run.id):
        check_space(database, len(seen.features), seen.edges)
    lease = runs.claim(database, run.id, _run_properties(run, seen))
    if lease.before == "ready":
        stored = family_nodes.write(database, run, lease.n, seen)
        added = vectors.write(database, run, lease.n, directions, progress)
        return replace(_already(database, lease, len(wanted), begun), decoders=added, families=stored)
    try:
        if lease.before == "dropped":
            delete_contents(database, lease.n)
        at_once = writers or _writers(database, seen.layout.edges)
        done = _load(database, run, seen, lease, progress, transaction_blocks * BLOCK_ROWS, at_once)
        behaviors.write(database, lease, wanted)
        _finish(database, lease, run, seen, done, progress)
    except BaseException as error:
        _give_back(database, lease, error)
        raise
    logger.info("run %s is ready: %d features, %d edges", run.id, len(seen.features), seen.edges)
    families = family_nodes.write(database, run, lease.n, seen)
    added = vectors.write(database, run, lease.n, directions, progress)
    if seen.edges >= REPLANNED_EDGES:
        refresh_statistics(database)
    counts = len(seen.features), seen.edges, len(wanted), done.resumed
    return IngestReport(
        run.id, lease.n, False, *counts, digest.hex_of(done.digest), time.monotonic() - begun, added, seen.rejected, families
    )


@dataclass(frozen=True)
class _Loaded:
    """What is in the graph when all blocks are: by the files, not yet compared."""

    digest: int
    check: EdgeCheck
    resumed: int


def _load(
    database: Database, run: RunDirectory, seen: Validated, lease: runs.Claim, progress: Progress, most_rows: int, writers: int
) -> _Loaded:
    """Write the blocks that the ledger does not have yet."""
    finished = _finished(database, run, seen, lease)
    provenance.write(database, lease, run, seen.features)
    observations.write(database, run, seen.features, Ledger(lease, run.features_sha256, finished), progress)
    uids, indices = seen.features["uid"].tolist(), seen.features["index"].to_numpy()
    ledger = Ledger(lease, run.interactions_sha256, finished)
    written = EdgeWriter(database, run.interactions, seen.layout, ledger, uids, indices, progress, most_rows).write(writers)
    total = digest.add(digest.observations_of_table(seen.features), written.digest)
    return _Loaded(total, written.check, len(finished))


def _finished(database: Database, run: RunDirectory, seen: Validated, lease: runs.Claim) -> frozenset[str]:
    """Keys of the blocks that are in the graph; a load that wrote other properties, or counted its blocks otherwise, is taken out first."""
    rows = database.read(f"{_LEDGER} RETURN b.key AS key", n=lease.n)
    finished = frozenset(row["key"] for row in rows)
    if not finished or (lease.same_version and finished <= expected_blocks(lease.n, run, seen).keys()):
        return finished
    logger.warning("run %s was begun by another version; loading it from its beginning", lease.id)
    delete_contents(database, lease.n)
    return frozenset()


def expected_blocks(n: int, run: RunDirectory, seen: Validated) -> dict[str, int]:
    """Ledger key → rows of every block that run number ``n`` has when it is whole."""
    features = {
        ledger_key(n, run.features_sha256, number): min(BLOCK_ROWS, len(seen.features) - start)
        for number, start in enumerate(range(0, len(seen.features), BLOCK_ROWS))
    }
    return features | {ledger_key(n, run.interactions_sha256, name): rows for name, rows in seen.layout.names().items()}


def _run_properties(run: RunDirectory, seen: Validated) -> dict[str, Any]:
    facts, config = run.facts, run.config
    return {
        "name": run.root.resolve().name,
        "config": json.dumps(config, sort_keys=True),
        "seed": run.seed,
        "versions": json.dumps(run.manifest.get("versions", {}), sort_keys=True),
        "facts": json.dumps(facts, sort_keys=True),
        "methods": list(seen.methods),
        "layers": sorted({int(layer) for layer in seen.features["layer"]}),
        "alpha": facts.get("level", config.get("significance_level")),
        "correction": facts.get("correction", config.get("correction_method")),
        "measured": seen.rows,
        "scale": seen.scale,
        "nodes": len(seen.features),
        "edges": seen.edges,
        "selection": json.dumps(run.selection.chosen, sort_keys=True) if run.selection.chosen else None,
        "whole": run.whole_id if run.selection.chosen else None,
        "rejected": seen.rejected or None,
    }


def _already(database: Database, lease: runs.Claim, wanted: int, begun: float) -> IngestReport:
    row = runs.find_run(database, lease.id)
    count = behaviors.stored(database, lease.n)["behaviours"]
    seconds = time.monotonic() - begun
    if count != wanted:
        logger.warning("run %s was loaded with %d behaviours, the directory has %d; drop it to load it again", lease.id, count, wanted)
    logger.info("run %s is ready since before; nothing changed", lease.id)
    return IngestReport(lease.id, lease.n, True, row["nodes"], row["edges"], count, 0, row["digest"], seconds)


def _writers(database: Database, edges: int) -> int:
    return 2 if edges >= PARALLEL_EDGES and isinstance(database, DriverDatabase) else 1


def _finish(database: Database, lease: runs.Claim, run: RunDirectory, seen: Validated, done: _Loaded, progress: Progress) -> None:
    """Compare what the database holds with the files, and make the run ready in the same transaction."""
    progress("comparison", 0, seen.edges)
    blocks = expected_blocks(lease.n, run, seen)
    observed = (len(seen.features), digest.observations_of_table(seen.features))

    def check(tx: Transaction) -> None:
        if runs.is_ready(tx, lease):
            return  # the answer to an earlier commit was lost
        runs.hold(tx, lease)
        ledger = tx.run(f"{_LEDGER} RETURN count(b) AS blocks, coalesce(sum(b.rows), 0) AS rows", n=lease.n)[0]
        found = checksum.of_run(tx, lease.n, seen.methods)
        seen_there = observations.read(tx, lease.n)
        wrong = [
            f"{name}: the database holds {got}, the files {wanted}"
            for name, got, wanted in (
                ("blocks", ledger["blocks"], len(blocks)),
                ("rows in the ledger", ledger["rows"], sum(blocks.values())),
                ("features", seen_there[0], observed[0]),
                ("digest of the features", digest.hex_of(seen_there[1]), digest.hex_of(observed[1])),
                ("edges", found.edges, done.check.edges),
                ("checksum of the edges", found.checksum, done.check.checksum),
            )
            if got != wanted
        ]
        if wrong:
            raise IngestMismatch(f"run {lease.id}: {'; '.join(wrong)}; drop the run and ingest it again")
        await_indexes(tx)
        runs.set_ready(tx, lease, observed[0], found.edges, digest.hex_of(done.digest))

    database.write(check)
    progress("comparison", seen.edges, seen.edges)


def _give_back(database: Database, lease: runs.Claim, error: BaseException) -> None:
    """Note why it failed; where even that cannot be written (the server is gone) the lease runs out by itself."""
    import neo4j.exceptions

    try:
        runs.set_failed(database, lease, f"{type(error).__name__}: {error}")
    except (neo4j.exceptions.Neo4jError, neo4j.exceptions.DriverError, OSError) as second:
        logger.warning("run %s: could not be marked as failed: %s", lease.id, second)
