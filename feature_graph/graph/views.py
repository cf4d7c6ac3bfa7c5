"""Views of a graph: which edges are structural, what an edge's strength stands for, and the scale of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Effect = Literal["total", "direct", "later", "computed"]


def structural(graph: nx.DiGraph) -> nx.DiGraph:
    """A copy with all nodes and only the structural edges: span 1, or a direct effect that is itself significant.

    A total effect over a longer span is partly the sum of the edges between; hubs, communities, motifs and cascades on all totals would
    count the same influence twice.
    """
    return _copy_edges(graph, [(u, v, d) for u, v, d in graph.edges(data=True) if d.get("structural", d.get("span", 1) == 1)])


def restated(graph: nx.DiGraph, effect: Effect) -> nx.DiGraph:
    """A copy in which ``strength``, ``weight`` and ``sign`` stand for another measured effect of the same edges.

    Edges whose restated strength is not known or below their floor are left out. ``restated(G, "computed")`` therefore asks about what the
    blocks compute, without what the residual stream only carries along.

    Raises:
        ValueError: If ``effect`` is not total, direct, later or computed.
    """
    if effect not in {"total", "direct", "later", "computed"}:
        raise ValueError(f"effect: got {effect!r}, expected total, direct, later or computed")
    edges = []
    for u, v, d in graph.edges(data=True):
        value = float(d.get(effect, np.nan))
        floor = d.get("floor", 0.0)
        if np.isfinite(value) and abs(value) >= (floor if floor == floor else 0.0) and value:
            edges.append((u, v, d | {"strength": value, "weight": abs(value), "sign": int(np.sign(value)), "kind": effect}))
    return _copy_edges(graph, edges)


def scale(graph: nx.DiGraph) -> float:
    """Largest |direct| over the edges, so that the cost −ln(|direct| / scale) of a path is never negative; 1.0 without edges."""
    direct = [abs(d["direct"]) for _, _, d in graph.edges(data=True) if d.get("direct", np.nan) == d.get("direct")]
    largest = max(direct, default=0.0)
    return float(largest) if largest > 0 else 1.0


def edge_strength(data: Mapping[str, Any]) -> float:
    """Signed strength of one edge: ``strength``, else ``weight``, else 1 (graphs made elsewhere)."""
    return float(data.get("strength", data.get("weight", 1.0)))


def signs(graph: nx.DiGraph) -> NDArray[np.int8]:
    """Sign of every edge, int8 [n_edges], in the order of ``graph.edges``; an edge without a strength counts as positive."""
    return np.sign([edge_strength(d) for _, _, d in graph.edges(data=True)]).astype(np.int8)


def _copy_edges(graph: nx.DiGraph, edges: list[tuple[Any, Any, dict[str, Any]]]) -> nx.DiGraph:
    copy: nx.DiGraph = nx.DiGraph(**graph.graph)
    copy.add_nodes_from((n, dict(d)) for n, d in graph.nodes(data=True))
    copy.add_edges_from((u, v, dict(d)) for u, v, d in edges)
    return copy
