"""From pre-activations under high and low to means and spreads over documents, in one pass over a tile.

A tile is what one matrix product gives: rows = (sample, high or low), columns = some targets of a dictionary. Before it leaves
the processor's cache, each target's non-linearity is applied, high minus low is averaged within documents, and mean and spread
over documents are kept: [sources, targets] instead of [samples, targets]. :func:`reduce_tile` runs compiled on the CPU;
:func:`reduce_tile_plain` does the same by torch operations, on any device, and is what the compiled form is tested against.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Which rows make a document, which documents a source; rows of a document, and documents of a source, lie together.

    Attributes:
        sources: int64 [K + 1]; documents of source k are ``sources[k]`` to ``sources[k + 1]``.
        documents: int64 [D + 1]; rows of document d are ``documents[d]`` to ``documents[d + 1]``.
        weights: float32 [R], weight of each row in its document's mean.
    """

    sources: Ints
    documents: Ints
    weights: NDArray[np.float32]
    _held: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Document of each row [R], source of each document [D], and weights [R, 1], as tensors there; copied once."""
        if device not in self._held:
            document = torch.repeat_interleave(torch.as_tensor(np.diff(self.documents)))
            source = torch.repeat_interleave(torch.as_tensor(self.n_documents))
            self._held[device] = document.to(device), source.to(device), torch.as_tensor(self.weights)[:, None].to(device)
        return self._held[device]

    @property
    def n_documents(self) -> Ints:
        """Documents of each source [K]."""
        return np.diff(self.sources)

    @classmethod
    def of(cls, source: Ints, document: Ints, samples: Ints | None = None) -> Groups:
        """Group rows.

        Args:
            source: int64 [R], ascending: which source each row belongs to, 0..K-1. Sources without rows have no documents.
            document: int64 [R], ascending within a source.
            samples: int64 [R], the sample of each row where several rows (later positions) make one sample, whose effects are
                summed and not averaged; every row is its own if None.
        """
        return cls.padded(source, document, int(source[-1]) + 1 if len(source) else 0, samples)

    @classmethod
    def padded(cls, source: Ints, document: Ints, n_sources: int, samples: Ints | None = None) -> Groups:
        """As :meth:`of`, with the number of sources given."""
        changes = np.flatnonzero((np.diff(source) != 0) | (np.diff(document) != 0)) + 1
        starts = np.concatenate([[0], changes, [len(source)]]).astype(np.int64) if len(source) else np.zeros(1, dtype=np.int64)
        of_document = source[starts[:-1]]
        bounds = np.searchsorted(of_document, np.arange(n_sources + 1)).astype(np.int64)
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        names = np.arange(len(source)) if samples is None else samples
        distinct = np.unique(np.stack([rows, names]), axis=1)[0]
        counts = np.bincount(distinct, minlength=len(starts) - 1)
        return cls(bounds, starts, (1 / counts[rows]).astype(np.float32))


@dataclass(frozen=True)
class Moments:
    """Effects of K sources on T targets over documents, in target units for the whole clamp; all float32 [K, T].

    Attributes:
        mean: Mean over documents.
        m2: Sum of squared deviations of the document means.
        on: Mean change of activity: P(active | high) − P(active | low).
    """

    mean: Tensor
    m2: Tensor
    on: Tensor

    @classmethod
    def empty(cls, n_sources: int, n_targets: int, device: torch.device) -> Moments:
        """Zeros to be filled tile by tile."""
        mean, m2, on = (torch.zeros(n_sources, n_targets, device=device) for _ in range(3))
        return cls(mean, m2, on)


@dataclass(frozen=True)
class SwitchPoints:
    """Where the targets switch, all float32 [T]: ``bias`` is added first; above ``gate`` they pass; above ``active`` they count."""

    bias: Tensor
    gate: Tensor
    active: Tensor

    def tile(self, columns: slice) -> SwitchPoints:
        """Those of some targets."""
        return SwitchPoints(self.bias[columns], self.gate[columns], self.active[columns])


def reduce_tile(pre: Tensor, limits: SwitchPoints, groups: Groups, into: Moments, columns: slice) -> None:
    """Reduce one tile.

    Args:
        pre: float32 [R, 2, T], products without bias, high first; contiguous.
        limits: Of these targets.
        groups: Of these rows.
        into: What to fill.
        columns: The targets' place in ``into``.
    """
    if pre.device.type != "cpu":
        reduce_tile_plain(pre, limits, groups, into, columns)
        return
    _in_threads(_reduce, pre, limits, groups, into, columns)


def reduce_difference(pre: Tensor, limits: SwitchPoints, groups: Groups, into: Moments, columns: slice) -> None:
    """Reduce one tile to the first effect minus the second; ``on`` stays as it is.

    The arguments are those of :func:`reduce_tile`, but ``pre`` is [R, 4, T]: high and low of one effect, then of the other.
    """
    if pre.device.type != "cpu":
        reduce_difference_plain(pre, limits, groups, into, columns)
        return
    _in_threads(_reduce_difference, pre, limits, groups, into, columns)


def reduce_difference_plain(pre: Tensor, limits: SwitchPoints, groups: Groups, into: Moments, columns: slice) -> None:
    """As :func:`reduce_difference`, by torch operations."""
    level = pre + limits.bias
    f = torch.where(level > limits.gate, level, torch.zeros_like(level))
    mean, m2 = _over_documents((f[:, 0] - f[:, 1]) - (f[:, 2] - f[:, 3]), groups)
    into.mean[:, columns], into.m2[:, columns] = mean, m2


def _in_threads(kernel: Callable[..., None], pre: Tensor, limits: SwitchPoints, groups: Groups, into: Moments, columns: slice) -> None:
    """Call a compiled reduction on parts of the sources, one thread each."""
    switch = tuple(t.numpy() for t in (limits.bias, limits.gate, limits.active))
    moments = tuple(t.numpy()[:, columns] for t in (into.mean, into.m2, into.on))
    n, threads = len(groups.sources) - 1, torch.get_num_threads()

    def some(bounds: tuple[int, int]) -> None:
        kernel(pre.numpy(), switch, groups.sources, groups.documents, groups.weights, bounds, moments)

    run_in_threads(some, [(n * i // threads, n * (i + 1) // threads) for i in range(threads)])


def _over_documents(effects: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared deviations over documents, each [K, T], of the effects of the rows [R, T]."""
    document, source, weights = groups.on(effects.device)
    k, d = len(groups.sources) - 1, len(groups.documents) - 1
    n = torch.as_tensor(groups.n_documents, device=effects.device).clamp(min=1)[:, None].to(effects.dtype)
    means = _sums(weights * effects, document, d)
    mean = _sums(means, source, k) / n
    return mean, _sums((means - mean[source]).square(), source, k)


