"""Cascade of one steered feature: direct strengths multiplied along paths, summed over paths.

Steering adds ``steer_delta`` activation units to one feature at one position. To first order, a feature k then changes by

    steer_delta × Σ over paths source → … → k of Π direct strength of the path's edges

1. the source changes by ``steer_delta``;
2. in an order in which every edge goes forward, a feature v changes by Σ over its edges u → v of change(u) × direct(u → v), signs kept,
   × ``decay`` where u is not the source: the sum over all paths, of any length, without listing them;
3. the hop of a feature is the length of the shortest path to it;
4. the same with every strength drawn from its own uncertainty, many times, gives the interval (:mod:`propagation`).

``n_hops`` limits the paths that are listed and drawn, never a sum: the main path to a far feature runs through every site.

Only DIRECT strengths are multiplied: a total effect already contains every path through the features between, and products of totals
would count those paths again. Followed are the structural edges: span 1, or a direct effect that is itself significant; edges that act
only on later positions are left out. A graph with a cycle is refused. The forecast is a sum of products of mean slopes, each measured
where its own source is active, at the same position, and it knows neither clipping at zero nor saturation.
"""

from __future__ import annotations

import logging
import math

import networkx as nx
import numpy as np

from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.names import check_features
from feature_graph.steering.paths import best_paths
from feature_graph.steering.propagation import INTERVALS, IntervalOptions, Propagation, intervals, propagate
from feature_graph.steering.results.cascade import Cascade, CascadePath

logger = logging.getLogger(__name__)


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
    uncertainty: IntervalOptions = INTERVALS,
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
        uncertainty: Draws, coverage and seed of the intervals.

    Returns:
        The forecast. An empty graph gives an empty forecast, and a warning in the log.

    Raises:
        SteeringError: If the source is not in the graph (near ids are named), a number makes no sense, or the edges close a cycle.
    """
    _check(steer_delta, n_hops, min_effect, min_strength, decay, top_paths, uncertainty.level)
    known = G.number if isinstance(G, DirectEffects) else G
    if not len(known):
        logger.warning("the graph is empty, so nothing follows from steering %s", source)
        return Cascade(source, float(steer_delta), n_hops)
    check_features(known, "source", [source])
    whole = G if isinstance(G, DirectEffects) else DirectEffects.of(G, source)
    effects = whole.at_least(min_strength)
    found = propagate(effects, whole.number[source], float(steer_delta), decay)
    return _cascade(effects, found, n_hops, top_paths, min_effect, uncertainty)


def _cascade(
    effects: DirectEffects, found: Propagation, n_hops: int, top_paths: int, min_effect: float, uncertainty: IntervalOptions
) -> Cascade:
    order = _reported(effects, found, min_effect)
    paths = best_paths(effects, found.source, found.delta, n_hops, top_paths, found.decay)
    ranges = intervals(effects, found, uncertainty)
    return Cascade(
        effects.nodes[found.source],
        found.delta,
        n_hops,
        effects={effects.nodes[v]: float(found.total[v]) for v in order},
        hops={effects.nodes[v]: int(found.hop[v]) for v in order},
        paths=tuple(CascadePath(tuple(effects.nodes[v] for v in nodes), effect) for nodes, effect in paths),
        measured={v: total * found.delta for v, total in effects.measured(found.source).items()},
        labels={effects.nodes[v]: effects.labels[v] for v in (found.source, *order)},
        pruned=int(((found.hop > 0) & (np.abs(found.total) < min_effect)).sum()),
        intervals={effects.nodes[v]: ranges[v] for v in order if v in ranges},
    )


def _reported(effects: DirectEffects, found: Propagation, min_effect: float) -> list[int]:
    """Features whose summed change is large enough, largest magnitude first."""
    kept = np.flatnonzero((found.hop > 0) & (np.abs(found.total) >= min_effect) & (found.total != 0)).tolist()
    return sorted(kept, key=lambda v: (-abs(found.total[v]), effects.nodes[v]))


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
