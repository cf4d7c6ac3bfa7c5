"""The most connected features and the strongest edges of a run, as the report's tables have them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import networkx as nx

from feature_graph.analysis import find_hubs
from feature_graph.graph import EDGE, acts, edge_strength, interval, is_structural, largest_first, standardised, unknowns

HUBS, EDGES = 15, 25
#: Edges of one source among the strongest.
OF_A_SOURCE = 3
Edge = tuple[str, str, dict[str, Any]]


def hubs(graph: nx.DiGraph, top_k: int = HUBS) -> list[dict[str, Any]]:
    """Most connected features with the effect they send and get, and what they drive and are driven by most.

    ``sent`` and ``got`` are sums of |standardised effect| (target SDs), ``sent_strength`` and ``got_strength`` of |strength|, whose unit
    differs from target to target; the former are NaN where not measured.
    """
    rows = []
    for hub in find_hubs(graph, top_k, "total_degree"):
        if not hub["total_degree_score"]:
            break
        name = hub["id"]
        out = sorted(graph.out_edges(name, data=True), key=lambda e: largest_first(e[2]))
        into = sorted(graph.in_edges(name, data=True), key=lambda e: largest_first(e[2]))
        rows.append(
            hub
            | {
                "url": graph.nodes[name].get("neuronpedia_url", ""),
                "sent": _summed(d for *_, d in out),
                "got": _summed(d for *_, d in into),
                "sent_strength": sum(abs(edge_strength(d)) for *_, d in out),
                "got_strength": sum(abs(edge_strength(d)) for *_, d in into),
                "drives": _end(graph, out[0][1], out[0][2]) if out else None,
                "driven_by": _end(graph, into[0][0], into[0][2]) if into else None,
            }
        )
    return rows


def strongest_edges(graph: nx.DiGraph, ranked: nx.DiGraph, top_k: int = EDGES) -> list[dict[str, Any]]:
    """The edges with the largest |standardised effect| (by |strength| where it was not measured), with both labels and what they are.

    Of each source at most :data:`OF_A_SOURCE`, so that one that is extreme does not fill the list.

    Args:
        graph: Interaction graph.
        ranked: The same edges by the effect that they are ordered by (:func:`feature_graph.graph.as_asked`), or some of them.
        top_k: How many.
    """
    ordered = sorted(ranked.edges(data=True), key=lambda e: (*largest_first(e[2]), e[0], e[1]))
    return [
        {
            "source": u,
            "target": v,
            "source_label": label(graph, u),
            "target_label": label(graph, v),
            "copy_share": d.get("copy", math.nan) / d["total"] if d.get("total") and d.get("kind") == "total" else math.nan,
            **unknowns(EDGE),
            **d,
            "standardised": standardised(by),
            "acts_by": acts(by),
            "structural": is_structural(d),
            "acts": acts(d),
            "interval": interval(d),
        }
        for u, v, by in islice(_few_of_each(ordered), top_k)
        for d in (graph.edges[u, v],)
    ]


def _few_of_each(edges: Iterable[Edge]) -> Iterator[Edge]:
    """Edges in their order, of each source the first :data:`OF_A_SOURCE`."""
    seen = Counter[str]()
    for edge in edges:
        seen[edge[0]] += 1
        if seen[edge[0]] <= OF_A_SOURCE:
            yield edge


def label(graph: nx.DiGraph, name: str) -> str:
    """What a feature's strongest context is; empty without one."""
    return str(graph.nodes[name].get("label") or "")


def _end(graph: nx.DiGraph, name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "label": label(graph, name), "strength": edge_strength(data), "standardised": standardised(data)}


def _summed(edges: Iterable[dict[str, Any]]) -> float:
    """Sum of |standardised effect| over those measured; NaN if none is."""
    sizes = [abs(size) for d in edges if (size := standardised(d)) == size]
    return sum(sizes) if sizes else math.nan