def mean_over_documents(values: Tensor, groups: Groups) -> Tensor:
    """Mean over documents of the mean within each, [K, T], of values of the rows, float32 [R, T]."""
    return _over_documents(values, groups)[0]


def _sums(values: Tensor, where: Tensor, rows: int) -> Tensor:
    return torch.zeros(rows, values.shape[1], dtype=values.dtype, device=values.device).index_add_(0, where, values)


def reduce_tile_plain(pre: Tensor, limits: SwitchPoints, groups: Groups, into: Moments, columns: slice) -> None:
    """As :func:`reduce_tile`, by torch operations."""
    level = pre + limits.bias
    f = torch.where(level > limits.gate, level, torch.zeros_like(level))
    on = (f > limits.active).to(f.dtype)
    into.mean[:, columns], into.m2[:, columns] = _over_documents(f[:, 0] - f[:, 1], groups)
    into.on[:, columns] = _over_documents(on[:, 0] - on[:, 1], groups)[0]


def run_in_threads(work: object, parts: Iterable[tuple[int, int]]) -> None:
    """Call ``work`` on each part, one thread each; the compiled functions give up Python's lock."""
    parts = list(parts)
    if len(parts) == 1:
        work(parts[0])  # type: ignore[operator]
        return
    list(_pool().map(work, parts))  # type: ignore[arg-type]


