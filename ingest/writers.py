"""Writes the blocks of a run that the ledger does not have yet: whole blocks a transaction, several writers on pairs that share no site."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np

from ingest import checksum, digest, runs
from ingest.batch_size import MOST_BYTES, BatchSize
from ingest.blocks import Block, RowLayout, Segment, edge_blocks, ledger_key, segment_blocks
from ingest.checksum import EdgeCheck
from ingest.connection import Database, Transaction
from ingest.errors import IngestMismatch, ServerMemory
from ingest.rows import EDGE_FILE_COLUMNS, EDGE_PROPERTIES, edge_groups

logger = logging.getLogger(__name__)

#: Called with what is being written, rows done, rows in all.
Progress = Callable[[str, int, int], None]

#: From so many edges on two writers are faster than one.
PARALLEL_EDGES = 200_000
#: Blocks that a writer is given at a time: few enough that all end at about the same time, enough that little is read twice.
SEGMENT_BLOCKS = 20

_VALUES = ", ".join(f"{name}: row[{i + 1}]" for i, name in enumerate(EDGE_PROPERTIES))
# Nodes by their element id: half the work of a look-up in the index of uids. Each source is looked up once.
_CREATE = (
    "UNWIND $rows AS source MATCH (s:Feature) WHERE elementId(s) = source[0] UNWIND source[1] AS row "
    f"MATCH (t:Feature) WHERE elementId(t) = row[0] CREATE (s)-[:AFFECTS {{run: $n, run_id: $run_id, {_VALUES}}}]->(t) "
    "RETURN count(*) AS written"
)

_NOTE = (
    "UNWIND $blocks AS block MERGE (b:IngestBatch {key: block[0]}) WITH b, block, b.run IS NOT NULL AS there "
    "SET b.run = $n, b.rows = block[1] RETURN there"
)
_ELEMENT_IDS = "MATCH (o:Observation)-[:OF]->(f:Feature) WHERE o.run = $n AND o.layer IS NOT NULL RETURN o.fid AS fid, elementId(f) AS id"


@dataclass(frozen=True)
class Ledger:
    """What makes a block's key: the run, its number, the file; and the keys that are in the graph already."""

    lease: runs.Claim
    sha256: str
    finished: frozenset[str]

    def key(self, name: str | int) -> str:
        """Key of a block's IngestBatch."""
        return ledger_key(self.lease.n, self.sha256, name)

    def has(self, name: str | int) -> bool:
        """Whether the block was in the graph when loading began."""
        return self.key(name) in self.finished


@dataclass(frozen=True)
class Written:
    """What lies in the blocks that were read, whether they were written now or before."""

    digest: int
    check: EdgeCheck


def commit(database: Database, ledger: Ledger, query: str, rows: dict[str, int], values: list[Any], at_once: int | None = None) -> None:
    """Write whole blocks and their ledger nodes in one transaction.

    Args:
        database: Where to.
        ledger: Of the run.
        query: Takes ``$rows`` and ``$n`` and returns how many rows it ``written``.
        rows: Rows of each block, by name.
        values: The rows of all of them, as ``query`` takes them.
        at_once: Rows that ``query`` takes at a time; all if None. A statement that reads what it writes holds its rows in memory.

    Raises:
        IngestMismatch: If the server wrote another number of rows than it was sent. The transaction is undone.
        LeaseLost: If another process took the run over.
    """
    keys = {ledger.key(name): n for name, n in rows.items()}

    def work(tx: Transaction) -> None:
        # A commit whose answer was lost is tried again: then its blocks are all in the ledger by now. MERGE waits for a first try
        # that is still under way.
        there = [row["there"] for row in tx.run(_NOTE, blocks=[list(item) for item in keys.items()], n=ledger.lease.n)]
        if all(there):
            return
        written, sent, step = 0, sum(keys.values()), at_once or max(len(values), 1)
        for first in range(0, len(values), step):
            some = values[first : first + step]
            written += tx.run(query, rows=some, n=ledger.lease.n, run_id=runs.short_id(ledger.lease.id))[0]["written"]
        if written != sent or any(there):
            raise IngestMismatch(
                f"run {ledger.lease.id}: {sent} rows were sent, {written} written, {sum(there)} of {len(there)} blocks were there; "
                "this transaction was undone"
            )
        runs.hold(tx, ledger.lease)  # last: its lock on the Run node would make writers wait for each other

    database.write(work)


