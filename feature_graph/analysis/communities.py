"""Groups of features that drive one another more than the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import networkx as nx

from feature_graph.analysis.errors import AnalysisError
from feature_graph.graph import Collapse, Effect, as_asked, edge_strength

CommunityMethod = Literal["louvain", "label_propagation", "greedy_modularity", "components"]


def detect_communities(
    graph: nx.DiGraph,
    method: CommunityMethod = "louvain",
    *,
    resolution: float = 1.0,
    seed: int = 42,
    effect: Effect | None = None,
    collapse: Collapse | None = "families",
) -> list[set[str]]:
    """Split the features into groups, largest first; every feature (family of copies) is in exactly one.

    Edges count by |strength|, whatever their direction: a feature belongs to those it drives and is driven by, up or down.

    Args:
        graph: Interaction graph.
        method: ``louvain`` (Blondel et al., 2008), ``label_propagation`` (Raghavan et al., 2007), ``greedy_modularity``
            (Clauset et al., 2004) or ``components`` (weakly connected parts).
        resolution: Above 1 gives smaller groups; for louvain and greedy_modularity.
        seed: Of the random order; the same seed gives the same groups.
        effect: What an edge weighs: strength (its own), total, direct, later, computed, specific or copy; edges without that effect, or
            below their floor, do not count. Default: |specific| where the run measured it, else their own strength; the edges of a graph
            that was restated keep what they state.
        collapse: ``families``: each copy family counts as one feature, and has the id of its first member; None: each feature by itself.

    Raises:
        AnalysisError: If the method is unknown.
        InteractionGraphError: If the effect is unknown or was not measured, or ``collapse`` is unknown.
    """
    if method not in get_args(CommunityMethod):
        raise AnalysisError(f"method: got {method!r}, expected one of {', '.join(get_args(CommunityMethod))}")
    weighted = _undirected(as_asked(graph, effect, collapse))
    groups: Iterable[Iterable[str]]
    if method == "components" or not weighted.number_of_edges():
        groups = nx.connected_components(weighted)
    elif method == "louvain":
        groups = nx.community.louvain_communities(weighted, weight="weight", resolution=resolution, seed=seed)
    elif method == "greedy_modularity":
        groups = nx.community.greedy_modularity_communities(weighted, weight="weight", resolution=resolution)
    else:
        groups = nx.community.fast_label_propagation_communities(weighted, weight="weight", seed=seed)
    return sorted((set(g) for g in groups), key=lambda g: (-len(g), min(map(str, g))))


def modularity(graph: nx.DiGraph, communities: list[set[str]], *, resolution: float = 1.0) -> float:
    """How much more |strength| lies inside the groups than chance would put there; 0.0 without edges (Newman, 2004)."""
    weighted = _undirected(graph)
    if not weighted.size(weight="weight"):
        return 0.0
    return float(nx.community.modularity(weighted, communities, weight="weight", resolution=resolution))


def _undirected(graph: nx.DiGraph) -> nx.Graph:
    weighted: nx.Graph = nx.Graph()
    weighted.add_nodes_from(graph)
    for u, v, data in graph.edges(data=True):
        before = weighted.get_edge_data(u, v, {"weight": 0.0})["weight"]
        weighted.add_edge(u, v, weight=before + abs(edge_strength(data)))
    return weighted
