"""How a change spreads, level by level, in sparse vectors; and how certain the sum is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_graph.steering.effects import DirectEffects, Floats, Ints

_CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True, eq=False)
class Step:
    """One hop: the edges followed and where they lead.

    Attributes:
        edges: Numbers of the edges followed, sorted by target [k].
        carriers: For each of them, which of the features that pass a change on is its source [k].
        reached: Features that receive a change, kept or not [r].
        first: For each of them, its first edge in ``edges`` [r].
        kept: Which of them change enough to be reported and to pass it on [r].
        changes: Their change at this hop [r].
    """

    edges: Ints
    carriers: Ints
    reached: Ints
    first: Ints
    kept: np.ndarray
    changes: Floats


@dataclass(frozen=True, eq=False)
class Spread:
    """The forecast in arrays.

    Attributes:
        total: Change of every feature, summed over hops [n].
        hop: First hop that reaches it, 0 if none [n].
        pruned: Changes too small to be followed.
        steps: What happened at each hop.
    """

    total: Floats
    hop: Ints
    pruned: int
    steps: list[Step]


@dataclass(frozen=True)
class Interval:
    """A range of values, both ends included."""

    low: float
    high: float


def spread(effects: DirectEffects, source: int, delta: float, n_hops: int, min_effect: float, decay: float) -> Spread:
    """Sum over paths of the product of direct strengths, up to ``n_hops`` edges; each hop after the first times ``decay``."""
    n = len(effects.nodes)
    total, hop, pruned, steps = np.zeros(n), np.zeros(n, np.int64), 0, []
    front, values = np.array([source]), np.array([delta])
    for level in range(1, n_hops + 1):
        edges, carriers = _outgoing(effects, front)
        if not len(edges):
            break
        order = np.argsort(effects.targets[edges], kind="stable")
        edges, carriers = edges[order], carriers[order]
        reached, first = np.unique(effects.targets[edges], return_index=True)
        scale = decay if level > 1 else 1.0
        changes = np.add.reduceat(values[carriers] * effects.direct[edges] * scale, first)
        kept = (np.abs(changes) >= min_effect) & (changes != 0)
        steps.append(Step(edges, carriers, reached, first, kept, changes))
        pruned += int((~kept).sum())
        front, values = reached[kept], changes[kept]
        total[front] += values
        hop[front[hop[front] == 0]] = level
    return Spread(total, hop, pruned, steps)


def _outgoing(effects: DirectEffects, front: Ints) -> tuple[Ints, Ints]:
    """Numbers of all edges that leave the features of ``front``, and for each the place of its source in ``front``."""
    counts = effects.starts[front + 1] - effects.starts[front]
    carriers = np.repeat(np.arange(len(front)), counts)
    before = np.cumsum(counts) - counts
    edges = np.arange(int(counts.sum())) - np.repeat(before, counts) + np.repeat(effects.starts[front], counts)
    return edges, carriers


def intervals(
    effects: DirectEffects, found: Spread, delta: float, decay: float, draws: int, level: float, seed: int
) -> dict[int, Interval]:
    """Range of each feature's change when every direct strength is uncertain by its standard error: a parametric bootstrap.

    Each draw gives every edge its strength plus a t-distributed error (documents − 1 degrees of freedom) times its standard error,
    independently of the other edges, and spreads the change along the same edges; the ends are quantiles of the draws. Features that an
    edge of unknown error contributes to have no interval. What it does not cover: errors that edges share because they were measured on
    the same documents, and the error of the model itself (products of mean slopes).
    """
    if not found.steps:
        return {}
    used = np.unique(np.concatenate([s.edges for s in found.steps]))
    reached = np.flatnonzero(found.hop)
    known = reached[~_unknown(effects, found)[reached]]
    rng = np.random.default_rng(seed)
    width = max(1, min(draws, _CHUNK_ENTRIES // max(len(used), 1)))
    parts = [_draw(effects, found, used, delta, decay, min(width, draws - i), rng)[known] for i in range(0, draws, width)]
    ends = np.quantile(np.concatenate(parts, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=1)
    return {int(v): Interval(float(low), float(high)) for v, low, high in zip(known, *ends, strict=True)}


def _unknown(effects: DirectEffects, found: Spread) -> np.ndarray:
    """Which features an edge of unknown error contributes to [n]."""
    any_hop = np.zeros(len(effects.nodes), dtype=bool)
    front = np.array([False])
    for step in found.steps:
        tainted = np.logical_or.reduceat(front[step.carriers] | np.isnan(effects.se[step.edges]), step.first)
        any_hop[step.reached] |= tainted & step.kept
        front = tainted[step.kept]
    return any_hop


def _draw(effects: DirectEffects, found: Spread, used: Ints, delta: float, decay: float, draws: int, rng: np.random.Generator) -> Floats:
    """Changes of all features with drawn strengths [n, draws]; an edge has one strength a draw, at whatever hop it is followed."""
    se, freedom = np.nan_to_num(effects.se[used])[:, None], effects.freedom[used][:, None]
    error = rng.standard_normal((len(used), draws))
    finite = np.isfinite(freedom)
    if finite.any():
        error /= np.where(
            finite, np.sqrt(rng.chisquare(np.where(finite, freedom, 1.0), size=error.shape) / np.where(finite, freedom, 1.0)), 1.0
        )
    strengths = effects.direct[used][:, None] + se * error
    total = np.zeros((len(effects.nodes), draws))
    values = np.full((1, draws), delta)
    for level, step in enumerate(found.steps):
        scale = decay if level else 1.0
        carried = values[step.carriers] * strengths[np.searchsorted(used, step.edges)] * scale
        values = np.add.reduceat(carried, step.first, axis=0)[step.kept]
        total[step.reached[step.kept]] += values
    return total
