"""Write a finished run into Neo4j: exactly once, in blocks that are recorded with what they wrote, resumable after a kill.

1. Check every file before the first write.
2. Bring the schema up to date; claim the run (one writer, by a lease).
3. Write its model, dictionaries, text and sites, then features with what the run observed, then edges. A transaction carries whole
   blocks and creates their ledger nodes with them: a block is in the graph with its ledger node or not at all.
4. Compare counts and digest with the files; in the same transaction the run becomes ready.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import behaviors, places, runs, vectors
from ingest.connection import Database, Transaction, as_database
from ingest.drop import delete_contents
from ingest.errors import IngestMismatch
from ingest.migrations import migrate
from ingest.rows import EDGE_FILE_COLUMNS, EDGE_PROPERTIES, OBSERVATION_PROPERTIES, digest, edge_rows, observation_rows
from ingest.rundir import BLOCK_ROWS, RunDirectory, open_run, significant_rows
from ingest.validate import Validated, validate

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

#: Called with what is being written, rows done, rows in all.
Progress = Callable[[str, int, int], None]

#: Blocks a transaction: 10,000 rows.
TRANSACTION_BLOCKS = 5

_EDGE_VALUES = ", ".join(f"{name}: row[{i + 2}]" for i, name in enumerate(EDGE_PROPERTIES))
_CREATE_EDGES = (
    "UNWIND $rows AS row MATCH (s:Feature {uid: row[0]}) MATCH (t:Feature {uid: row[1]}) "
    f"CREATE (s)-[:AFFECTS {{run: $n, {_EDGE_VALUES}}}]->(t) RETURN count(*) AS written"
)
_OBSERVATION_VALUES = ", ".join(f"{name}: row.seen[{i + 1}]" for i, name in enumerate(OBSERVATION_PROPERTIES))
_CREATE_OBSERVATIONS = (
    "UNWIND $rows AS row MERGE (f:Feature {uid: row.feature.uid}) ON CREATE SET f = row.feature "
    "FOREACH (_ IN CASE WHEN row.label <> '' AND $n >= coalesce(f.label_run, 0) THEN [1] ELSE [] END | "
    "SET f.label = row.label, f.label_run = $n) "
    f"CREATE (o:Observation {{key: toString($n) + '/' + f.uid, run: $n, {_OBSERVATION_VALUES}}})-[:OF]->(f) RETURN count(*) AS written"
)
_READ_EDGES = (
    "MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = $n AND e.method IS NOT NULL "
    f"RETURN [s.uid, t.uid, {', '.join(f'e.{name}' for name in EDGE_PROPERTIES)}] AS row"
)
_READ_OBSERVATIONS = (
    "MATCH (o:Observation)-[:OF]->(f:Feature) WHERE o.run = $n AND o.layer IS NOT NULL "
    f"RETURN [f.uid, {', '.join(f'o.{name}' for name in OBSERVATION_PROPERTIES)}] AS row"
)


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        run: Id of the run.
        n: Its number.
        already: The same result was ready before; nothing was written.
        nodes: Features observed.
        edges: Edges.
        behaviors: Behaviours.
        resumed: Blocks that an earlier, interrupted try had written.
        digest: Sum of the row hashes, as 16 hex digits.
        seconds: How long it took.
        decoders: Features whose decoder vector was stored now.
    """

    run: str
    n: int
    already: bool
    nodes: int
    edges: int
    behaviors: int
    resumed: int
    digest: str
    seconds: float
    decoders: int = 0

    def summary(self) -> str:
        """One line for people."""
        if self.already:
            changed = f"{self.decoders} decoder vectors added" if self.decoders else "nothing changed"
            return f"run {self.run} is already there ({self.nodes} features, {self.edges} edges); {changed}"
        went_on = f", went on after {self.resumed} blocks" if self.resumed else ""
        vectors = f", {self.decoders} decoder vectors" if self.decoders else ""
        counts = f"{self.nodes} features, {self.edges} edges, {self.behaviors} behaviours{vectors}"
        return f"run {self.run}: {counts} in {self.seconds:.1f} s{went_on}"


