"""A graph as sparse matrices, and centralities on them.

Scores are those of networkx (the tests compare), computed by matrix products because its Python loops take minutes on 200,000 edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from feature_graph.graph import edge_strength

Scores = NDArray[np.float64]
_SOURCES = 256


@dataclass(frozen=True)
class Matrices:
    """One graph as matrices, rows are sources.

    Attributes:
        nodes: Node of each row.
        adjacency: Ones where there is an edge, float64 [n, n].
        weights: |strength| of every edge, float64 [n, n].
    """

    nodes: list[str]
    adjacency: sp.csr_array
    weights: sp.csr_array

    @classmethod
    def of(cls, graph: nx.DiGraph) -> Matrices:
        """From a graph; edges without a strength weigh 1."""
        nodes = list(graph)
        number = {node: i for i, node in enumerate(nodes)}
        rows = [number[u] for u, _ in graph.edges]
        columns = [number[v] for _, v in graph.edges]
        weights = np.array([abs(edge_strength(d)) for _, _, d in graph.edges(data=True)], dtype=float)
        shape = (len(nodes), len(nodes))
        ones = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        return cls(nodes, ones, sp.csr_array((weights, (rows, columns)), shape=shape))

    def reversed(self) -> Matrices:
        """Every edge reversed."""
        return Matrices(self.nodes, sp.csr_array(self.adjacency.T), sp.csr_array(self.weights.T))


def pagerank(m: Matrices, damping: float = 0.85, tolerance: float = 1e-10, max_iterations: int = 1000) -> Scores:
    """PageRank by |strength|, summing to 1: importance flows from source to target (Page et al., 1999)."""
    n = len(m.nodes)
    if not n:
        return np.zeros(0)
    out = np.asarray(m.weights.sum(axis=1)).ravel()
    step = sp.csr_array(sp.diags_array(np.divide(1.0, out, out=np.zeros(n), where=out > 0)) @ m.weights)
    score = np.full(n, 1 / n)
    for _ in range(max_iterations):
        new = damping * (score @ step + score[out == 0].sum() / n) + (1 - damping) / n
        moved = np.abs(new - score).sum()
        score = new
        if moved < tolerance:
            break
    return np.asarray(score)


def article_rank(m: Matrices, damping: float = 0.85, tolerance: float = 1e-12, max_iterations: int = 1000) -> Scores:
    """ArticleRank by |strength| as Graph Data Science computes it: (1 − d) + d · Σ score · weight / (out-strength + mean out-degree).

    Li and Willett, "ArticleRank: a PageRank-based alternative to numbers of citations" (2009): a source with few outgoing edges passes on
    less than it would in PageRank. The mean counts edges where the sum weighs them.
    """
    n = len(m.nodes)
    if not n:
        return np.zeros(0)
    out = np.asarray(m.weights.sum(axis=1)).ravel()
    passed = out + m.adjacency.nnz / n
    step = sp.csr_array(sp.diags_array(np.divide(damping, passed, out=np.zeros(n), where=passed > 0)) @ m.weights)
    score = np.full(n, 1 - damping)
    for _ in range(max_iterations):
        new = (1 - damping) + score @ step
        moved = np.abs(new - score).max()
        score = new
        if moved < tolerance:
            break
    return np.asarray(score)


def core_number(m: Matrices) -> Scores:
    """Largest k such that the feature lies in a part where everyone has k edges to the others, without direction (Seidman, 1983)."""
    undirected = nx.from_scipy_sparse_array(sp.csr_array(m.adjacency + m.adjacency.T))
    undirected.remove_edges_from(list(nx.selfloop_edges(undirected)))
    cores = nx.core_number(undirected)
    return np.array([cores[i] for i in range(len(m.nodes))], dtype=float)


def hits(m: Matrices, weighted: bool = False, tolerance: float = 1e-12, max_iterations: int = 2000) -> tuple[Scores, Scores]:
    """Hub and authority scores by count, or by |strength|, each summing to 1 (Kleinberg, 1999); zeros without edges."""
    matrix = m.weights if weighted else m.adjacency
    hub = np.full(len(m.nodes), 1.0)
    authority = np.zeros(len(m.nodes))
    if not matrix.nnz:
        return authority, authority.copy()
    for _ in range(max_iterations):
        authority = hub @ matrix
        new = matrix @ authority
        new /= new.sum()
        moved = np.abs(new - hub).sum()
        hub = new
        if moved < tolerance:
            break
    return hub, authority / authority.sum()


def closeness(m: Matrices) -> Scores:
    """Closeness over incoming paths, counted in edges, with the correction of Wasserman and Faust, as in networkx."""
    n = len(m.nodes)
    score = np.zeros(n)
    for rows, distance in _distances(m):
        finite = np.isfinite(distance)
        reached, total = finite.sum(axis=1) - 1, np.where(finite, distance, 0).sum(axis=1)
        score[rows] = np.divide(reached, total, out=np.zeros(len(rows)), where=total > 0) * reached / max(n - 1, 1)
    return score


def harmonic(m: Matrices) -> Scores:
    """Mean of 1 / distance over incoming paths, counted in edges; what does not reach counts as 0 (Marchiori and Latora, 2000)."""
    n = len(m.nodes)
    score = np.zeros(n)
    for rows, distance in _distances(m):
        score[rows] = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0).sum(axis=1) / max(n - 1, 1)
    return score


def _distances(m: Matrices) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Nodes of a block, and how far from each other node they are along the edges, [block, n], inf where there is no way."""
    turned = sp.csr_array(m.adjacency.T)
    for start in range(0, len(m.nodes), _SOURCES):
        rows = np.arange(start, min(start + _SOURCES, len(m.nodes)))
        yield rows, dijkstra(turned, indices=rows, unweighted=True)


def betweenness(m: Matrices) -> Scores:
    """Share of shortest directed paths (in edges) that pass through each feature, normalised as in networkx.

    Brandes, "A faster algorithm for betweenness centrality" (2001), for blocks of sources at once: one matrix product a step of distance.
    """
    n = len(m.nodes)
    score = np.zeros(n)
    forward, backward = m.adjacency, sp.csr_array(m.adjacency.T)
    for start in range(0, n, _SOURCES):
        rows = np.arange(start, min(start + _SOURCES, n))
        score += _dependencies(forward, backward, rows)
    return score / ((n - 1) * (n - 2)) if n > 2 else np.zeros(n)


def _dependencies(forward: sp.csr_array, backward: sp.csr_array, sources: NDArray[np.intp]) -> Scores:
    """Sum over the sources of Brandes' dependency of each source on every node, [n]."""
    n = forward.shape[0]
    own = (np.arange(len(sources)), sources)
    paths = np.zeros((len(sources), n))
    paths[own] = 1.0
    level = np.full((len(sources), n), -1, dtype=np.int32)
    level[own] = 0
    front, depth = paths.copy(), 0
    while front.any():
        depth += 1
        front = np.asarray(front @ forward)
        front[level >= 0] = 0.0
        fresh = front > 0
        level[fresh] = depth
        paths[fresh] = front[fresh]
    dependency = np.zeros_like(paths)
    for d in range(depth, 1, -1):
        share = np.divide(1 + dependency, paths, out=np.zeros_like(paths), where=level == d)
        dependency += np.where(level == d - 1, np.asarray(share @ backward) * paths, 0.0)
    dependency[own] = 0.0
    return np.asarray(dependency.sum(axis=0))
