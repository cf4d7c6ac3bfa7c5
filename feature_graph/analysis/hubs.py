"""Which features matter most, by any of the usual measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np

from feature_graph.analysis.errors import AnalysisError
from feature_graph.analysis.matrices import Matrices, Scores, article_rank, betweenness, closeness, core_number, harmonic, hits, pagerank
from feature_graph.graph import Collapse, Effect, as_asked


def _rows(matrix: Any) -> Scores:
    return np.asarray(matrix.sum(axis=1), dtype=float).ravel()


def _columns(matrix: Any) -> Scores:
    return np.asarray(matrix.sum(axis=0), dtype=float).ravel()


#: Measure → function of the matrices. Weighted measures use |strength|, since centralities have no meaning for negative weights.
HUB_METRICS: dict[str, Callable[[Matrices], Scores]] = {
    "total_degree": lambda m: _rows(m.adjacency) + _columns(m.adjacency),
    "in_degree": lambda m: _columns(m.adjacency),
    "out_degree": lambda m: _rows(m.adjacency),
    "weighted_degree": lambda m: _rows(m.weights) + _columns(m.weights),
    "weighted_in_degree": lambda m: _columns(m.weights),
    "weighted_out_degree": lambda m: _rows(m.weights),
    "pagerank": pagerank,
    "reverse_pagerank": lambda m: pagerank(m.reversed()),
    "article_rank": article_rank,
    "reverse_article_rank": lambda m: article_rank(m.reversed()),
    "hits_hub": lambda m: hits(m)[0],
    "hits_authority": lambda m: hits(m)[1],
    "weighted_hits_hub": lambda m: hits(m, weighted=True)[0],
    "weighted_hits_authority": lambda m: hits(m, weighted=True)[1],
    "closeness": closeness,
    "reverse_closeness": lambda m: closeness(m.reversed()),
    "harmonic": harmonic,
    "reverse_harmonic": lambda m: harmonic(m.reversed()),
    "betweenness": betweenness,
    "core_number": core_number,
}
_WHOLE = {"total_degree", "in_degree", "out_degree", "core_number"}


def find_hubs(
    graph: nx.DiGraph,
    top_k: int = 10,
    metric: str = "total_degree",
    *,
    effect: Effect | None = None,
    collapse: Collapse | None = "families",
) -> list[dict[str, Any]]:
    """The ``top_k`` features with the highest score.

    Args:
        graph: Interaction graph; ``graph.structural`` and ``graph.restated`` choose which edges count.
        top_k: How many.
        metric: One of :data:`HUB_METRICS`, the measures of the template ``hubs`` (docs/analysis.md tells how they compare). ``pagerank``
            finds features that much influence flows into, ``reverse_pagerank`` those it flows out of; ``closeness`` counts incoming paths.
        effect: What an edge weighs: strength (its own), total, direct, later, computed, specific or copy; edges without that effect, or
            below their floor, do not count. Default: |specific| where the run measured it, else their own strength; the edges of a graph
            that was restated keep what they state.
        collapse: ``families``: each copy family counts as one feature, under the id of its first member; None: each feature by itself.

    Returns:
        Dicts with ``id``, ``label``, ``layer``, ``in_degree``, ``out_degree`` and ``<metric>_score``, best first; equal scores by layer
        and id. For example::

            [{'id': 'L3_F1024', 'label': ' war| and', 'layer': 3, 'in_degree': 4, 'out_degree': 31, 'total_degree_score': 35}, …]

    Raises:
        AnalysisError: If the metric is unknown or ``top_k`` is negative.
        InteractionGraphError: If the effect is unknown or was not measured, or ``collapse`` is unknown.
    """
    if metric not in HUB_METRICS:
        raise AnalysisError(f"metric: got {metric!r}, expected one of {', '.join(HUB_METRICS)}")
    if top_k < 0:
        raise AnalysisError(f"top_k: got {top_k}, expected 0 or more")
    graph = as_asked(graph, effect, collapse)
    matrices = Matrices.of(graph)
    scores = HUB_METRICS[metric](matrices)
    keys = [(-round(float(s), 12), graph.nodes[n].get("layer", 0), str(n)) for s, n in zip(scores, matrices.nodes, strict=True)]
    best = sorted(range(len(keys)), key=keys.__getitem__)[:top_k]
    return [
        {
            "id": (node := matrices.nodes[i]),
            "label": graph.nodes[node].get("label", ""),
            "layer": graph.nodes[node].get("layer", 0),
            "in_degree": int(graph.in_degree(node)),
            "out_degree": int(graph.out_degree(node)),
            f"{metric}_score": int(scores[i]) if metric in _WHOLE else float(scores[i]),
        }
        for i in best
    ]