def ingest_run(
    connection: neo4j.Driver | py2neo.Graph | Database,
    run_dir: str | Path,
    progress: Progress | None = None,
    transaction_blocks: int = TRANSACTION_BLOCKS,
) -> IngestReport:
    """Write the run in ``run_dir`` into the database; a run that is there is left as it is, an interrupted one is finished.

    Args:
        connection: An open driver or a py2neo graph.
        run_dir: The run directory.
        progress: Called with what is being written, rows done and rows in all.
        transaction_blocks: Blocks of 2,000 rows a transaction; fewer need less memory of the server.

    Raises:
        InvalidRun: If a file is missing or wrong. Nothing was written.
        LeaseHeld: If another process is loading the same run.
        SchemaMismatch: If the database was made by a newer or an altered program.
        IngestMismatch: If the database does not hold what was written.
    """
    begun = time.monotonic()
    database = as_database(connection)
    run = open_run(run_dir)
    seen = validate(run)
    wanted = behaviors.read(run, seen.features)
    directions = vectors.read(run, seen.features)
    migrate(database)
    lease = runs.claim(database, run.id, _run_properties(run, seen))
    if lease.before == "ready":
        return replace(_already(database, lease, len(wanted), begun), decoders=vectors.write(database, run, lease.n, directions, progress))
    try:
        if lease.before == "dropped":
            delete_contents(database, lease.n)
        done = _Loader(database, run, seen, lease, progress or (lambda *_: None), transaction_blocks).load()
        behaviors.write(database, lease, wanted)
        _finish(database, lease, seen, done.digest)
    except BaseException as error:
        _give_back(database, lease, error)
        raise
    logger.info("run %s is ready: %d features, %d edges", run.id, len(seen.features), seen.edges)
    added = vectors.write(database, run, lease.n, directions, progress)
    counts = len(seen.features), seen.edges, len(wanted), done.resumed
    return IngestReport(run.id, lease.n, False, *counts, f"{done.digest:016x}", time.monotonic() - begun, added)


def edge_digest(connection: neo4j.Driver | py2neo.Graph | Database, n: int) -> str:
    """Digest of what the database holds of run number ``n``, as 16 hex digits."""
    return f"{stored(as_database(connection), n).digest:016x}"


def stored(database: Database, n: int) -> Stored:
    """Counts and digest of what the database holds of run number ``n``."""
    return database.write(lambda tx: _stored(tx, n))


@dataclass(frozen=True)
class _Done:
    digest: int
    resumed: int


@dataclass(frozen=True)
class Stored:
    """What the database holds of a run: the digest over every row, features observed, edges."""

    digest: int
    nodes: int
    edges: int


