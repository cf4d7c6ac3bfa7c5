"""Cascade of one steered feature: by its measured response, explained by paths; without a response, by paths alone.

Steering adds ``steer_delta`` activation units to one feature at one position. To first order, a feature k of a later site then changes by

    steer_delta × P̂(k on | source on) · ⟨response of the source at k's site, reader of k⟩       (and what a JumpReLU's jump adds)

which the screen of the run's responses gives for every feature, whether or not an edge leads to it. ``G.graph["responses"]`` names the
response file and its hash; where it names none, or another file lies there now, the forecast is the sum over paths:

    steer_delta × Σ over paths source → … → k of Π direct strength of the path's edges

1. the source changes by ``steer_delta``;
2. in an order in which every edge goes forward, a feature v changes by Σ over its edges u → v of change(u) × direct(u → v), signs kept,
   × ``decay`` where u is not the source: the sum over all paths, of any length, without listing them;
3. the hop of a feature is the length of the shortest path to it;
4. the same with every strength drawn from its own uncertainty, many times, gives the interval (:mod:`propagation`).

``n_hops`` limits the paths that are listed and drawn, never a sum: the main path to a far feature runs through every site. Beside a
forecast from responses, the sum over paths says how much of it the edges of the graph explain.

Only DIRECT strengths are multiplied: a total effect already contains every path through the features between, and products of totals
would count those paths again. In runs with dictionaries on components direct effects hold the MLPs between and nothing else, and paths lead
only through features of MLPs (:mod:`feature_graph.graph.passing`). Followed are the structural edges: no analysed site in between, or a
direct effect that is itself significant; edges that act only on later positions are left out. A graph with a cycle is refused. The sum
over paths is one of products of mean slopes, each measured where its own source is active, at the same position, and it knows neither
clipping at zero nor saturation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import networkx as nx
import numpy as np

from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.names import check_features
from feature_graph.steering.paths import best_paths
from feature_graph.steering.propagation import INTERVALS, IntervalOptions, Propagation, intervals, propagate
from feature_graph.steering.results.cascade import Cascade, CascadePath
from feature_graph.steering.screened import ScreenedTotals, screened_totals

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
    by: Literal["responses", "paths"] = "responses",
) -> Cascade:
    """Predict how every feature downstream changes when ``source`` is steered.

    Args:
        G: Interaction graph, edges carry ``direct`` (target units per source unit) and ``se``; or its :class:`DirectEffects`, made once to
            ask a large graph many times, and to sum paths: it names no responses.
        source: Id of the feature to steer.
        steer_delta: Activation units added to it, at one position; negative to turn it down.
        n_hops: Longest path listed in ``paths`` and drawn, in edges. The changes themselves do not depend on it.
        min_effect: Features that change by less in sum, in activation units, are not reported; what passes through them is summed all the
            same. 0 keeps all but those that change by 0.
        min_strength: Edges of smaller |direct| are not followed by paths.
        decay: What each hop of a path after the first passes on, 0 to 1; 1 trusts long paths as much as short ones.
        top_paths: How many single paths to report, 0 to 10,000.
        uncertainty: Draws, coverage and seed of the intervals of path sums.
        by: ``responses``: by the measured response where the graph names one that can be used, else by paths; ``paths``: by paths alone.

    Returns:
        The forecast; its ``based_on`` says which of the two it is, ``why_paths`` why no response was used. An empty graph gives an empty
        forecast, and a warning in the log.

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
    summed = _summed(effects, found, n_hops, top_paths)
    totals = _screened(G, source) if by == "responses" else ScreenedTotals(why_not="paths were asked for")
    if totals.why_not:
        ranges = {effects.nodes[v]: span for v, span in intervals(effects, found, uncertainty).items()}
        forecast, changes = replace(summed, why_paths=totals.why_not, intervals=ranges), summed.path_sums
    else:
        forecast = replace(summed, based_on="responses")
        changes = {target: total * found.delta for target, total in totals.of.items()}
    return _reported(forecast, changes, min_effect, G)


def _summed(effects: DirectEffects, found: Propagation, n_hops: int, top_paths: int) -> Cascade:
    """What paths say: sums, hops and the largest single paths; nothing is reported yet."""
    paths = best_paths(effects, found.source, found.delta, n_hops, top_paths, found.decay)
    reached = np.flatnonzero(found.hop).tolist()
    return Cascade(
        effects.nodes[found.source],
        found.delta,
        n_hops,
        hops={effects.nodes[v]: int(found.hop[v]) for v in reached},
        paths=tuple(CascadePath(tuple(effects.nodes[v] for v in nodes), effect) for nodes, effect in paths),
        measured={v: total * found.delta for v, total in effects.measured(found.source).items()},
        path_sums={effects.nodes[v]: float(found.total[v]) for v in reached},
    )


def _screened(G: nx.DiGraph | DirectEffects, source: str) -> ScreenedTotals:
    if isinstance(G, DirectEffects):
        return ScreenedTotals(why_not="direct effects alone name no responses")
    return screened_totals(G, source)


def _reported(forecast: Cascade, changes: Mapping[str, float], min_effect: float, G: nx.DiGraph | DirectEffects) -> Cascade:
    """The forecast with the changes that are large enough, largest magnitude first, and with what belongs to them."""
    kept = sorted((v for v, c in changes.items() if abs(c) >= min_effect and c), key=lambda v: (-abs(changes[v]), v))
    return replace(
        forecast,
        effects={v: changes[v] for v in kept},
        hops={v: forecast.hops[v] for v in kept if v in forecast.hops},
        labels={v: _label(G, v) for v in (forecast.source, *kept)},
        path_sums={v: forecast.path_sums.get(v, 0.0) for v in kept},
        intervals={v: forecast.intervals[v] for v in kept if v in forecast.intervals},
        pruned=sum(abs(c) < min_effect for c in changes.values()),
    )


def _label(G: nx.DiGraph | DirectEffects, name: str) -> str:
    if isinstance(G, DirectEffects):
        return G.labels[G.number[name]]
    return str(G.nodes[name].get("label") or "") if name in G else ""


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
