"""Choose the part of a run's edges that a selection wants.

A selection makes another run (another id) of the same files: what is in the graph is one result, whole. It is decided by the files alone,
so the same selection is the same edges everywhere, and in pieces: memory grows with the edges that are kept, not with the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ingest.blocks import Mask
from ingest.formats import INTERACTIONS
from ingest.reading import TableFile
from ingest.selection import Selection
from ingest.strength import leading_of

_READ_ROWS = 50_000
_COLUMNS = ["src_fid", "method", "significant_by", "mean_strength", "direct_strength", "later_strength"]


def select(path: Path, right: Mask, selection: Selection) -> Mask:
    """The rows of a mask that are selected."""
    if not selection.chosen:
        return right
    chosen = right
    if selection.min_strength is not None:
        chosen = _where(_pieces(path, chosen, selection), chosen, selection.min_strength)
    if selection.top_k_per_source is not None:
        chosen = chosen.only(_joined(_top_of_sources(_pieces(path, chosen, selection), selection.top_k_per_source)))
    if selection.limit is not None:
        chosen = chosen.only(_strongest(_pieces(path, chosen, selection), selection.limit))
    return chosen


@dataclass(frozen=True)
class _Piece:
    """Kept rows of a piece of the file: number of the row, source, method, |strength|."""

    row: np.ndarray
    source: np.ndarray
    method: np.ndarray
    strength: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: np.ndarray) -> _Piece:
        return _Piece(self.row[which], self.source[which], self.method[which], self.strength[which])


def _pieces(path: Path, mask: Mask, selection: Selection) -> Iterator[_Piece]:
    start, methods = 0, dict[str, int]()
    strength = leading_of if selection.by == "leading" else _former
    with TableFile(path, INTERACTIONS, ["method", "significant_by"]) as file:
        for group in range(file.groups):
            kept, offset = mask.group(group), 0
            for batch in file.batches(_COLUMNS, group, _READ_ROWS):
                rows = np.flatnonzero(kept[offset : offset + len(batch)])
                yield _Piece(
                    start + rows,
                    batch.column("src_fid").to_numpy()[rows],
                    _codes(batch.column("method"), methods)[rows],
                    np.abs(strength(batch))[rows],
                )
                start, offset = start + len(batch), offset + len(batch)


def _codes(column: pa.DictionaryArray, known: dict[str, int]) -> np.ndarray:
    """A number for each text, the same in every piece."""
    numbers = np.array([known.setdefault(text, len(known)) for text in column.dictionary.to_pylist()], np.int64)
    return numbers[column.indices.to_numpy(zero_copy_only=False)] if len(numbers) else np.zeros(0, np.int64)


def _former(batch: pa.RecordBatch) -> np.ndarray:
    """The strength by which earlier versions selected: the later effect where only that passed, else the total one."""
    by = batch.column("significant_by")
    later = np.array([text == "later" for text in by.dictionary.to_pylist()], bool)[by.indices.to_numpy(zero_copy_only=False)]
    total, after = (batch.column(f"{name}_strength").to_numpy(zero_copy_only=False) for name in ("mean", "later"))
    return np.where(later, after, total)


def _where(pieces: Iterator[_Piece], mask: Mask, least: float) -> Mask:
    return mask.only(_joined(piece.row[piece.strength >= least] for piece in pieces))


def _joined(rows: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([*rows, np.zeros(0, np.int64)])


def _top_of_sources(pieces: Iterator[_Piece], k: int) -> Iterator[np.ndarray]:
    """Rows of the strongest of each source and method; a source whose rows go on in the next piece waits for it."""
    waiting: _Piece | None = None
    for piece in pieces:
        joined = piece if waiting is None else _join(waiting, piece)
        if not len(joined):
            continue
        best = joined.take(_best(joined, k))
        open_ = best.source == joined.source.max()
        yield best.row[~open_]
        waiting = best.take(np.flatnonzero(open_))
    if waiting is not None:
        yield waiting.row


def _best(piece: _Piece, k: int) -> np.ndarray:
    """Places of the k strongest of each source and method, in file order."""
    order = np.lexsort((piece.row, -piece.strength, piece.method, piece.source))
    source, method = piece.source[order], piece.method[order]
    first = np.concatenate([[True], (source[1:] != source[:-1]) | (method[1:] != method[:-1])])
    begin = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    return np.sort(order[np.arange(len(order)) - begin < k])


def _join(first: _Piece, second: _Piece) -> _Piece:
    parts = zip(
        (first.row, first.source, first.method, first.strength), (second.row, second.source, second.method, second.strength), strict=True
    )
    return _Piece(*(np.concatenate(part) for part in parts))


def _strongest(pieces: Iterator[_Piece], limit: int) -> np.ndarray:
    """Rows of the strongest; never more than a few times ``limit`` are held."""
    row, strength = np.zeros(0, np.int64), np.zeros(0)
    for piece in pieces:
        row, strength = np.concatenate([row, piece.row]), np.concatenate([strength, piece.strength])
        if len(row) > 2 * limit + _READ_ROWS:
            row, strength = _first(row, strength, limit)
    return np.sort(_first(row, strength, limit)[0])


def _first(row: np.ndarray, strength: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((row, -strength))[:limit]
    return row[order], strength[order]
