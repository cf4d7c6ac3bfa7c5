"""The blocks of the ledger: rows of interactions.parquet that enter the graph together or not at all.

Block k of a site pair i → j holds the rows k · 1,000 … of those edges from layer i to layer j that are to be loaded, in file order. Blocks
are fixed by the file (and the selection), whatever the size of a transaction and whoever writes; and writers that work on pairs without a
common site do not wait for each other's nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.formats import INTERACTIONS
from ingest.reading import TableFile
from ingest.rundir import BLOCK_ROWS

_READ_ROWS = 50_000


@dataclass(frozen=True, order=True)
class LayerPair:
    """Edges from one layer to another."""

    source: int
    target: int

    def meets(self, other: LayerPair) -> bool:
        """Whether the two have a site in common."""
        return bool({self.source, self.target} & {other.source, other.target})


@dataclass(frozen=True, order=True)
class Segment:
    """Some blocks of a pair that follow each other: what one writer is given at a time.

    Attributes:
        pair: Their site pair.
        first: Number of the first block.
        stop: Number after the last one's.
        rows: Rows in them.
    """

    pair: LayerPair
    first: int
    stop: int
    rows: int


@dataclass(frozen=True)
class Block:
    """Rows that enter the graph together.

    Attributes:
        pair: Their site pair.
        number: Place among the pair's blocks, from 0.
        table: The rows.
    """

    pair: LayerPair
    number: int
    table: pa.Table

    @property
    def name(self) -> str:
        """As the ledger writes it: ``<source layer>-<target layer>:<number>``."""
        return block_name(self.pair, self.number)


class Mask:
    """Some rows of a Parquet file: one bit per row, by row group, filled piece by piece."""

    def __init__(self) -> None:
        self._groups: list[list[np.ndarray]] = []
        self._packed: list[tuple[np.ndarray, int]] = []
        self.rows = 0

    def begin_group(self) -> None:
        """Go on with the next row group."""
        self._pack()
        self._groups.append([])

    def add(self, kept: np.ndarray) -> None:
        """Add the next rows of the row group."""
        self._groups[-1].append(kept)
        self.rows += len(kept)

    def _pack(self) -> None:
        for pieces in self._groups:
            whole = np.concatenate([*pieces, np.zeros(0, bool)])
            self._packed.append((np.packbits(whole), len(whole)))
        self._groups = []

    def group(self, number: int) -> np.ndarray:
        """(rows of the row group,) which are kept."""
        self._pack()
        bits, size = self._packed[number]
        return np.unpackbits(bits, count=size).astype(bool)

    def only(self, rows: np.ndarray) -> Mask:
        """Another mask that keeps just these rows, numbered through the whole file, ascending."""
        self._pack()
        other, start = Mask(), 0
        for _, size in self._packed:
            kept = np.zeros(size, bool)
            first, last = np.searchsorted(rows, [start, start + size])
            kept[rows[first:last] - start] = True
            other.begin_group()
            other.add(kept)
            start += size
        return other


@dataclass(frozen=True)
class RowLayout:
    """Which rows are to be loaded, and where they lie in the file.

    Attributes:
        mask: The rows.
        counts: How many, by pair and row group.
        methods: Their methods, sorted.
        scale: Their largest |direct|, 0 if there is none.
    """

    mask: Mask
    counts: dict[LayerPair, dict[int, int]]
    methods: tuple[str, ...]
    scale: float

    @property
    def rows(self) -> dict[LayerPair, int]:
        """Rows to be loaded, by pair."""
        return {pair: sum(groups.values()) for pair, groups in sorted(self.counts.items())}

    @property
    def edges(self) -> int:
        """Rows to be loaded."""
        return sum(self.rows.values())

    def segments(self, blocks: int) -> list[Segment]:
        """Every pair's blocks, so many at a time."""
        size = blocks * BLOCK_ROWS
        return [
            Segment(pair, start // BLOCK_ROWS, -(-min(start + size, rows) // BLOCK_ROWS), min(size, rows - start))
            for pair, rows in self.rows.items()
            for start in range(0, rows, size)
        ]

    def names(self) -> dict[str, int]:
        """Every block and its rows."""
        return {
            block_name(pair, number): min(BLOCK_ROWS, rows - start)
            for pair, rows in self.rows.items()
            for number, start in enumerate(range(0, rows, BLOCK_ROWS))
        }


def ledger_key(n: int, sha256: str, name: str | int) -> str:
    """Key of a block's IngestBatch node."""
    return f"{n}/{sha256}/{name}"


def block_name(pair: LayerPair, number: int) -> str:
    """``<source layer>-<target layer>:<number>``."""
    return f"{pair.source}-{pair.target}:{number}"


def layout_of(path: Path, mask: Mask) -> RowLayout:
    """The layout of the rows that a mask keeps."""
    counts: dict[LayerPair, dict[int, int]] = {}
    methods, scale = set[str](), 0.0
    with TableFile(path, INTERACTIONS, ["method"]) as file:
        for group in range(file.groups):
            kept, start = mask.group(group), 0
            for batch in file.batches(["src_layer", "tgt_layer", "method", "direct_strength"], group, _READ_ROWS):
                rows = np.flatnonzero(kept[start : start + len(batch)])
                start += len(batch)
                if not len(rows):
                    continue
                batch = batch.take(pa.array(rows))
                for pair, number in _count(batch).items():
                    groups = counts.setdefault(pair, {})
                    groups[group] = groups.get(group, 0) + number
                methods.update(pc.unique(batch.column("method")).to_pylist())
                scale = max(scale, float(np.abs(batch.column("direct_strength").to_numpy()).max()))
    return RowLayout(mask, counts, tuple(sorted(methods)), scale)


def _count(batch: pa.RecordBatch) -> dict[LayerPair, int]:
    found, rows = np.unique(_codes(batch), return_counts=True)
    return {LayerPair(int(code >> 32), int(code & 0xFFFFFFFF)): int(n) for code, n in zip(found, rows, strict=True)}


def _codes(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    source, target = (table[f"{end}_layer"].to_numpy().astype(np.int64) for end in ("src", "tgt"))
    return (source << 32) | target


def edge_blocks(path: Path, layout: RowLayout, columns: list[str]) -> Iterator[Block]:
    """Every block, as they fill while the file is read once.

    Args:
        path: interactions.parquet.
        layout: Its layout.
        columns: Columns of the blocks' tables.
    """
    queues = {pair: _Queue(pair) for pair in layout.counts}
    with TableFile(path, INTERACTIONS) as file:
        for group in sorted({group for counts in layout.counts.values() for group in counts}):
            for batch, codes in _batches(file, layout, columns, group):
                for pair, queue in queues.items():
                    yield from queue.add(_of_pair(batch, codes, columns, pair))
    for queue in queues.values():
        yield from queue.rest()


def segment_blocks(path: Path, layout: RowLayout, columns: list[str], segment: Segment) -> Iterator[Block]:
    """The blocks of one segment; only the row groups that hold rows of it are read.

    Args:
        path: interactions.parquet.
        layout: Its layout.
        columns: Columns of the blocks' tables.
        segment: One of ``layout.segments(…)``.
    """
    counts, queue = layout.counts[segment.pair], _Queue(segment.pair, segment.first)
    start, seen = segment.first * BLOCK_ROWS, 0
    stop = start + segment.rows
    with TableFile(path, INTERACTIONS) as file:
        for group, rows in sorted(counts.items()):
            if seen + rows <= start or seen >= stop:
                seen += rows
                continue
            for batch, codes in _batches(file, layout, columns, group):
                table = _of_pair(batch, codes, columns, segment.pair)
                low, high = max(0, start - seen), max(0, stop - seen)
                seen += len(table)
                yield from queue.add(table.slice(low, max(0, high - low)))
    yield from queue.rest()


def _batches(file: TableFile, layout: RowLayout, columns: list[str], group: int) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Pieces of a row group, with the code of each row's pair; -1 where the row is not to be loaded."""
    mask, start = layout.mask.group(group), 0
    for batch in file.batches(list(dict.fromkeys([*columns, "src_layer", "tgt_layer"])), group, _READ_ROWS):
        kept = mask[start : start + len(batch)]
        start += len(batch)
        yield batch, np.where(kept, _codes(batch), -1)


def _of_pair(batch: pa.RecordBatch, codes: np.ndarray, columns: list[str], pair: LayerPair) -> pa.Table:
    rows = np.flatnonzero(codes == (pair.source << 32) | pair.target)
    return pa.Table.from_batches([batch]).select(columns).take(rows)


class _Queue:
    """Rows of one pair that wait until their block is full."""

    def __init__(self, pair: LayerPair, number: int = 0) -> None:
        self.pair, self.number = pair, number
        self.waiting: list[pa.Table] = []
        self.size = 0

    def add(self, table: pa.Table) -> Iterator[Block]:
        if not len(table):
            return
        self.waiting.append(table)
        self.size += len(table)
        if self.size < BLOCK_ROWS:
            return
        joined = pa.concat_tables(self.waiting)
        whole = self.size - self.size % BLOCK_ROWS
        for start in range(0, whole, BLOCK_ROWS):
            yield self._block(joined.slice(start, BLOCK_ROWS))
        self.waiting, self.size = [joined.slice(whole)], self.size - whole

    def rest(self) -> Iterator[Block]:
        if self.size:
            yield self._block(pa.concat_tables(self.waiting))

    def _block(self, table: pa.Table) -> Block:
        self.number += 1
        return Block(self.pair, self.number - 1, table.combine_chunks())
