"""Joint counts of two sets of features, by row accumulators.

For one source feature: walk the rows at which it is active; for each, add one to a dense counter of every target active at that row (and,
in a second counter, of every target active at one or more of the next rows). Only the counters that were touched are read and cleared, so
the work is the number of joint events and the memory two counters per thread, never a matrix of features × features (Gustavson's algorithm,
ACM TOMS 4(3), 1978).

:func:`count_pairs` runs it compiled and over several threads; :func:`count_pairs_plain` is the same by scipy's sparse product, kept as the
path that is easy to check.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

_SOURCES_A_TASK = 512


@dataclass(frozen=True)
class ActivityPattern:
    """Which features are active at which row, values dropped.

    Attributes:
        indptr: int64 [rows + 1].
        indices: int32 [nnz], features, each once per row, in any order.
        n_features: Width.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    n_features: int

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> ActivityPattern:
        """Pattern of a CSR matrix (stored zeros count as active)."""
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), int(matrix.shape[1]))

    @property
    def n_rows(self) -> int:
        """Rows."""
        return len(self.indptr) - 1

    def ones(self) -> sp.csr_matrix:
        """As a matrix of ones."""
        shape = (self.n_rows, self.n_features)
        return sp.csr_matrix((np.ones(len(self.indices), dtype=np.int32), self.indices, self.indptr), shape=shape)

    def transposed(self) -> ActivityPattern:
        """Rows at which each feature is active: row and feature change places."""
        counts = np.bincount(self.indices, minlength=self.n_features)
        order = np.argsort(self.indices, kind="stable")
        rows = np.repeat(np.arange(self.n_rows, dtype=np.int32), np.diff(self.indptr))
        return ActivityPattern(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows[order], self.n_rows)

    def following(self, context: int, horizon: int) -> ActivityPattern:
        """Features active at one or more of the next ``horizon`` rows of the same document (documents are ``context`` rows)."""
        indptr, indices = _following(self.indptr, self.indices, self.n_features, context, horizon)
        return ActivityPattern(indptr, indices, self.n_features)


@dataclass(frozen=True)
class JointCounts:
    """Counts of one layer pair: ``same`` position and ``later`` positions, CSR int32 [d_source, d_target], no stored zeros."""

    same: sp.csr_matrix
    later: sp.csr_matrix


def count_pairs(source: ActivityPattern, target: ActivityPattern, later: ActivityPattern, min_count: int) -> JointCounts:
    """Count joint rows of every (source, target).

    Args:
        source: Rows × source features.
        target: The same rows × target features.
        later: ``target.following(…)``.
        min_count: Pairs whose two counts are both lower are not given back.
    """
    rows_of = source.transposed()
    starts = range(0, source.n_features, _SOURCES_A_TASK)

    def task(first: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        last = min(first + _SOURCES_A_TASK, source.n_features)
        pointers = (rows_of.indptr, rows_of.indices, target.indptr, target.indices, later.indptr, later.indices)
        return _count_block(*pointers, target.n_features, first, last, min_count)

    with ThreadPoolExecutor(_threads()) as pool:
        blocks = list(pool.map(task, starts))
    shape = (source.n_features, target.n_features)
    lengths = np.concatenate([block[0] for block in blocks])
    return JointCounts(*(_matrix(lengths, [block[1] for block in blocks], row, shape) for row in (1, 2)))


def count_pairs_plain(source: ActivityPattern, target: ActivityPattern, later: ActivityPattern, min_count: int) -> JointCounts:
    """The same counts by scipy's sparse product: slower, more memory, easy to read."""
    transposed = source.ones().T.tocsr()
    same, following = (transposed @ other.ones() for other in (target, later))
    kept = (same.maximum(following) >= min_count) if min_count > 1 else (same + following) > 0
    same, following = (sp.csr_matrix(counts.multiply(kept), dtype=np.int32) for counts in (same, following))
    for counts in (same, following):
        counts.eliminate_zeros()
        counts.sort_indices()
    return JointCounts(same, following)


def _threads() -> int:
    """Cores this process may use; OMP_NUM_THREADS bounds it as it bounds the other libraries."""
    bound = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(bound))) if bound.isdigit() else cores


