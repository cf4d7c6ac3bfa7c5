"""The inner loops: one row of a sparse matrix product at a time (Gustavson), with every pair of signs kept apart.

The product A·A is never written down: row ``a`` is summed into arrays of length n, used, and cleared. So memory does not grow with the
number of patterns, and one pass gives feed-forward loops by their eight signs, diamonds, and chains and loops by span.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@numba.njit(nogil=True, cache=True)
def triads(starts: Array, targets: Array, negative: Array, spans: Array, n_spans: int) -> tuple[Array, Array, Array]:
    """Three-node patterns and diamonds.

    Args:
        starts: First edge of each source [n + 1].
        targets: [m], sorted by source.
        negative: 1 where an edge inhibits [m].
        spans: Analysed layers crossed [m], 0 … n_spans − 1.
        n_spans: Largest span + 1.

    Returns:
        Chains [n_spans, n_spans, 4] and feed-forward loops [n_spans, n_spans, 8] by the spans of the first and the second edge and by signs
        (2·first + second; 4·first + 2·second + across), and diamonds [2]: both paths act in the same direction, or against each other.
    """
    n = len(starts) - 1
    chains = np.zeros((n_spans, n_spans, 4), np.int64)
    loops = np.zeros((n_spans, n_spans, 8), np.int64)
    diamonds = np.zeros(2, np.int64)
    across = np.zeros(n, np.int8)  # 0 no edge, 1 excites, 2 inhibits
    ways = np.zeros((n, 2), np.int64)
    seen = np.empty(n, np.int64)
    for a in range(n):
        for e in range(starts[a], starts[a + 1]):
            across[targets[e]] = 1 + negative[e]
        reached = 0
        for e in range(starts[a], starts[a + 1]):
            b, first = targets[e], negative[e]
            for f in range(starts[b], starts[b + 1]):
                c, second = targets[f], negative[f]
                chains[spans[e], spans[f], 2 * first + second] += 1
                if ways[c, 0] + ways[c, 1] == 0:
                    seen[reached] = c
                    reached += 1
                ways[c, first ^ second] += 1
                if across[c]:
                    loops[spans[e], spans[f], 4 * first + 2 * second + across[c] - 1] += 1
        for k in range(reached):
            up, down = ways[seen[k], 0], ways[seen[k], 1]
            diamonds[0] += up * (up - 1) // 2 + down * (down - 1) // 2
            diamonds[1] += up * down
            ways[seen[k], 0] = 0
            ways[seen[k], 1] = 0
        for e in range(starts[a], starts[a + 1]):
            across[targets[e]] = 0
    return chains, loops, diamonds


@numba.njit(nogil=True, cache=True)
def bi_fans(starts: Array, targets: Array, negative: Array, in_starts: Array, in_sources: Array, in_negative: Array, place: Array) -> Array:
    """Bi-fans by their signs, up to exchanging the two sources and the two targets.

    Args:
        starts: First edge of each source [n + 1].
        targets: [m], sorted by source.
        negative: 1 where an edge inhibits [m].
        in_starts: First incoming edge of each target [n + 1].
        in_sources: Sources of the incoming edges [m], ascending within a target.
        in_negative: 1 where an incoming edge inhibits [m].
        place: Where each edge stands among the incoming ones [m].

    Returns:
        int64 [7], in the order of :data:`feature_graph.motifs.census.BI_FANS`.
    """
    n = len(starts) - 1
    found = np.zeros(7, np.int64)
    shared = np.zeros((n, 4), np.int64)
    seen = np.empty(n, np.int64)
    for a in range(n):
        reached = 0
        for e in range(starts[a], starts[a + 1]):
            b, mine = targets[e], negative[e]
            for f in range(place[e] + 1, in_starts[b + 1]):
                c = in_sources[f]
                if shared[c, 0] + shared[c, 1] + shared[c, 2] + shared[c, 3] == 0:
                    seen[reached] = c
                    reached += 1
                shared[c, 2 * mine + in_negative[f]] += 1
        for k in range(reached):
            c = seen[k]
            both, mine_up, mine_down, none = shared[c, 0], shared[c, 1], shared[c, 2], shared[c, 3]
            found[0] += both * (both - 1) // 2
            found[1] += both * (mine_up + mine_down)
            found[2] += (mine_up * (mine_up - 1) + mine_down * (mine_down - 1)) // 2
            found[3] += both * none
            found[4] += mine_up * mine_down
            found[5] += none * (mine_up + mine_down)
            found[6] += none * (none - 1) // 2
            for way in range(4):
                shared[c, way] = 0
    return found


@numba.njit(nogil=True, cache=True)
def by_source(sources: Array, targets: Array, negative: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """Edges sorted by source, those of one source in the order given: starts [n + 1], targets, negative, where each edge went [m]."""
    m = len(sources)
    starts = np.zeros(n + 1, np.int64)
    for e in range(m):
        starts[sources[e] + 1] += 1
    for i in range(n):
        starts[i + 1] += starts[i]
    at = starts[:-1].copy()
    out, sign, place = np.empty(m, np.int64), np.empty(m, np.uint8), np.empty(m, np.int64)
    for e in range(m):
        p = at[sources[e]]
        at[sources[e]] += 1
        out[p], sign[p], place[e] = targets[e], negative[e], p
    return starts, out, sign, place
