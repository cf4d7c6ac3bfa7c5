"""Choosing counter-steers from the graph: least squares with a ridge on its linear forecast, within what features can do.

Steering the source by δ is forecast to change a named feature j by b_j. A counter-steer of feature k by x_k changes it by M_jk x_k, where
M_jk is the measured total effect where the graph has one over more than one site, else the sum over paths of products of direct
strengths. With u_k the mean activation of k where active, and t the intended target,

    minimise  Σ_j (1 + Σ_k M_jk x_k / b_j)²  +  (Σ_k M_tk x_k / b_t)²  +  ridge · Σ_k (x_k / u_k)²

1. x_k is the *mean* change over the samples. It lies between −(mean activation of k there), since a feature cannot be turned below off, and
   ``reach`` × u_k.
2. Features are taken one at a time, each time the one that lowers the sum most with all others solved anew (orthogonal matching pursuit
   with bounds), until ``at_most`` are taken or the next lowers it by less than a hundredth of what there was.
3. A mean change downwards becomes one delta for all samples: where k is less active than that, it is turned off, and the others carry the
   rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.optimize import lsq_linear

from feature_graph.steering.cascade import predict_cascade
from feature_graph.steering.effects import DirectEffects, Floats
from feature_graph.steering.names import site_places
from feature_graph.steering.options import CounterLimits
from feature_graph.steering.propagation import NO_INTERVALS

#: A counter-steer that lowers the sum by less than this share of what there was is not taken.
_GAIN = 0.01
#: The solver wants a range that is not empty, also for a feature that is off at all samples and can only be turned up.
_NOTHING = 1e-12


@dataclass(frozen=True)
class CounterSteer:
    """One counter-steer.

    Attributes:
        feature: Id.
        change: Mean change over the samples that the plan counts on, in activation units.
        delta: What is added at each sample to get it; where the feature is less active than −delta, it is turned off.
    """

    feature: str
    change: float
    delta: float


@dataclass(frozen=True)
class CounterPlan:
    """Counter-steers and what the graph says of them.

    Attributes:
        counters: In the order in which they were chosen; empty if the graph offers none.
        before: Forecast change of each named feature and of the target by the steer alone, in activation units.
        after: The same with the counter-steers.
    """

    counters: tuple[CounterSteer, ...]
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class CounterCandidate:
    """A feature that might be steered against.

    Attributes:
        feature: Id.
        unit: Its mean activation where active.
        activity: Its activation at the samples [samples].
        effects: Change of each named feature and of the target for one unit of it; 0 where the graph has none.
    """

    feature: str
    unit: float
    activity: Floats
    effects: dict[str, float]


def responses(effects: DirectEffects, feature: str) -> dict[str, float]:
    """Forecast change of every later feature for one unit of one feature; measured totals in place of products of paths."""
    found = predict_cascade(effects, feature, 1.0, min_effect=0.0, top_paths=0, uncertainty=NO_INTERVALS)
    return {**found.effects, **found.measured}


def find_candidates(
    effects: DirectEffects,
    names: Sequence[str],
    watched: Sequence[str],
    named: Sequence[str],
    units: Mapping[str, float],
    activity: Mapping[str, Floats],
) -> list[CounterCandidate]:
    """Features of ``names`` that the graph says change at least one named feature.

    Args:
        effects: The graph.
        names: Ids that may be steered.
        watched: Named features and the target.
        named: Named features; one that is itself among ``names`` changes itself by 1.
        units: Mean activation of each where active.
        activity: Activation of each at the samples.
    """
    found = []
    for name in names:
        reached = responses(effects, name) | ({name: 1.0} if name in watched else {})
        if units[name] > 0 and any(reached.get(j, 0.0) for j in named):
            found.append(CounterCandidate(name, units[name], activity[name], {j: reached.get(j, 0.0) for j in watched}))
    return found


def choose(
    candidates: Sequence[CounterCandidate], start: Mapping[str, float], named: Sequence[str], target: str | None, limits: CounterLimits
) -> CounterPlan:
    """The plan of the module's docstring.

    Args:
        candidates: Features that may be steered.
        start: Change of each named feature by the steer alone (not 0), and of the target.
        named: Features whose change is to be cancelled.
        target: Feature whose change is to stay; None for none.
        limits: How many, and how large.
    """
    rows = [(j, 1.0 / start[j], -1.0) for j in named]
    if target is not None and start.get(target):
        rows.append((target, 1.0 / start[target], 0.0))
    wanted = np.array([goal for *_, goal in rows])
    columns = np.array([[c.effects[j] * scale * c.unit for j, scale, _ in rows] for c in candidates]).reshape(-1, len(rows)).T
    low = np.array([-c.activity.mean() / c.unit for c in candidates])
    chosen: list[int] = []
    best, solution = float(wanted @ wanted), np.zeros(0)
    for _ in range(min(limits.at_most, len(candidates))):
        tried = [(i, *_solve(columns, wanted, low, [*chosen, i], limits)) for i in range(len(candidates)) if i not in chosen]
        number, cost, values = min(tried, key=lambda t: t[1])
        if best - cost < _GAIN * float(wanted @ wanted):
            break
        chosen, best, solution = [*chosen, number], cost, values
    taken = [(candidates[i], float(z) * candidates[i].unit) for i, z in zip(chosen, solution, strict=True)]
    counters = tuple(CounterSteer(c.feature, x, constant_delta(x, c.activity)) for c, x in taken if abs(x) > _NOTHING * c.unit)
    after = {j: value + sum(c.effects.get(j, 0.0) * x for c, x in taken) for j, value in start.items()}
    return CounterPlan(counters, dict(start), after)


def _solve(columns: Floats, wanted: Floats, low: Floats, chosen: list[int], limits: CounterLimits) -> tuple[float, Floats]:
    """Cost and solution of some columns, in units of the mean activations."""
    n = len(chosen)
    matrix = np.vstack([columns[:, chosen], np.sqrt(limits.ridge) * np.eye(n)])
    goal = np.concatenate([wanted, np.zeros(n)])
    ends = np.minimum(low[chosen], -_NOTHING), np.full(n, limits.reach)
    found = lsq_linear(matrix, goal, bounds=ends, method="bvls")
    return float(2 * found.cost), np.asarray(found.x)


def constant_delta(change: float, activity: Floats) -> float:
    """The delta, the same at all samples, whose mean is ``change`` when no sample can be turned below off.

    Args:
        change: Mean change, not below −mean activity.
        activity: Activation at each sample, 0 or more [samples].
    """
    if change >= 0:
        return change
    steps = np.concatenate([[0.0], np.unique(activity[activity > 0])])
    reached = np.array([np.minimum(activity, step).mean() for step in steps])
    return -float(np.interp(-change, reached, steps))


def allowed(G: nx.DiGraph, source: str, named: Sequence[str], target: str | None, *, themselves: bool) -> list[str]:
    """Features at the source's site or a later one, before the last named feature; neither the source nor the target.

    Args:
        G: Interaction graph.
        source: Steered feature.
        named: Named side effects.
        target: Intended target.
        themselves: Whether the named features may be steered back themselves.
    """
    places = site_places(G)
    first, last = places[source], max(places[j] for j in named)
    kept = []
    for node in G:
        inside = first <= places[node] < last or (themselves and node in named)
        if inside and node not in (source, target) and (themselves or node not in named):
            kept.append(str(node))
    return sorted(kept)