_POOLS: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    process = os.getpid()  # a forked child has no threads of its parent's pool
    if process not in _POOLS:
        _POOLS[process] = ThreadPoolExecutor(os.cpu_count())
    return _POOLS[process]


@numba.njit(nogil=True, cache=True)
def _add_document(effect, first, start, s1, s2):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sums of deviations from the first document: equal effects have no spread at all."""
    if first:
        start[:] = effect
        return
    for t in range(effect.shape[0]):
        gap = effect[t] - start[t]
        s1[t] += gap
        s2[t] += gap * gap


@numba.njit(nogil=True, cache=True)
def _finish(start, s1, s2, n, mean, m2):  # type: ignore[no-untyped-def]  # pragma: no cover
    for t in range(start.shape[0]):
        mean[t] = start[t] + s1[t] / n
        m2[t] = max(s2[t] - s1[t] * s1[t] / n, np.float32(0))


@numba.njit(nogil=True, cache=True)
def _reduce(pre, switch, sources, documents, weights, bounds, moments):  # type: ignore[no-untyped-def]  # pragma: no cover
    bias, gate, active = switch
    mean, m2, on = moments
    n_targets = pre.shape[2]
    zero, one = np.float32(0), np.float32(1)
    effect, start = np.empty(n_targets, np.float32), np.empty(n_targets, np.float32)
    s1, s2, moved = np.empty(n_targets, np.float32), np.empty(n_targets, np.float32), np.empty(n_targets, np.float32)
    for k in range(bounds[0], bounds[1]):
        begin, end = sources[k], sources[k + 1]
        if begin == end:
            continue
        s1[:], s2[:], moved[:] = zero, zero, zero
        for d in range(begin, end):
            effect[:] = zero
            for r in range(documents[d], documents[d + 1]):
                weight, high, low = weights[r], pre[r, 0], pre[r, 1]
                for t in range(n_targets):
                    h, g = high[t] + bias[t], low[t] + bias[t]
                    a = h if h > gate[t] else zero
                    b = g if g > gate[t] else zero
                    effect[t] += weight * (a - b)
                    x = one if a > active[t] else zero
                    y = one if b > active[t] else zero
                    moved[t] += weight * (x - y)
            _add_document(effect, d == begin, start, s1, s2)
        n = np.float32(end - begin)
        _finish(start, s1, s2, n, mean[k], m2[k])
        for t in range(n_targets):
            on[k, t] = moved[t] / n


@numba.njit(nogil=True, cache=True)
def _reduce_difference(pre, switch, sources, documents, weights, bounds, moments):  # type: ignore[no-untyped-def]  # pragma: no cover
    bias, gate, _ = switch
    mean, m2, _ = moments
    n_targets = pre.shape[2]
    zero = np.float32(0)
    effect, start = np.empty(n_targets, np.float32), np.empty(n_targets, np.float32)
    s1, s2, level = np.empty(n_targets, np.float32), np.empty(n_targets, np.float32), np.empty(4, np.float32)
    for k in range(bounds[0], bounds[1]):
        begin, end = sources[k], sources[k + 1]
        if begin == end:
            continue
        s1[:], s2[:] = zero, zero
        for d in range(begin, end):
            effect[:] = zero
            for r in range(documents[d], documents[d + 1]):
                weight, rows = weights[r], pre[r]
                for t in range(n_targets):
                    for i in range(4):
                        x = rows[i, t] + bias[t]
                        level[i] = x if x > gate[t] else zero
                    effect[t] += weight * ((level[0] - level[1]) - (level[2] - level[3]))
            _add_document(effect, d == begin, start, s1, s2)
        _finish(start, s1, s2, np.float32(end - begin), mean[k], m2[k])
