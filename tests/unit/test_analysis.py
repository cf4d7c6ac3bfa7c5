from __future__ import annotations

from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from feature_graph.analysis import (
    HUB_METRICS,
    compute_graph_statistics,
    count_motifs,
    detect_communities,
    edge_agreement,
    find_hubs,
    modularity,
    replication,
)
from feature_graph.graph import build_interaction_graph, load_graph, save_graph
from tests.strategies import interaction_graphs, random_features, random_interactions

#: Features singly, by the strength that edges have.
PLAIN: dict[str, Any] = {"effect": "strength", "collapse": None}


def toy() -> nx.DiGraph:
    """a and b drive m, m drives y and z, a drives z too; n stands alone."""
    graph = nx.DiGraph()
    for name, layer in [("a", 0), ("b", 0), ("m", 1), ("y", 2), ("z", 2), ("n", 1)]:
        graph.add_node(name, layer=layer, label=f"label of {name}")
    for u, v, strength, copy, span in [
        ("a", "m", 1.0, 0.9, 1),
        ("b", "m", -0.5, 0.0, 1),
        ("m", "y", 0.25, 0.2, 1),
        ("m", "z", 0.5, -0.4, 1),
        ("a", "z", -2.0, -1.5, 2),
    ]:
        kind = "inhibitory" if strength < 0 else "excitatory"
        graph.add_edge(u, v, strength=strength, weight=abs(strength), total=strength, copy=copy, span=span, type=kind, by="total")
    return graph


# --- statistics ---


def test_statistics_by_paper() -> None:
    s = compute_graph_statistics(toy())
    assert (s.n_nodes, s.n_edges, s.n_structural) == (6, 5, 4)
    assert s.density == 5 / (2 * 2 + 2 * 2 + 2 * 2)
    assert s.nodes_per_layer == {0: 2, 1: 2, 2: 2}
    assert s.edges_per_layer_pair == {(0, 1): 2, (0, 2): 1, (1, 2): 2}
    assert s.edges_per_type == {"excitatory": 3, "inhibitory": 2}
    assert (s.positive_share, s.copy_share) == (3 / 5, 3 / 5)
    assert (s.median_strength, s.max_strength) == (0.5, 2.0)
    assert (s.mean_degree, s.max_in_degree, s.max_out_degree) == (8 / 6, 2, 2)  # a → z crosses two sites: no structural edge
    assert (s.n_sources, s.n_sinks, s.n_components, s.largest_component, s.longest_path) == (2, 2, 2, 5, 2)
    degrees = [1, 1, 4, 1, 1, 0]
    spread = sum(abs(x - y) for x in degrees for y in degrees) / 36
    assert s.degree_gini == pytest.approx(spread / (2 * 8 / 6))


def test_summary_says_the_figures() -> None:
    text = compute_graph_statistics(toy()).summary()
    for piece in ("features", "6", "(L0: 2, L1: 2, L2: 2)", "5  (4 structural", "60% excite", "mostly copy", "longest path 2 edges"):
        assert piece in text
    assert "empty" in compute_graph_statistics(nx.DiGraph()).summary()


def test_statistics_without_edges_or_measures() -> None:
    empty = compute_graph_statistics(nx.DiGraph())
    assert (empty.n_nodes, empty.n_edges, empty.density, empty.longest_path) == (0, 0, 0.0, 0)
    assert isnan(empty.median_strength)
    assert isnan(empty.degree_gini)
    assert compute_graph_statistics(nx.DiGraph([("a", "b"), ("b", "a")])).longest_path == -1
    bare = nx.DiGraph([("L0_F1", "L1_F1")])
    assert isnan(compute_graph_statistics(bare).copy_share)
    assert "not measured" in compute_graph_statistics(bare).summary()


# --- hubs ---


def _article_rank(graph: nx.DiGraph) -> dict[str, float]:
    """The fixed point of x = 0.15 + 0.85 · Mᵀ x, solved; M = weight / (strength of the source + mean number of outgoing edges)."""
    weights = nx.to_numpy_array(graph, weight="weight")
    given = weights.sum(axis=1) + graph.number_of_edges() / len(graph)
    matrix = np.divide(weights, given[:, None], out=np.zeros_like(weights), where=given[:, None] > 0)
    score = np.linalg.solve(np.eye(len(graph)) - 0.85 * matrix.T, np.full(len(graph), 0.15))
    return dict(zip(graph, score.tolist(), strict=True))


