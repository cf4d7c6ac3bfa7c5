"""Propagation of a change over all paths, each edge followed once; and how certain the sums are."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from feature_graph.steering.effects import DirectEffects, Floats, Ints

logger = logging.getLogger(__name__)

_CHUNK_ENTRIES = 4_000_000
#: Draws of the intervals, and up to how many edges they are made without being asked for.
DRAWS, _FEW_EDGES = 400, 50_000


@dataclass(frozen=True, eq=False)
class PathLevel:
    """Features whose longest path from the source has one length, with all edges that reach them.

    Attributes:
        edges: Numbers of the edges, sorted by target [k].
        sources: Where each begins: the source itself or a feature of an earlier level [k].
        reached: The features [r].
        first: For each of them, its first edge in ``edges`` [r].
    """

    edges: Ints
    sources: Ints
    reached: Ints
    first: Ints


@dataclass(frozen=True, eq=False)
class Propagation:
    """The forecast in arrays.

    Attributes:
        source: Number of the feature that the change begins at.
        delta: Its change.
        decay: What each edge after a path's first passes on.
        total: Change of every feature, summed over all paths from the source; 0 at the source [n].
        hop: Edges of the shortest path to it, 0 if there is none [n].
        paths: Number of paths to it, exact up to 2⁵³ [n].
        levels: The features reached, by the length of the longest path to them.
    """

    source: int
    delta: float
    decay: float
    total: Floats
    hop: Ints
    paths: Floats
    levels: list[PathLevel]


@dataclass(frozen=True)
class Interval:
    """A range of values, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class IntervalOptions:
    """How intervals are drawn.

    Attributes:
        draws: How many draws, 0 for no intervals. If not given, 400 where up to 50,000 edges are followed, else none.
        level: Coverage.
        seed: Seed of the draws.
    """

    draws: int | None = None
    level: float = 0.95
    seed: int = 42


INTERVALS, NO_INTERVALS = IntervalOptions(), IntervalOptions(draws=0)


def propagate(effects: DirectEffects, source: int, delta: float, decay: float = 1.0) -> Propagation:
    """Sum over all paths of the product of direct strengths; each edge after a path's first times ``decay``.

    Paths lead through features that are ``passed``. A feature's change is the sum over its edges of what their sources change by, so it is
    taken when all of those are known: paths of any length, none of them listed.
    """
    levels = _levels(effects, source)
    n = len(effects.nodes)
    total, paths, hop = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    total[source], paths[source] = delta, 1
    for level in levels:
        scale = np.where(level.sources == source, 1.0, decay)
        total[level.reached] = np.add.reduceat(total[level.sources] * effects.direct[level.edges] * scale, level.first)
        paths[level.reached] = np.add.reduceat(paths[level.sources], level.first)
        hop[level.reached] = np.minimum.reduceat(hop[level.sources], level.first) + 1
    total[source] = paths[source] = 0
    return Propagation(source, delta, decay, total, hop, paths, levels)


def _levels(effects: DirectEffects, source: int) -> list[PathLevel]:
    """What lies downstream, by the length of the longest path from the source."""
    edges, sources = _downstream(effects, source)
    if not len(edges):
        return []
    rank, waiting = np.zeros(len(effects.nodes), np.int64), np.bincount(effects.targets[edges], minlength=len(effects.nodes))
    front, level = np.array([source]), 0
    while len(front):
        rank[front], level = level, level + 1
        met, times = np.unique(effects.targets[_outgoing(effects, source, front)[0]], return_counts=True)
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
        met = np.unique(effects.targets[_outgoing(effects, source, front)[0]])
        front = met[~seen[met]]
    return _outgoing(effects, source, np.flatnonzero(seen))


def _outgoing(effects: DirectEffects, source: int, front: Ints) -> tuple[Ints, Ints]:
    """Numbers of all edges by which paths from ``source`` leave the features of ``front``, and for each the feature that it leaves."""
    front = front[effects.passed[front] | (front == source)]
    counts = effects.starts[front + 1] - effects.starts[front]
    before = np.cumsum(counts) - counts
    edges = np.arange(int(counts.sum())) - np.repeat(before, counts) + np.repeat(effects.starts[front], counts)
    return edges, np.repeat(front, counts)


def intervals(effects: DirectEffects, found: Propagation, options: IntervalOptions) -> dict[int, Interval]:
    """Range of each feature's change when every direct strength is uncertain by its standard error: a parametric bootstrap.

    Each draw gives every edge its strength plus a t-distributed error (documents − 1 degrees of freedom) times its standard error,
    independently of the other edges, and propagates the change along the same edges; the ends are quantiles of the draws. Features that
    an edge of unknown error contributes to have no interval. What it does not cover: errors that edges share because they were measured on
    the same documents, and the error of the model itself (products of mean slopes).
    """
    used = sum(len(level.edges) for level in found.levels)
    draws = _wanted(options, used)
    if not (used and draws > 0):
        return {}
    reached = np.flatnonzero(found.hop)
    known = reached[~_unknown(effects, found)[reached]]
    rng = np.random.default_rng(options.seed)
    width = max(1, min(draws, _CHUNK_ENTRIES // max(used, 1)))
    parts = [_draw(effects, found, min(width, draws - i), rng)[known] for i in range(0, draws, width)]
    ends = np.quantile(np.concatenate(parts, axis=1), [(1 - options.level) / 2, (1 + options.level) / 2], axis=1)
    return {int(v): Interval(float(low), float(high)) for v, low, high in zip(known, *ends, strict=True)}


def _wanted(options: IntervalOptions, followed: int) -> int:
    if options.draws is not None:
        return options.draws
    if followed > _FEW_EDGES:
        logger.info("%d edges followed: no intervals; ask for them with IntervalOptions(draws=%d)", followed, DRAWS)
    return DRAWS if followed <= _FEW_EDGES else 0


def _unknown(effects: DirectEffects, found: Propagation) -> np.ndarray:
    """Which features an edge of unknown error contributes to [n]."""
    unknown = np.zeros(len(effects.nodes), dtype=bool)
    for level in found.levels:
        unknown[level.reached] = np.logical_or.reduceat(unknown[level.sources] | np.isnan(effects.se[level.edges]), level.first)
    return unknown


def _draw(effects: DirectEffects, found: Propagation, draws: int, rng: np.random.Generator) -> Floats:
    """Changes of all features with drawn strengths [n, draws]; every edge has one strength per draw."""
    total = np.zeros((len(effects.nodes), draws))
    total[found.source] = found.delta
    for level in found.levels:
        scale = np.where(level.sources == found.source, 1.0, found.decay)[:, None]
        changes = total[level.sources] * _strengths(effects, level.edges, draws, rng) * scale
        total[level.reached] = np.add.reduceat(changes, level.first, axis=0)
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
