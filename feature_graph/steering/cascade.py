"""Cascade of one steered feature: direct strengths multiplied along paths, summed over paths.

Steering adds ``steer_delta`` activation units to one feature at one position. To first order, a feature k then changes by

    steer_delta × Σ over paths source → … → k of Π direct strength of the path's edges

1. the source changes by ``steer_delta``;
2. in an order in which every edge goes forward, a feature v changes by Σ over its edges u → v of change(u) × direct(u → v), signs kept,
   × ``decay`` where u is not the source: the sum over all paths, of any length, without listing them;
3. the hop of a feature is the length of the shortest path to it;
4. the same with every strength drawn from its own uncertainty, many times, gives the interval (:mod:`spread`).

``n_hops`` limits the paths that are listed and drawn, never a sum: the main path to a far feature runs through every site.

Only DIRECT strengths are multiplied: a total effect already contains every path through the features between, and products of totals
would count those paths again. Followed are the structural edges: span 1, or a direct effect that is itself significant; edges that act
only on later positions are left out. A graph with a cycle is refused. The forecast is a sum of products of mean slopes, each measured
where its own source is active, at the same position, and it knows neither clipping at zero nor saturation.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from difflib import get_close_matches

import networkx as nx
import numpy as np

from feature_graph.artifacts import parse_feature_id
from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.paths import best_paths
from feature_graph.steering.propagation import Interval, Spread, intervals, spread
from feature_graph.steering.text import cascade_text

logger = logging.getLogger(__name__)

#: Draws of the interval, and up to how many edges they are made without being asked for.
DRAWS, _FEW_EDGES = 400, 50_000


@dataclass(frozen=True)
class CascadePath:
    """One path and what it alone contributes to its last feature, in activation units."""

    nodes: tuple[str, ...]
    effect: float

    @property
    def size(self) -> float:
        """Magnitude of the effect."""
        return abs(self.effect)


@dataclass(frozen=True)
class Cascade:
    """The forecast of one steering.

    Attributes:
        source: Id of the steered feature.
        steer_delta: What is added to it, in activation units, at one position.
        n_hops: Longest path listed in ``paths`` and drawn, in edges; the changes are summed over paths of any length.
        effects: Predicted change of each feature reached, in activation units, largest magnitude first; without the source.
        hops: Edges of the shortest path to each of them.
        paths: The paths of at most ``n_hops`` edges that contribute most, largest magnitude first.
        measured: Measured total effect × ``steer_delta`` of those targets of the source that lie more than one analysed site away: what
            the forecast for them can be held against without a new measurement.
        labels: Label of the source and of every feature reached, "" where there is none.
        pruned: Features reached whose change is below ``min_effect``, and which are therefore not reported; every sum holds what passes
            through them.
        intervals: Range of each change that the edges' own standard errors leave open (95 % if not asked otherwise); a feature that an edge
            without a standard error contributes to has none.
    """

    source: str
    steer_delta: float
    n_hops: int
    effects: dict[str, float] = field(default_factory=dict)
    hops: dict[str, int] = field(default_factory=dict)
    paths: tuple[CascadePath, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    pruned: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def unexplained(self) -> dict[str, float]:
        """Measured total minus forecast, where a total was measured over more than one site: what the graph leaves unexplained."""
        return {node: total - self.effects.get(node, 0.0) for node, total in self.measured.items()}

    def summary(self, top: int = 5) -> str:
        """The forecast in words: how many features each hop reaches, the strongest up and down, the strongest paths."""
        return cascade_text(self, top)


def predict_cascade(
    G: nx.DiGraph | DirectEffects,
    source: str,
    steer_delta: float = 2.0,
    n_hops: int = 2,
    *,
    min_effect: float = 1e-3,
    min_strength: float = 0.0,
    decay: float = 1.0,
    top_paths: int = 10,
    draws: int | None = None,
    level: float = 0.95,
    seed: int = 42,
) -> Cascade:
    """Predict how every feature downstream changes when ``source`` is steered.

    Args:
        G: Interaction graph, edges carry ``direct`` (target units per source unit) and ``se``; or its :class:`DirectEffects`, made once to
            ask a large graph many times.
        source: Id of the feature to steer.
        steer_delta: Activation units added to it, at one position; negative to turn it down.
        n_hops: Longest path listed in ``paths`` and drawn, in edges. Changes are summed over paths of any length.
        min_effect: Features that change by less in sum, in activation units, are not reported; what passes through them is summed all the
            same. 0 keeps all but those whose paths cancel to 0.
        min_strength: Edges of smaller |direct| are not followed.
        decay: What each hop after the first passes on, 0 to 1; 1 trusts long paths as much as short ones.
        top_paths: How many single paths to report, 0 to 10,000.
        draws: Draws of the interval, 0 for none. If not given, 400 where up to 50,000 edges are followed, else none.
        level: Coverage of the interval.
        seed: Seed of the draws.

    Returns:
        The forecast. An empty graph gives an empty forecast, and a warning in the log.

    Raises:
        SteeringError: If the source is not in the graph (near ids are named), a number makes no sense, or the edges close a cycle.
    """
    _check(steer_delta, n_hops, min_effect, min_strength, decay, top_paths, level)
    delta = float(steer_delta)
    names = G.nodes if isinstance(G, DirectEffects) else G
    if not len(names):
        logger.warning("the graph is empty, so nothing follows from steering %s", source)
        return Cascade(source, delta, n_hops)
    if source not in (G.number if isinstance(G, DirectEffects) else G):
        near = ", ".join(near_names([str(name) for name in names], source))
        raise SteeringError(f"source: {source!r} is not among the {len(names)} features of the graph; near: {near}")
    whole = G if isinstance(G, DirectEffects) else DirectEffects.of(G, source)
    effects, start = whole.at_least(min_strength), whole.number[source]
    found = spread(effects, start, delta, decay)
    order = _reported(effects, found, min_effect)
    ways = best_paths(effects, start, delta, n_hops, top_paths, decay)
    ranges = _ranges(effects, found, start, delta, decay, draws, level, seed)
    return Cascade(
        source,
        delta,
        n_hops,
        effects={effects.nodes[v]: float(found.total[v]) for v in order},
        hops={effects.nodes[v]: int(found.hop[v]) for v in order},
        paths=tuple(CascadePath(tuple(effects.nodes[v] for v in nodes), effect) for nodes, effect in ways),
        measured={v: total * delta for v, total in whole.measured(start).items()},
        labels={effects.nodes[v]: effects.labels[v] for v in (start, *order)},
        pruned=int(((found.hop > 0) & (np.abs(found.total) < min_effect)).sum()),
        intervals={effects.nodes[v]: ranges[v] for v in order if v in ranges},
    )


def _reported(effects: DirectEffects, found: Spread, min_effect: float) -> list[int]:
    """Features whose summed change is large enough, largest magnitude first."""
    kept = np.flatnonzero((found.hop > 0) & (np.abs(found.total) >= min_effect) & (found.total != 0)).tolist()
    return sorted(kept, key=lambda v: (-abs(found.total[v]), effects.nodes[v]))


def _ranges(
    effects: DirectEffects, found: Spread, source: int, delta: float, decay: float, draws: int | None, level: float, seed: int
) -> dict[int, Interval]:
    followed = sum(len(step.edges) for step in found.steps)
    if draws is None and followed > _FEW_EDGES:
        logger.info("%d edges followed: no intervals; ask for them with draws=%d", followed, DRAWS)
    wanted = draws if draws is not None else DRAWS if followed <= _FEW_EDGES else 0
    return intervals(effects, found, source, delta, decay, wanted, level, seed) if wanted > 0 else {}


def _check(steer_delta: float, n_hops: int, min_effect: float, min_strength: float, decay: float, top_paths: int, level: float) -> None:
    checks = (
        ("steer_delta", steer_delta, math.isfinite(steer_delta), "a finite number of activation units"),
        ("n_hops", n_hops, n_hops >= 1, "at least 1"),
        ("min_effect", min_effect, min_effect >= 0, "0 or more activation units"),
        ("min_strength", min_strength, min_strength >= 0, "0 or more"),
        ("decay", decay, 0 < decay <= 1, "more than 0, at most 1"),
        ("top_paths", top_paths, 0 <= top_paths <= 10_000, "0 to 10,000"),
        ("level", level, 0 < level < 1, "between 0 and 1"),
    )
    for name, value, right, expected in checks:
        if not right:
            raise SteeringError(f"{name}: got {value}, expected {expected}")


def near_names(names: list[str], source: str, n: int = 3) -> list[str]:
    """Features of the same layer by distance of index; for another layer or no id at all, those spelled most alike."""
    try:
        layer, index = parse_feature_id(source)
    except ValueError:
        return get_close_matches(source, names, n=n, cutoff=0.0)
    same = [name for name in names if name.startswith(f"L{layer}_F")]
    return sorted(same, key=lambda name: abs(parse_feature_id(name)[1] - index))[:n] or get_close_matches(source, names, n=n, cutoff=0.0)