def _expected(graph: nx.DiGraph, metric: str) -> dict[str, float]:
    """The same score by networkx."""
    weighted = graph.copy()
    others = max(len(graph) - 1, 1)
    return {
        "total_degree": lambda: dict(graph.degree()),
        "in_degree": lambda: dict(graph.in_degree()),
        "out_degree": lambda: dict(graph.out_degree()),
        "weighted_degree": lambda: dict(weighted.degree(weight="weight")),
        "weighted_in_degree": lambda: dict(weighted.in_degree(weight="weight")),
        "weighted_out_degree": lambda: dict(weighted.out_degree(weight="weight")),
        "pagerank": lambda: nx.pagerank(weighted, weight="weight", tol=1e-12, max_iter=500),
        "reverse_pagerank": lambda: nx.pagerank(weighted.reverse(), weight="weight", tol=1e-12, max_iter=500),
        "closeness": lambda: nx.closeness_centrality(graph),
        "reverse_closeness": lambda: nx.closeness_centrality(graph.reverse()),
        "harmonic": lambda: {n: c / others for n, c in nx.harmonic_centrality(graph).items()},
        "reverse_harmonic": lambda: {n: c / others for n, c in nx.harmonic_centrality(graph.reverse()).items()},
        "article_rank": lambda: _article_rank(graph),
        "reverse_article_rank": lambda: _article_rank(graph.reverse()),
        "core_number": lambda: nx.core_number(graph.to_undirected()),
        "betweenness": lambda: nx.betweenness_centrality(graph),
    }[metric]()


@pytest.mark.parametrize("metric", [m for m in HUB_METRICS if "hits" not in m])
@settings(max_examples=12, deadline=None)
@given(graph=interaction_graphs())
def test_hub_scores_equal_networkx(metric: str, graph: nx.DiGraph) -> None:
    hubs = find_hubs(graph, top_k=len(graph), metric=metric, **PLAIN)
    expected = _expected(graph, metric) if len(graph) else {}
    assert {h["id"]: h[f"{metric}_score"] for h in hubs} == pytest.approx(expected, abs=1e-8)
    scores = [h[f"{metric}_score"] for h in hubs]
    assert all(a >= b - 1e-11 for a, b in pairwise(scores))


@pytest.mark.parametrize("prefix", ["", "weighted_"])
@settings(max_examples=12, deadline=None)
@given(graph=interaction_graphs(max_edges=25))
def test_hits_are_the_leading_singular_vectors(prefix: str, graph: nx.DiGraph) -> None:
    names = f"{prefix}hits_hub", f"{prefix}hits_authority"
    hub, authority = ({h["id"]: h[f"{name}_score"] for h in find_hubs(graph, len(graph), name, **PLAIN)} for name in names)
    if not graph.number_of_edges():
        assert not any(hub.values())
        return
    weights = nx.to_numpy_array(graph, weight="weight" if prefix else None)
    h, a = np.array([hub[n] for n in graph]), np.array([authority[n] for n in graph])
    largest, second = np.append(np.linalg.svd(weights, compute_uv=False), 0.0)[:2]
    assert h.sum() == pytest.approx(1)
    assert a.sum() == pytest.approx(1)
    if second < 0.97 * largest:
        assert weights @ (weights.T @ h) == pytest.approx(largest**2 * h, abs=1e-5 * largest**2)
        assert weights.T @ (weights @ a) == pytest.approx(largest**2 * a, abs=1e-5 * largest**2)


def test_hubs_say_what_the_worked_example_prints() -> None:
    hubs = find_hubs(toy(), top_k=2, collapse=None)
    assert hubs == [
        {"id": "m", "label": "label of m", "layer": 1, "in_degree": 2, "out_degree": 2, "total_degree_score": 4},
        {"id": "a", "label": "label of a", "layer": 0, "in_degree": 0, "out_degree": 2, "total_degree_score": 2},
    ]
    assert find_hubs(toy(), 1, "weighted_out_degree", collapse=None)[0]["weighted_out_degree_score"] == 3.0


def test_hubs_refuse_what_does_not_exist() -> None:
    with pytest.raises(ValueError, match="metric: got 'fame', expected one of total_degree"):
        find_hubs(toy(), metric="fame")
    with pytest.raises(ValueError, match="top_k: got -1"):
        find_hubs(toy(), -1)


