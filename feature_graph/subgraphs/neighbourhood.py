"""The part of a graph around some features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx

from feature_graph.graph import NODE, unknowns


def around(G: nx.DiGraph, seeds: Mapping[str, Mapping[str, Any]], n_hops: int) -> nx.DiGraph:
    """Seeds, what lies up to ``n_hops`` edges upstream or downstream of one of them, and all edges of G among these.

    Paths keep their direction: features that only share a neighbour with a seed are not taken in.

    Args:
        G: The graph; it is not changed.
        seeds: Id → node attributes. Seeds that are not in G become nodes without edges.
        n_hops: Edges to follow, 0 for the seeds alone.

    Returns:
        A new graph; nodes carry ``seed``, ``effect_size`` and ``hops`` besides what they carry in G.
    """
    inside = [seed for seed in seeds if seed in G]
    hops = _hops(G.reverse(copy=False), inside, n_hops)
    for node, distance in _hops(G, inside, n_hops).items():
        hops[node] = min(distance, hops.get(node, distance))
    part: nx.DiGraph = nx.DiGraph(**G.graph)
    for seed, attributes in seeds.items():
        part.add_node(seed, **(unknowns(NODE) | dict(G.nodes.get(seed, {})) | dict(attributes)), seed=True, hops=0)
    for node in G:
        if node in hops and node not in seeds:
            part.add_node(node, **dict(G.nodes[node]), seed=False, effect_size=0.0, hops=hops[node])
    part.add_edges_from((u, v, dict(d)) for u, v, d in G.edges(data=True) if u in part and v in part)
    return part


def _hops(G: nx.DiGraph, sources: Iterable[str], n_hops: int) -> dict[str, int]:
    """Distance to the nearest source along the edges, up to ``n_hops``."""
    found = dict.fromkeys(sources, 0)
    frontier = list(found)
    for distance in range(1, n_hops + 1):
        frontier = list(dict.fromkeys(v for u in frontier for v in G.successors(u) if v not in found))
        found.update(dict.fromkeys(frontier, distance))
    return found