class _Loader:
    """Writes the blocks of one run that the ledger does not have yet."""

    def __init__(self, database: Database, run: RunDirectory, seen: Validated, lease: runs.Claim, progress: Progress, at_once: int) -> None:
        self.database, self.run, self.seen, self.lease, self.progress = database, run, seen, lease, progress
        self.at_once = at_once
        rows = database.read("MATCH (b:IngestBatch) WHERE b.run = $n RETURN b.key AS key", n=lease.n)
        self.finished = {row["key"] for row in rows}
        self.resumed = len(self.finished)

    def load(self) -> _Done:
        places.write(self.database, self.lease, self.run, self.seen.features)
        total = self._features()
        return _Done(self._edges(total), self.resumed)

    def _features(self) -> int:
        features = self.seen.features
        sites = {site.layer: site for site in places.places(self.run, features)}
        total = [0]

        def blocks() -> Iterator[tuple[str, list[Any]]]:
            for block, start in enumerate(range(0, len(features), BLOCK_ROWS)):
                part = features.iloc[start : start + BLOCK_ROWS]
                rows = observation_rows(part)
                total[0] = digest(rows, total[0])
                fixed = [sites[int(row["layer"])].feature(row) for row in part.to_dict("records")]
                merged = [{"feature": f, "label": label, "seen": row} for f, label, row in zip(fixed, part["label"], rows, strict=True)]
                yield f"{self.lease.n}/{self.run.features_sha256}/{block}", merged

        self._write("features", _CREATE_OBSERVATIONS, blocks(), len(features))
        return total[0]

    def _edges(self, start: int) -> int:
        uids = self.seen.features["uid"].tolist()
        total = [start]

        def blocks() -> Iterator[tuple[str, list[Any]]]:
            for block, table in enumerate(significant_rows(self.run.interactions, EDGE_FILE_COLUMNS)):
                rows = edge_rows(table, uids)
                total[0] = digest(rows, total[0])
                yield f"{self.lease.n}/{self.run.interactions_sha256}/{block}", rows

        self._write("edges", _CREATE_EDGES, blocks(), self.seen.edges)
        return total[0]

    def _write(self, what: str, query: str, blocks: Iterator[tuple[str, list[Any]]], total: int) -> None:
        done = 0
        waiting: dict[str, list[Any]] = {}
        self.progress(what, 0, total)
        for key, rows in blocks:
            done += len(rows)
            if key in self.finished:
                continue
            waiting[key] = rows
            if len(waiting) == self.at_once:
                self._commit(query, waiting)
                waiting = {}
                self.progress(what, done, total)
        if waiting:
            self._commit(query, waiting)
        self.progress(what, total, total)

    def _commit(self, query: str, blocks: dict[str, list[Any]]) -> None:
        self.database.write(lambda tx: self._blocks(tx, query, blocks))
        self.finished.update(blocks)

    def _blocks(self, tx: Transaction, query: str, blocks: dict[str, list[Any]]) -> None:
        runs.hold(tx, self.lease)
        # A commit whose answer was lost is tried again: blocks that are in the ledger by now stay out.
        there = {r["key"] for r in tx.run("MATCH (b:IngestBatch) WHERE b.key IN $keys RETURN b.key AS key", keys=list(blocks))}
        missing = {key: rows for key, rows in blocks.items() if key not in there}
        rows = [row for part in missing.values() for row in part]
        tx.run(
            "UNWIND $blocks AS block CREATE (:IngestBatch {key: block[0], run: $n, rows: block[1]})",
            blocks=[[key, len(part)] for key, part in missing.items()],
            n=self.lease.n,
        )
        written = tx.run(query, rows=rows, n=self.lease.n)[0]["written"] if rows else 0
        if written != len(rows):
            raise IngestMismatch(f"run {self.lease.id}: {len(rows)} rows were sent, {written} written; this transaction was undone")


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
    }


def _already(database: Database, lease: runs.Claim, wanted: int, begun: float) -> IngestReport:
    row = runs.find_run(database, lease.id)
    count = database.read("MATCH (b:Behavior) WHERE b.run = $n RETURN count(b) AS count", n=lease.n)[0]["count"]
    seconds = time.monotonic() - begun
    if count != wanted:
        logger.warning("run %s was loaded with %d behaviours, the directory has %d; drop it to load it anew", lease.id, count, wanted)
    logger.info("run %s is ready since before; nothing changed", lease.id)
    return IngestReport(lease.id, lease.n, True, row["nodes"], row["edges"], count, 0, row["digest"], seconds)


def _stored(tx: Transaction, n: int) -> Stored:
    counts = {"nodes": 0, "edges": 0}
    total = 0
    for what, query in (("nodes", _READ_OBSERVATIONS), ("edges", _READ_EDGES)):
        for record in tx.stream(query, n=n):
            counts[what] += 1
            total = digest([record["row"]], total)
    return Stored(total, counts["nodes"], counts["edges"])


def _finish(database: Database, lease: runs.Claim, seen: Validated, wanted: int) -> None:
    expected = Stored(wanted, len(seen.features), seen.edges)

    def check(tx: Transaction) -> None:
        runs.hold(tx, lease)
        got = _stored(tx, lease.n)
        if got != expected:
            raise IngestMismatch(
                f"run {lease.id}: the database holds {got.nodes} features and {got.edges} edges (digest {got.digest:016x}), the files "
                f"{expected.nodes} and {expected.edges} ({expected.digest:016x}); drop the run and ingest it again"
            )
        runs.set_ready(tx, lease, got.nodes, got.edges, f"{got.digest:016x}")

    database.write(check)


def _give_back(database: Database, lease: runs.Claim, error: BaseException) -> None:
    """Note why it failed; where even that cannot be written (the server is gone) the lease runs out by itself."""
    import neo4j.exceptions

    try:
        runs.set_failed(database, lease, f"{type(error).__name__}: {error}")
    except (neo4j.exceptions.Neo4jError, neo4j.exceptions.DriverError, OSError) as second:
        logger.warning("run %s: could not be marked as failed: %s", lease.id, second)
