"""Null graphs keep what they promise; p is uniform under the null; planted loops stand out; workers do not change the result."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from feature_graph.motifs import MotifError, SignedGraph, census, count_motifs, null_test
from feature_graph.motifs.counts import plain_counts
from feature_graph.motifs.nulls import two_sided_p
from feature_graph.motifs.swaps import SwapGraph, swap
from feature_graph.utils import without_progress


def random_graph(n: int, m: int, seed: int, n_layers: int = 4) -> SignedGraph:
    rng = np.random.default_rng(seed)
    layers = np.sort(rng.integers(0, n_layers, n))
    sources, targets = np.nonzero(layers[:, None] < layers[None, :])
    chosen = rng.choice(len(sources), size=min(m, len(sources)), replace=False)
    strengths = rng.choice([1.0, -1.0], len(chosen), p=[0.7, 0.3]) * rng.uniform(0.1, 1, len(chosen))
    return SignedGraph.from_arrays(sources[chosen], targets[chosen], strengths, layers, n)


def degrees(g: SwapGraph, targets: np.ndarray, layers: np.ndarray) -> list[tuple[int, ...]]:
    """Every (end, feature, layer of the other end, sign), with repeats."""
    out = zip(np.zeros_like(targets), g.sources, layers[targets], g.negative, strict=True)
    into = zip(np.ones_like(targets), targets, layers[g.sources], g.negative, strict=True)
    return sorted(tuple(map(int, row)) for row in (*out, *into))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), m=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_swaps_keep_layers_degrees_and_signs_and_double_no_edge(n: int, m: int, seed: int) -> None:
    graph = random_graph(n, m, seed)
    edges = SwapGraph.of(graph)
    found = swap(edges, edges.targets, 20 * graph.n_edges, seed)
    assert degrees(edges, found.targets, graph.layers) == degrees(edges, edges.targets, graph.layers)
    pairs = set(zip(edges.sources.tolist(), found.targets.tolist(), strict=True))
    assert len(pairs) == graph.n_edges
    again = swap(edges, edges.targets, 20 * graph.n_edges, seed)
    assert np.array_equal(again.targets, found.targets)
    assert found.accepted <= 20 * graph.n_edges


def test_all_graphs_with_the_same_degrees_are_equally_likely() -> None:
    """Three sources and three targets, one edge each: six graphs (permutations), each as often."""
    graph = SignedGraph.from_arrays([0, 1, 2], [3, 4, 5], [1.0, 1.0, 1.0], [0, 0, 0, 1, 1, 1], 6)
    edges = SwapGraph.of(graph)
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(1200):
        at = tuple(swap(edges, edges.targets, 40, seed).targets.tolist())
        seen[at] = seen.get(at, 0) + 1
    assert len(seen) == 6
    assert scipy_stats.chisquare(list(seen.values())).pvalue > 1e-3


@pytest.mark.slow
def test_p_is_valid_on_graphs_drawn_from_the_null() -> None:
    base = random_graph(40, 250, seed=5)
    edges = SwapGraph.of(base)
    p, z = [], []
    for seed in range(120):
        targets = swap(edges, edges.targets, 40 * base.n_edges, 10_000 + seed).targets
        strengths = np.where(edges.negative == 1, -1.0, 1.0)
        drawn = SignedGraph.from_arrays(edges.sources, targets, strengths, base.layers, base.n_nodes)
        with without_progress():
            table = null_test(drawn, 39, seed, swaps_per_edge=10).table.set_index("motif")
        p.append(table.loc["feed_forward_loop", "p"])
        z.append(table.loc["feed_forward_loop", "z"])
    jittered = np.array(p) - np.random.default_rng(0).uniform(0, 1 / 40, len(p))
    assert scipy_stats.kstest(jittered, "uniform").pvalue > 1e-3
    assert scipy_stats.binomtest(int(np.sum(np.array(p) <= 0.1)), len(p), 0.1, alternative="greater").pvalue > 1e-3
    assert abs(np.mean(z)) < 0.4


def test_few_swaps_cost_power_but_not_validity() -> None:
    """The observed graph and its nulls start from one place, so even two swaps give a p that is not too small."""
    base = random_graph(40, 250, seed=6)
    edges = SwapGraph.of(base)
    low = 0
    for seed in range(80):
        targets = swap(edges, edges.targets, 40 * base.n_edges, 20_000 + seed).targets
        drawn = SignedGraph.from_arrays(edges.sources, targets, 1.0 - 2.0 * edges.negative, base.layers, base.n_nodes)
        with without_progress():
            table = null_test(drawn, 19, seed, swaps_per_edge=0.05).table.set_index("motif")
        low += table.loc["feed_forward_loop", "p"] <= 0.1
    assert scipy_stats.binomtest(low, 80, 0.1, alternative="greater").pvalue > 1e-3


def planted(seed: int = 0) -> nx.DiGraph:
    """Random edges, and 60 incoherent loops (A excites C, and through B holds it back)."""
    rng = np.random.default_rng(seed)
    graph = nx.DiGraph()
    names = [[f"L{layer}_F{i}" for i in range(60)] for layer in range(3)]
    for layer, row in enumerate(names):
        graph.add_nodes_from(row, layer=layer)
    for layer in range(3):
        for other in range(layer + 1, 3):
            for a in names[layer]:
                for b in rng.choice(names[other], 2, replace=False):
                    graph.add_edge(a, b, strength=float(rng.choice([0.5, -0.5])), span=other - layer)
    for i in range(60):
        a, b, c = (names[layer][i] for layer in range(3))
        for u, v, s in ((a, b, 0.5), (b, c, -0.5), (a, c, 0.5)):
            graph.add_edge(u, v, strength=s, span=2 if u == a and v == c else 1)
    return graph


def test_planted_loops_stand_out_and_only_they() -> None:
    result = null_test(planted(), 499, seed=1)
    table = result.table.set_index("motif")
    assert table.loc["ffl_i1", "z"] > 8
    assert table.loc["ffl_i1", "q"] < 0.05
    assert table.loc["ffl_i1", "p"] == pytest.approx(1 / 500)
    assert table.loc["ffl_c2", "z"] < 4
    assert result.mixing.mixed, result.mixing
    assert table.loc["ffl_i1", "count"] == census(planted()).counts["ffl_i1"]


def test_what_the_degrees_fix_is_not_tested() -> None:
    table = null_test(planted(), 19).table.set_index("motif")
    fixed = table[table["p"].isna()]
    assert {"chain_excitation", "fan_in_compete", "fan_out_switch"} <= set(fixed.index)
    assert (fixed["count"] == fixed["null_mean"]).all()
    assert fixed["q"].isna().all()
    tested = table.drop(fixed.index)
    assert (tested["q"] >= tested["p"]).all()


def test_workers_do_not_change_the_result() -> None:
    graph = planted(3)
    one, two = (null_test(graph, 30, seed=7, workers=n) for n in (1, 4))
    assert one.table.equals(two.table)
    assert one.nulls.equals(two.nulls)
    assert one.mixing == two.mixing
    assert not null_test(graph, 30, seed=8).nulls.equals(one.nulls)


def test_two_sided_p_counts_ties_and_the_observed() -> None:
    assert two_sided_p(5, np.array([5, 5, 5])) == 1.0
    assert two_sided_p(10, np.array([0, 1, 2, 1])) == 0.2
    assert two_sided_p(0, np.array([3, 3, 3, 0])) == 0.4


def test_the_fast_count_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(300, 9000, seed=2, n_layers=6)
    monkeypatch.setattr("feature_graph.motifs.counts._LARGE", 0)
    assert count_motifs(graph) == plain_counts(graph)
    counts, plain = census(graph).counts, plain_counts(graph)
    for family in ("chain", "fan_in", "fan_out", "bi_fan", "diamond"):
        assert sum(n for name, n in counts.items() if name.startswith(family)) == plain[family]
    assert sum(counts[f"ffl_c{i}"] for i in range(1, 5)) == plain["coherent_feed_forward_loop"]
    assert sum(counts[f"ffl_i{i}"] for i in range(1, 5)) == plain["incoherent_feed_forward_loop"]


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(MotifError, match="got 5 nulls"):
        null_test(planted(), 5)
    with pytest.raises(MotifError, match="nodes without `layer`"):
        null_test(nx.DiGraph([("a", "b")]), 19)
    backward = SignedGraph.from_arrays([0], [1], [1.0], [3, 1], 2)
    with pytest.raises(MotifError, match="does not go to a later layer"):
        null_test(backward, 19)


def test_an_empty_graph_has_no_motifs() -> None:
    table = null_test(nx.DiGraph(), 19).table
    assert (table["count"] == 0).all()
    assert (table["p"].dropna() == 1).all()