# --- communities ---


@pytest.mark.parametrize("method", ["louvain", "label_propagation", "greedy_modularity", "components"])
@settings(max_examples=10, deadline=None)
@given(graph=interaction_graphs())
def test_communities_are_a_partition_and_repeatable(method: str, graph: nx.DiGraph) -> None:
    groups = detect_communities(graph, method, collapse=None)  # type: ignore[arg-type]
    assert sorted(n for g in groups for n in g) == sorted(graph)
    assert [len(g) for g in groups] == sorted((len(g) for g in groups), reverse=True)
    assert groups == detect_communities(graph, method, collapse=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["louvain", "label_propagation", "greedy_modularity"])
def test_planted_communities_are_recovered(method: str) -> None:
    rng = np.random.default_rng(0)
    graph = nx.DiGraph()
    planted = [{f"L{layer}_F{10 * group + k}" for layer in range(3) for k in range(4)} for group in range(3)]
    for group in planted:
        for u in sorted(group):  # in one order, whatever the hash seed
            for v in sorted(group):
                if u[1] < v[1]:
                    graph.add_edge(u, v, strength=float(rng.choice([-1, 1]) * rng.uniform(0.5, 1)))
    for a, b in pairwise(planted):
        graph.add_edge(min(a), max(b), strength=-0.3)
    groups = detect_communities(graph, method)  # type: ignore[arg-type]
    assert {frozenset(g) for g in groups} == {frozenset(g) for g in planted}
    assert modularity(graph, groups) > 0.5


def test_communities_refuse_an_unknown_method() -> None:
    with pytest.raises(ValueError, match="method: got 'astrology'"):
        detect_communities(toy(), "astrology")  # type: ignore[arg-type]
    assert detect_communities(nx.DiGraph()) == []
    assert modularity(nx.DiGraph(), []) == 0.0


# --- evidence ---


def test_replication_by_paper() -> None:
    frame = random_interactions(n_edges=6, seed=1).frame.copy()
    frame["significant"], frame["significant_by"] = [True] * 5 + [False], ["total", "total", "total", "later", "direct", ""]
    frame["mean_strength"] = [1.0, 2.0, -1.0, 9.0, 1.0, 9.0]
    frame["confirm_strength"] = [0.5, 2.0, 0.5, 9.0, np.nan, 9.0]
    frame["replicated"] = [True, True, False, True, None, True]
    r = replication(frame)
    assert (r.significant, r.measured, r.replicated, r.rate, r.same_sign) == (4, 3, 2, 2 / 3, 2 / 3)
    assert r.slope == pytest.approx((0.5 + 4 - 0.5) / 6)
    assert r.shrinkage == 0.5
    assert r.rate_low < 2 / 3 < r.rate_high


def test_replication_without_confirmation() -> None:
    frame = random_interactions(seed=2).frame.assign(confirm_strength=np.nan, replicated=None)
    r = replication(frame)
    assert r.measured == 0
    assert isnan(r.rate)
    assert replication(random_interactions(n_edges=0).frame).significant == 0


def test_agreement_over_the_edges() -> None:
    frame = random_interactions(n_edges=100, seed=3).frame
    a = edge_agreement(frame.assign(strength_jacobian=frame["mean_strength"] * 2), worst=3)
    assert a is not None
    assert a.pairs == frame["significant"].sum()
    assert (a.pearson, a.spearman, a.same_sign, a.slope) == pytest.approx((1, 1, 1, 0.5))
    assert len(a.parted) == 3
    assert a.parted["mean_strength"].abs().max() == frame.loc[frame["significant"], "mean_strength"].abs().max()
    assert edge_agreement(frame.assign(strength_jacobian=np.nan)) is None


# --- everything together ---


def test_every_question_works_on_graphs_from_files(tmp_path: Path) -> None:
    interactions = random_interactions(n_edges=120, seed=4)
    graph = build_interaction_graph(interactions, features=random_features(interactions))
    read = load_graph(save_graph(graph, tmp_path / "g.graphml"))
    assert compute_graph_statistics(read) == compute_graph_statistics(graph)
    assert count_motifs(read) == count_motifs(graph)
    assert detect_communities(read) == detect_communities(graph)
    for metric in HUB_METRICS:
        assert find_hubs(read, metric=metric) == find_hubs(graph, metric=metric)
        assert find_hubs(nx.DiGraph(), metric=metric) == []
