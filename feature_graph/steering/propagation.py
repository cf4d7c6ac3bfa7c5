"""How a change spreads over all paths, each edge followed once; and how certain the sums are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_graph.steering.effects import DirectEffects, Floats, Ints

_CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True, eq=False)
class PathLevel:
    """Features whose longest path from the source has one length, with all edges that reach them.

    Attributes:
        edges: Numbers of the edges, sorted by target [k].
        sources: Where each begins: the source itself or a feature of an earlier step [k].
        reached: The features [r].
        first: For each of them, its first edge in ``edges`` [r].
    """

    edges: Ints
    sources: Ints
    reached: Ints
    first: Ints


@dataclass(frozen=True, eq=False)
class Spread:
    """The forecast in arrays.

    Attributes:
        total: Change of every feature, summed over all paths from the source; 0 at the source [n].
        hop: Edges of the shortest path to it, 0 if there is none [n].
        paths: Number of paths to it, exact up to 2⁵³ [n].
        steps: The features reached, those first that no other lies behind.
    """

    total: Floats
    hop: Ints
    paths: Floats
    steps: list[PathLevel]


@dataclass(frozen=True)
class Interval:
    """A range of values, both ends included."""

    low: float
    high: float


def spread(effects: DirectEffects, source: int, delta: float, decay: float = 1.0) -> Spread:
    """Sum over all paths of the product of direct strengths; each edge after a path's first times ``decay``.

    A feature's change is the sum over its edges of what their sources change by, so it is taken when all of those are known: paths of
    any length, none of them listed.
    """
    steps = _steps(effects, source)
    n = len(effects.nodes)
    total, paths, hop = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    total[source], paths[source] = delta, 1
    for step in steps:
        scale = np.where(step.sources == source, 1.0, decay)
        total[step.reached] = np.add.reduceat(total[step.sources] * effects.direct[step.edges] * scale, step.first)
        paths[step.reached] = np.add.reduceat(paths[step.sources], step.first)
        hop[step.reached] = np.minimum.reduceat(hop[step.sources], step.first) + 1
    total[source] = paths[source] = 0
    return Spread(total, hop, paths, steps)


def _steps(effects: DirectEffects, source: int) -> list[PathLevel]:
    """What lies downstream, by the length of the longest path from the source."""
    edges, sources = _downstream(effects, source)
    if not len(edges):
        return []
    rank, waiting = np.zeros(len(effects.nodes), np.int64), np.bincount(effects.targets[edges], minlength=len(effects.nodes))
    front, level = np.array([source]), 0
    while len(front):
        rank[front], level = level, level + 1
        met, times = np.unique(effects.targets[_outgoing(effects, front)[0]], return_counts=True)
        waiting[met] -= times
        front = met[waiting[met] == 0]
    targets = effects.targets[edges]
    order = np.lexsort((targets, rank[targets]))
    edges, sources, targets = edges[order], sources[order], targets[order]
    cuts = np.flatnonzero(np.diff(rank[targets])) + 1
    made = []
    for part, begins in zip(np.split(edges, cuts), np.split(sources, cuts), strict=True):
        reached, first = np.unique(effects.targets[part], return_index=True)
        made.append(PathLevel(part, begins, reached, first))
    return made


def _downstream(effects: DirectEffects, source: int) -> tuple[Ints, Ints]:
    """Numbers of all edges that a path from ``source`` can take, and where each begins."""
    seen = np.zeros(len(effects.nodes), dtype=bool)
    front = np.array([source])
    while len(front):
        seen[front] = True
        met = np.unique(effects.targets[_outgoing(effects, front)[0]])
        front = met[~seen[met]]
    return _outgoing(effects, np.flatnonzero(seen))


def _outgoing(effects: DirectEffects, front: Ints) -> tuple[Ints, Ints]:
    """Numbers of all edges that leave the features of ``front``, and for each the feature that it leaves."""
    counts = effects.starts[front + 1] - effects.starts[front]
    before = np.cumsum(counts) - counts
    edges = np.arange(int(counts.sum())) - np.repeat(before, counts) + np.repeat(effects.starts[front], counts)
    return edges, np.repeat(front, counts)


def intervals(
    effects: DirectEffects, found: Spread, source: int, delta: float, decay: float, draws: int, level: float, seed: int
) -> dict[int, Interval]:
    """Range of each feature's change when every direct strength is uncertain by its standard error: a parametric bootstrap.

    Each draw gives every edge its strength plus a t-distributed error (documents − 1 degrees of freedom) times its standard error,
    independently of the other edges, and spreads the change along the same edges; the ends are quantiles of the draws. Features that an
    edge of unknown error contributes to have no interval. What it does not cover: errors that edges share because they were measured on
    the same documents, and the error of the model itself (products of mean slopes).
    """
    if not found.steps:
        return {}
    used = sum(len(step.edges) for step in found.steps)
    reached = np.flatnonzero(found.hop)
    known = reached[~_unknown(effects, found)[reached]]
    rng = np.random.default_rng(seed)
    width = max(1, min(draws, _CHUNK_ENTRIES // max(used, 1)))
    parts = [_draw(effects, found, source, delta, decay, min(width, draws - i), rng)[known] for i in range(0, draws, width)]
    ends = np.quantile(np.concatenate(parts, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=1)
    return {int(v): Interval(float(low), float(high)) for v, low, high in zip(known, *ends, strict=True)}


def _unknown(effects: DirectEffects, found: Spread) -> np.ndarray:
    """Which features an edge of unknown error contributes to [n]."""
    unknown = np.zeros(len(effects.nodes), dtype=bool)
    for step in found.steps:
        unknown[step.reached] = np.logical_or.reduceat(unknown[step.sources] | np.isnan(effects.se[step.edges]), step.first)
    return unknown


def _draw(effects: DirectEffects, found: Spread, source: int, delta: float, decay: float, draws: int, rng: np.random.Generator) -> Floats:
    """Changes of all features with drawn strengths [n, draws]; every edge has one strength a draw."""
    total = np.zeros((len(effects.nodes), draws))
    total[source] = delta
    for step in found.steps:
        scale = np.where(step.sources == source, 1.0, decay)[:, None]
        total[step.reached] = np.add.reduceat(total[step.sources] * _strengths(effects, step.edges, draws, rng) * scale, step.first, axis=0)
    return total


def _strengths(effects: DirectEffects, edges: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """Strengths of some edges, drawn [k, draws]."""
    se, freedom = np.nan_to_num(effects.se[edges])[:, None], effects.freedom[edges][:, None]
    error = rng.standard_normal((len(edges), draws))
    finite = np.isfinite(freedom)
    if finite.any():
        error /= np.where(
            finite, np.sqrt(rng.chisquare(np.where(finite, freedom, 1.0), size=error.shape) / np.where(finite, freedom, 1.0)), 1.0
        )
    return effects.direct[edges][:, None] + se * error
