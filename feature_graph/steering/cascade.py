"""Cascade of one steered feature: direct strengths multiplied along paths, summed over paths.

Steering adds ``steer_delta`` activation units to one feature at one position. To first order, a feature k then changes by

    steer_delta × Σ over paths source → … → k of Π direct strength of the path's edges

1. level 0 holds the source with its change;
2. level h + 1 receives, over every edge u → v, change(u at level h) × direct(u → v), signs kept;
3. the change of a feature is the sum over its levels, its hop the first level that reaches it.

Only DIRECT strengths are multiplied: a total effect already contains every path through the features between, and products of totals
would count those paths again. Followed are the structural edges: span 1, or a direct effect that is itself significant; edges that act
only on later positions are left out. Edges run forward in depth, so there are no cycles. The forecast is a sum of products of mean
slopes, each measured where its own source is active, at the same position, and it knows neither clipping at zero nor saturation.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import defaultdict
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import attrgetter

import networkx as nx

from feature_graph.artifacts import parse_feature_id
from feature_graph.steering.text import cascade_text

logger = logging.getLogger(__name__)

Strengths = dict[str, dict[str, float]]


class SteeringError(ValueError):
    """A cascade that cannot be computed; the message says what was got and what is expected."""


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
        n_hops: Longest path followed, in edges.
        effects: Predicted change of each feature reached, in activation units, largest magnitude first; without the source.
        hops: First hop at which each of them is reached.
        paths: The paths that contribute most, largest magnitude first.
        measured: Measured total effect × ``steer_delta`` of those targets of the source that lie more than one analysed site away: what
            the forecast for them can be held against without a new measurement.
        labels: Label of the source and of every feature reached, "" where there is none.
        pruned: Changes below ``min_effect`` that were not followed further.
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

    @property
    def unexplained(self) -> dict[str, float]:
        """Measured total minus forecast, where a total was measured over more than one site: what the graph leaves unexplained."""
        return {node: total - self.effects.get(node, 0.0) for node, total in self.measured.items()}

    def summary(self, top: int = 5) -> str:
        """The forecast in words: how many features each hop reaches, the strongest up and down, the strongest paths."""
        return cascade_text(self, top)


def predict_cascade(
    G: nx.DiGraph,
    source: str,
    steer_delta: float = 2.0,
    n_hops: int = 2,
    *,
    min_effect: float = 1e-3,
    top_paths: int = 10,
) -> Cascade:
    """Predict how every feature downstream changes when ``source`` is steered.

    Args:
        G: Interaction graph; edges carry ``direct`` (target units per source unit).
        source: Id of the feature to steer.
        steer_delta: Activation units added to it, at one position; negative to turn it down.
        n_hops: Longest path followed, in edges.
        min_effect: Changes of smaller magnitude, in activation units, are neither followed nor reported. 0 keeps all.
        top_paths: How many single paths to report.

    Returns:
        The forecast. An empty graph gives an empty forecast, and a warning in the log.

    Raises:
        SteeringError: If the source is not in the graph (near ids are named) or a number makes no sense.
    """
    _check(G, source, steer_delta, n_hops, min_effect)
    if G.number_of_nodes() == 0:
        logger.warning("the graph is empty, so nothing follows from steering %s", source)
        return Cascade(source, float(steer_delta), n_hops)
    direct = _direct_strengths(G)
    effects, hops, pruned = _levels(source, float(steer_delta), n_hops, min_effect, direct)
    labels = {node: str(G.nodes[node].get("label") or "") for node in (source, *effects)}
    measured = _measured_totals(G, source, float(steer_delta))
    paths = _top_paths(source, float(steer_delta), n_hops, top_paths, direct)
    return Cascade(source, float(steer_delta), n_hops, effects, hops, paths, measured, labels, pruned)


def _check(G: nx.DiGraph, source: str, steer_delta: float, n_hops: int, min_effect: float) -> None:
    if not math.isfinite(steer_delta):
        raise SteeringError(f"steer_delta: got {steer_delta}, expected a finite number of activation units")
    if n_hops < 1:
        raise SteeringError(f"n_hops: got {n_hops}, expected at least 1")
    if not min_effect >= 0:
        raise SteeringError(f"min_effect: got {min_effect}, expected 0 or more activation units")
    if G.number_of_nodes() and source not in G:
        names = ", ".join(_near(G, source))
        raise SteeringError(f"source: {source!r} is not among the {G.number_of_nodes()} features of the graph; near: {names}")


def _near(G: nx.DiGraph, source: str, n: int = 3) -> list[str]:
    """Features of the same layer by distance of index; for another layer or no id at all, those spelled most alike."""
    names = [str(node) for node in G]
    try:
        layer, index = parse_feature_id(source)
    except ValueError:
        return get_close_matches(source, names, n=n, cutoff=0.0)
    same = [name for name in names if name.startswith(f"L{layer}_F")]
    return sorted(same, key=lambda name: abs(parse_feature_id(name)[1] - index))[:n] or get_close_matches(source, names, n=n, cutoff=0.0)


def _direct_strengths(G: nx.DiGraph) -> Strengths:
    """Source → target → direct strength, of the structural edges.

    An edge of a graph made elsewhere that carries no direct strength counts with its total, and the log says so.
    """
    strengths: Strengths = defaultdict(dict)
    without = 0
    for u, v, data in G.edges(data=True):
        if not data.get("structural", True) or data.get("kind") == "later":
            continue
        value = data.get("direct")
        if value is None or math.isnan(value):
            value, without = data.get("strength"), without + 1
        if value is None or math.isnan(value):
            raise SteeringError(f"edge {u} → {v} has neither a direct nor a total strength (attributes `direct`, `strength`)")
        strengths[u][v] = float(value)
    if without:
        logger.warning("%d of %d edges carry no direct strength; their total is used, which may count paths twice", without, G.size())
    return strengths


def _measured_totals(G: nx.DiGraph, source: str, steer_delta: float) -> dict[str, float]:
    """Measured total effect × delta on the targets that lie more than one analysed site away."""
    edges = [(v, data) for _, v, data in G.out_edges(source, data=True) if data.get("span", 1) > 1 and data.get("kind") != "later"]
    totals = {v: data.get("total", data.get("strength", math.nan)) for v, data in edges}
    return {v: float(total) * steer_delta for v, total in totals.items() if not math.isnan(total)}


def _levels(
    source: str, steer_delta: float, n_hops: int, min_effect: float, direct: Strengths
) -> tuple[dict[str, float], dict[str, int], int]:
    """Sum of all path products up to ``n_hops`` edges, level by level; features by falling magnitude, their first hop, changes pruned."""
    total: dict[str, float] = defaultdict(float)
    first: dict[str, int] = {}
    frontier, pruned = {source: steer_delta}, 0
    for hop in range(1, n_hops + 1):
        received: dict[str, float] = defaultdict(float)
        for u, change in frontier.items():
            for v, strength in direct.get(u, {}).items():
                received[v] += change * strength
        frontier = {v: change for v, change in received.items() if change != 0 and abs(change) >= min_effect}
        pruned += len(received) - len(frontier)
        for v, change in frontier.items():
            total[v] += change
            first.setdefault(v, hop)
    kept = {v: change for v, change in total.items() if change != 0 and abs(change) >= min_effect}
    order = sorted(kept, key=lambda v: (-abs(kept[v]), v))
    return {v: kept[v] for v in order}, {v: first[v] for v in order}, pruned


def _top_paths(source: str, steer_delta: float, n_hops: int, k: int, direct: Strengths) -> tuple[CascadePath, ...]:
    """The k paths of largest contribution, exactly: the k best into a node extend some of the k best into its predecessors."""
    best: list[CascadePath] = []
    level = {source: [CascadePath((source,), steer_delta)]}
    for _ in range(n_hops):
        reached: dict[str, list[CascadePath]] = defaultdict(list)
        for u, paths in level.items():
            for v, strength in direct.get(u, {}).items():
                reached[v].extend(CascadePath((*p.nodes, v), p.effect * strength) for p in paths)
        level = {v: heapq.nlargest(k, paths, key=attrgetter("size")) for v, paths in reached.items()}
        best = heapq.nlargest(k, [*best, *(p for paths in level.values() for p in paths if p.effect)], key=attrgetter("size"))
    return tuple(best)