class EdgeWriter:
    """Writes the edges of one run.

    Args:
        database: Where to.
        path: interactions.parquet.
        layout: Its layout.
        ledger: Of the run and this file.
        uids: (features,) uids by fid.
        indices: (features,) indices in the dictionaries, by fid.
        progress: Called with ``edges``, rows done and rows in all, never by two writers at once.
        most_rows: Rows that a transaction carries at most.
    """

    def __init__(
        self,
        database: Database,
        path: Path,
        layout: RowLayout,
        ledger: Ledger,
        uids: Sequence[str],
        indices: np.ndarray,
        progress: Progress,
        most_rows: int,
    ) -> None:
        self._database, self._path, self._layout, self._ledger = database, path, layout, ledger
        self._uids, self._hashes, self._indices = uids, digest.words(list(uids)), indices
        self._ends: list[str] = []
        self._batch_size, self._progress, self._done = BatchSize(most_rows), progress, 0
        self._lock, self._stop = Lock(), Event()

    def write(self, writers: int) -> Written:
        """Write every block that is not in the ledger, with one or more writers."""
        self._advance(0)
        parts: list[Written] = []
        if writers == 1:
            parts.append(self._blocks(edge_blocks(self._path, self._layout, EDGE_FILE_COLUMNS)))
        else:
            parts += self._in_parallel(writers)
        return Written(digest.add(*(p.digest for p in parts)), sum((p.check for p in parts), EdgeCheck(0, 0)))

    def _in_parallel(self, writers: int) -> list[Written]:
        """Give each free writer the segment that :func:`next_segment` chooses."""
        waiting = self._layout.segments(SEGMENT_BLOCKS)
        running: dict[Future[Written], Segment] = {}
        done: list[Written] = []
        with ThreadPoolExecutor(writers, thread_name_prefix="ingest") as pool:
            try:
                while waiting or running:
                    while len(running) < writers and (segment := next_segment(waiting, running.values())):
                        waiting.remove(segment)
                        running[pool.submit(self._segment, segment)] = segment
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        del running[future]
                        done.append(future.result())
            except BaseException:
                self._stop.set()
                raise
        return done

    def _segment(self, segment: Segment) -> Written:
        return self._blocks(segment_blocks(self._path, self._layout, EDGE_FILE_COLUMNS, segment))

    def _blocks(self, blocks: Iterable[Block]) -> Written:
        total, check = 0, EdgeCheck(0, 0)
        waiting: list[Block] = []
        for block in self._until_stopped(blocks):
            total = digest.add(total, digest.edges_of_table(block.table, self._hashes))
            check += checksum.of_table(block.table, self._indices)
            if self._ledger.has(block.name):
                self._advance(len(block.table))
                continue
            if waiting and not self._fits([*waiting, block]):
                self._commit(waiting)
                waiting = []
            waiting.append(block)
        if waiting and not self._stop.is_set():
            self._commit(waiting)
        return Written(total, check)

    def _until_stopped(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for block in blocks:
            if self._stop.is_set():
                return
            yield block

    def _fits(self, blocks: list[Block]) -> bool:
        rows, size = sum(len(b.table) for b in blocks), sum(b.table.nbytes for b in blocks)
        return rows <= self._batch_size.rows and size <= MOST_BYTES

    def _commit(self, blocks: list[Block]) -> None:
        rows = {block.name: len(block.table) for block in blocks}
        values = [group for block in blocks for group in edge_groups(block.table, self._element_ids())]
        try:
            commit(self._database, self._ledger, _CREATE, rows, values)
        except ServerMemory:
            if len(blocks) == 1:
                raise
            self._batch_size.out_of_memory(sum(rows.values()))
            half = len(blocks) // 2
            self._commit(blocks[:half])
            self._commit(blocks[half:])
            return
        self._batch_size.succeeded()
        self._advance(sum(rows.values()))

    def _element_ids(self) -> list[str]:
        """The database's own ids of the features, by fid."""
        with self._lock:
            if not self._ends:
                ids = {row["fid"]: row["id"] for row in self._database.read(_ELEMENT_IDS, n=self._ledger.lease.n)}
                self._ends = [ids[fid] for fid in range(len(self._uids))]
            return self._ends

    def _advance(self, rows: int) -> None:
        with self._lock:
            self._done += rows
            self._progress("edges", self._done, self._layout.edges)


def next_segment(waiting: Sequence[Segment], running: Collection[Segment]) -> Segment | None:
    """The segment to write next: none of its sites is being written, and most rows wait at its two sites; None if there is none.

    What waits at a busy site can only be done one after the other, so it is begun early, and writers do not run out of work apart.
    """
    loads: Counter[int] = Counter()
    for segment in waiting:
        loads.update({segment.pair.source: segment.rows, segment.pair.target: segment.rows})
    free = [segment for segment in waiting if not any(segment.pair.meets(other.pair) for other in running)]
    return max(free, key=lambda s: (loads[s.pair.source] + loads[s.pair.target], s.rows, -s.first), default=None)