def _matrix(lengths: NDArray[np.int64], tables: list[NDArray[np.int32]], row: int, shape: tuple[int, int]) -> sp.csr_matrix:
    """CSR of one of the two counts, without its zeros."""
    kept = [table[row] > 0 for table in tables]
    indices = np.concatenate([table[0, mask] for table, mask in zip(tables, kept, strict=True)])
    data = np.concatenate([table[row, mask] for table, mask in zip(tables, kept, strict=True)])
    before = np.concatenate([[0], np.cumsum(np.concatenate(kept), dtype=np.int64)])
    indptr = before[np.concatenate([[0], np.cumsum(lengths)])]
    matrix = sp.csr_matrix((data, indices, indptr), shape=shape)
    matrix.sort_indices()
    return matrix


@numba.njit(nogil=True, cache=True)
def _following(indptr, indices, n_features, context, horizon):  # type: ignore[no-untyped-def]  # compiled: types come from the call
    n_rows = len(indptr) - 1
    out_ptr = np.zeros(n_rows + 1, dtype=np.int64)
    seen = np.full(n_features, -1, dtype=np.int64)
    out = np.empty(max(16, 2 * len(indices)), dtype=np.int32)
    size = 0
    for row in range(n_rows):
        end = min(row + 1 + horizon, (row // context + 1) * context, n_rows)
        for k in range(indptr[row + 1], indptr[max(end, row + 1)]):
            feature = indices[k]
            if seen[feature] != row:
                seen[feature] = row
                if size == len(out):
                    out = np.concatenate((out, np.empty(len(out), dtype=np.int32)))
                out[size] = feature
                size += 1
        out_ptr[row + 1] = size
    return out_ptr, out[:size].copy()


@numba.njit(nogil=True, cache=True)
def _tally(rows, indptr, indices, counter, other, touched, n_touched):  # type: ignore[no-untyped-def]  # compiled
    for row in rows:
        for k in range(indptr[row], indptr[row + 1]):
            j = indices[k]
            if counter[j] == 0 and other[j] == 0:
                touched[n_touched] = j
                n_touched += 1
            counter[j] += 1
    return n_touched


@numba.njit(nogil=True, cache=True)
def _grown(table, size, needed):  # type: ignore[no-untyped-def]  # compiled
    if needed <= table.shape[1]:
        return table
    larger = np.empty((3, max(needed, 2 * table.shape[1])), dtype=np.int32)
    larger[:, :size] = table[:, :size]
    return larger


@numba.njit(nogil=True, cache=True)
def _count_block(src_ptr, src_rows, tgt_ptr, tgt, lat_ptr, lat, n_targets, first, last, min_count):  # type: ignore[no-untyped-def]  # compiled
    """Pairs kept per source, and a table of their target, same-position count and later count."""
    same = np.zeros(n_targets, dtype=np.int32)
    later = np.zeros(n_targets, dtype=np.int32)
    touched = np.empty(n_targets, dtype=np.int32)
    lengths = np.zeros(last - first, dtype=np.int64)
    table = np.empty((3, 1 << 14), dtype=np.int32)
    size = 0
    for source in range(first, last):
        rows = src_rows[src_ptr[source] : src_ptr[source + 1]]
        n_touched = _tally(rows, tgt_ptr, tgt, same, later, touched, 0)
        n_touched = _tally(rows, lat_ptr, lat, later, same, touched, n_touched)
        n_kept = 0
        for j in touched[:n_touched]:
            if same[j] >= min_count or later[j] >= min_count:
                touched[n_kept] = j
                n_kept += 1
            else:
                same[j] = 0
                later[j] = 0
        table = _grown(table, size, size + n_kept)
        for j in touched[:n_kept]:
            table[0, size] = j
            table[1, size] = same[j]
            table[2, size] = later[j]
            size += 1
            same[j] = 0
            later[j] = 0
        lengths[source - first] = n_kept
    return lengths, table[:, :size].copy()
