from __future__ import annotations

from itertools import combinations, permutations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.graph import structural
from feature_graph.motifs import MEANINGS, count_motifs
from tests.strategies import interaction_graphs, random_interactions


def by_hand(g: nx.DiGraph) -> dict[str, int]:
    """Every motif by going through all triples and quadruples."""

    def sign(u: str, v: str) -> int:
        strength, kind = g[u][v]["strength"], g[u][v].get("type")
        takes = kind == "erases_copy" or (kind == "attenuates_copy" and strength < 0)
        return 0 if takes else -1 if strength < 0 else 1

    e = g.has_edge
    loops = [(a, b, c) for a, b, c in permutations(g, 3) if e(a, b) and e(b, c) and e(a, c)]
    products = [sign(a, b) * sign(b, c) * sign(a, c) for a, b, c in loops]
    pairs = list(combinations(g, 2))
    return {
        "chain": sum(e(a, b) and e(b, c) for a, b, c in permutations(g, 3)),
        "fan_in": sum(e(a, c) and e(b, c) for a, b in pairs for c in g),
        "fan_out": sum(e(c, a) and e(c, b) for a, b in pairs for c in g),
        "feed_forward_loop": len(loops),
        "coherent_feed_forward_loop": products.count(1),
        "incoherent_feed_forward_loop": products.count(-1),
        "bi_fan": sum(e(a, c) and e(a, d) and e(b, c) and e(b, d) for a, b in pairs for c, d in pairs),
        "diamond": sum(e(a, b) and e(a, c) and e(b, d) and e(c, d) for a, d in permutations(g, 2) for b, c in pairs),
    }


@settings(max_examples=40, deadline=None)
@given(interaction_graphs(max_layers=4, max_features=3, max_edges=30))
def test_counts_equal_brute_force(graph: nx.DiGraph) -> None:
    assert count_motifs(graph) == by_hand(graph)
    assert count_motifs(structural(graph)) == by_hand(structural(graph))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.data())
def test_counts_equal_brute_force_on_any_acyclic_graph(n: int, data: st.DataObject) -> None:
    possible = list(combinations(range(n), 2))
    edges = data.draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((u, v, {"strength": data.draw(st.sampled_from([-1.0, 1.0]))}) for u, v in edges)
    assert count_motifs(graph) == by_hand(graph)


def test_counts_by_paper() -> None:
    """Two sources to two middles to one end, one of them also directly, against its own way."""
    graph = nx.DiGraph()
    for u, v, s in [("a", "m", 1), ("a", "n", 1), ("b", "m", 1), ("b", "n", -1), ("m", "z", 1), ("n", "z", 1), ("a", "z", -1)]:
        graph.add_edge(u, v, strength=float(s))
    counts = count_motifs(graph)
    assert list(counts) == list(MEANINGS)
    assert counts == {
        "chain": 4,
        "fan_in": 1 + 1 + 3,
        "fan_out": 3 + 1,
        "feed_forward_loop": 2,
        "coherent_feed_forward_loop": 0,
        "incoherent_feed_forward_loop": 2,
        "bi_fan": 1,
        "diamond": 2,
    }


def test_blocks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_graph.graph import build_interaction_graph

    graph = build_interaction_graph(random_interactions(5, 30, 1500, seed=3))
    whole = count_motifs(graph)
    monkeypatch.setattr("feature_graph.motifs.counts._BLOCK_ENTRIES", 50)
    assert count_motifs(graph) == whole


def test_empty_graph_and_cycle() -> None:
    assert set(count_motifs(nx.DiGraph()).values()) == {0}
    with pytest.raises(ValueError, match="cycle"):
        count_motifs(nx.DiGraph([("a", "b"), ("b", "a")]))
