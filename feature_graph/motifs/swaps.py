"""Null graphs by edge swaps that keep sites, degrees and signs.

A swap takes two edges a → b and c → d with the same source site, target site and sign, and makes them a → d and c → b; it is refused if
one of the two pairs is already joined, by an edge of either sign. So every feature keeps how many edges it has to and from each site, of
each sign, and no edge is doubled. Where each layer has one site, the site is the layer. Proposals are symmetric and refused ones count as
steps, hence the chain's stationary distribution is uniform over the graphs that swaps can reach (Milo et al., arXiv:cond-mat/0312028;
Fosdick et al., SIAM Review 60, 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from feature_graph.motifs.arrays import Ints, MotifError, SignedGraph

Array = NDArray[Any]
_EMPTY = -1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class SwapGraph:
    """Edges sorted by class, ready to be swapped; only ``targets`` changes.

    Attributes:
        n_nodes: Nodes.
        sources: [m].
        targets: [m], as given.
        negative: 1 where an edge inhibits [m].
        first: First edge of each edge's class [m].
        last: One past the last edge of each edge's class [m].
    """

    n_nodes: int
    sources: Ints
    targets: Ints
    negative: NDArray[np.uint8]
    first: Ints
    last: Ints

    @classmethod
    def of(cls, graph: SignedGraph) -> SwapGraph:
        """From a graph whose nodes have layers.

        Raises:
            MotifError: If a node has no layer, or an edge does not go to a later site.
        """
        sites = graph.sites
        if sites is None:
            raise MotifError("null graphs keep layers: got a graph with nodes without `layer`; expected one on every node")
        if bool((sites[graph.sources] >= sites[graph.targets]).any()):
            raise MotifError("null graphs keep layers: got an edge that does not go to a later layer, or a later site of its layer")
        key = np.stack([sites[graph.sources], sites[graph.targets], graph.negative.astype(np.int64)])
        order = np.lexsort(key[::-1])
        changes = (np.diff(key[:, order], axis=1) != 0).any(axis=0)
        edges = np.concatenate([[0], np.flatnonzero(changes) + 1, [graph.n_edges]]).astype(np.int64)
        sizes = np.diff(edges)
        first, last = np.repeat(edges[:-1], sizes), np.repeat(edges[1:], sizes)
        return cls(graph.n_nodes, graph.sources[order], graph.targets[order], graph.negative[order], first, last)

    @property
    def n_edges(self) -> int:
        """Edges."""
        return len(self.sources)


@dataclass(frozen=True, eq=False)
class Swapped:
    """Where the edges went: ``targets`` [m] of the same sources, and how many swaps were accepted."""

    targets: Ints
    accepted: int


def swap(graph: SwapGraph, targets: Ints, attempts: int, seed: int) -> Swapped:
    """Take ``attempts`` steps of the chain from ``targets``; the same seed gives the same graph.

    Args:
        graph: Sources and classes.
        targets: Where the chain starts [m].
        attempts: Proposed swaps, refused ones included.
        seed: 0 … 2³² − 1.
    """
    moved = targets.copy()
    if not graph.n_edges:
        return Swapped(moved, 0)
    bits = max(4, int(2 * graph.n_edges - 1).bit_length())
    table = np.full(1 << bits, _EMPTY, np.int64)
    accepted = _swap(graph.sources, moved, graph.first, graph.last, graph.n_nodes, table, np.uint64(64 - bits), attempts, seed)
    return Swapped(moved, int(accepted))


@numba.njit(nogil=True, cache=True)
def _swap(
    sources: Array, targets: Array, first: Array, last: Array, n: int, table: Array, shift: np.uint64, attempts: int, seed: int
) -> int:
    np.random.seed(seed)
    m = len(sources)
    for e in range(m):
        _add(table, shift, sources[e] * n + targets[e])
    accepted = 0
    for _ in range(attempts):
        i = np.random.randint(0, m)
        j = first[i] + np.random.randint(0, last[i] - first[i])
        a, b, c, d = sources[i], targets[i], sources[j], targets[j]
        if a == c or b == d or _has(table, shift, a * n + d) or _has(table, shift, c * n + b):
            continue
        _remove(table, shift, a * n + b)
        _remove(table, shift, c * n + d)
        _add(table, shift, a * n + d)
        _add(table, shift, c * n + b)
        targets[i], targets[j] = d, b
        accepted += 1
    return accepted


@numba.njit(nogil=True, cache=True, inline="always")
def _home(key: int, shift: np.uint64) -> Any:
    return np.int64((np.uint64(key) * _MULTIPLIER) >> shift)


@numba.njit(nogil=True, cache=True)
def _has(table: Array, shift: np.uint64, key: int) -> bool:
    mask = len(table) - 1
    at = _home(key, shift)
    while table[at] != _EMPTY:
        if table[at] == key:
            return True
        at = (at + 1) & mask
    return False


@numba.njit(nogil=True, cache=True)
def _add(table: Array, shift: np.uint64, key: int) -> None:
    mask = len(table) - 1
    at = _home(key, shift)
    while table[at] != _EMPTY:
        at = (at + 1) & mask
    table[at] = key


@numba.njit(nogil=True, cache=True)
def _remove(table: Array, shift: np.uint64, key: int) -> None:
    """Take a key out of the open table and move up those that its place kept away from their own (no marks of deleted places are left)."""
    mask = len(table) - 1
    hole = _home(key, shift)
    while table[hole] != key:
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        if table[at] == _EMPTY:
            break
        if ((at - _home(table[at], shift)) & mask) >= ((at - hole) & mask):
            table[hole] = table[at]
            hole = at
    table[hole] = _EMPTY
