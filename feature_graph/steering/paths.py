"""The paths of largest contribution, exactly, without listing the others: best first, under an exact bound on what a path can still become.

bound(path ending at v with r hops left) = |product so far| × the largest product of any path of at most r edges from v. The bound is
reached by some path, so only prefixes of the paths looked for are ever extended.
"""

from __future__ import annotations

import heapq

import numpy as np

from feature_graph.steering.effects import DirectEffects, Floats


def best_paths(effects: DirectEffects, source: int, delta: float, n_hops: int, k: int, decay: float) -> list[tuple[tuple[int, ...], float]]:
    """The ``k`` paths from ``source`` of at most ``n_hops`` edges whose product is largest in magnitude: nodes, and product × ``delta``."""
    if k <= 0 or not len(effects.targets):
        return []
    gains = _gains(effects, n_hops, decay)
    found: list[tuple[tuple[int, ...], float]] = []
    # (−magnitude, 0 if the path ends here or 1 if it is to be extended, edges, nodes, effect)
    heap: list[tuple[float, int, int, tuple[int, ...], float]] = [(-np.inf, 1, 0, (source,), delta)]
    while heap and len(found) < k:
        _, extend, hops, nodes, effect = heapq.heappop(heap)
        if not extend:
            found.append((nodes, effect))
            continue
        low, high = effects.starts[nodes[-1]], effects.starts[nodes[-1] + 1]
        changes = effect * effects.direct[low:high] * (decay if hops else 1.0)
        after = effects.targets[low:high]
        left = n_hops - hops - 1
        for place in _largest(np.abs(changes), k):
            heapq.heappush(heap, (-abs(float(changes[place])), 0, hops + 1, (*nodes, int(after[place])), float(changes[place])))
        bounds = np.abs(changes) * gains[left][after] if left else np.zeros(0)
        for place in _largest(bounds, k):
            heapq.heappush(heap, (-float(bounds[place]), 1, hops + 1, (*nodes, int(after[place])), float(changes[place])))
    return found


def _largest(values: Floats, k: int) -> list[int]:
    """Places of the ``k`` largest values above 0: with k better ones in the same set, a smaller one is not among the k best of all."""
    places = np.argpartition(-values, k - 1)[:k] if len(values) > k else np.arange(len(values))
    return [int(p) for p in places if values[p] > 0]


def _gains(effects: DirectEffects, n_hops: int, decay: float) -> list[Floats]:
    """For r = 0 … n_hops − 1: the largest product of a path's 1 to r further edges through each feature (0 if there are none), [n] each."""
    n, strength = len(effects.nodes), np.abs(effects.direct) * decay
    has = np.flatnonzero(np.diff(effects.starts))
    gains = [np.zeros(n)]
    for _ in range(1, n_hops):
        best = np.zeros(n)
        if len(has):
            best[has] = np.maximum.reduceat(strength * np.maximum(1.0, gains[-1][effects.targets]), effects.starts[has])
        best[~effects.passed] = 0
        gains.append(best)
    return gains
