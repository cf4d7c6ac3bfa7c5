"""Decay, thresholds, the interval and its coverage, cycles, and a graph made once; the plain sum over listed paths is the judge."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from feature_graph.steering import NO_INTERVALS, DirectEffects, Interval, IntervalOptions, SteeringError, predict_cascade

CHAIN = nx.DiGraph()
for _i in range(4):
    CHAIN.add_node(f"L{_i}_F0", layer=_i, label="")
for _i, (_w, _se) in enumerate([(0.5, 0.05), (-2.0, 0.2), (1.5, 0.1)]):
    CHAIN.add_edge(f"L{_i}_F0", f"L{_i + 1}_F0", direct=_w, se=_se, n_documents=40, span=1, structural=True)


def layered(weights: np.ndarray, width: int, se: float = 0.0, documents: int = 0) -> nx.DiGraph:
    graph = nx.DiGraph()
    names = [f"L{i // width}_F{i % width}" for i in range(len(weights))]
    graph.add_nodes_from((name, {"layer": i // width, "label": ""}) for i, name in enumerate(names))
    for a, b in zip(*np.nonzero(weights), strict=True):
        graph.add_edge(names[a], names[b], direct=float(weights[a, b]), se=se, n_documents=documents, span=b // width - a // width)
    return graph


@st.composite
def weighted(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    n_layers, width = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    n = n_layers * width
    weights = np.zeros((n, n))
    for a, b in itertools.product(range(n), repeat=2):
        if a // width < b // width:
            weights[a, b] = draw(st.sampled_from([0.0, 0.0, 0.3, -0.4, 0.9, -1.3]))
    return weights, width


def by_listing(graph: nx.DiGraph, source: str, delta: float, hops: int, decay: float, least: float) -> dict[tuple[str, ...], float]:
    """Every path and its contribution."""
    strong = nx.DiGraph((u, v, d) for u, v, d in graph.edges(data=True) if abs(d["direct"]) >= least)
    if source not in strong:
        return {}
    paths = [p for node in strong for p in nx.all_simple_paths(strong, source, node, cutoff=hops) if len(p) > 1]
    return {
        tuple(p): delta * decay ** (len(p) - 2) * float(np.prod([strong.edges[e]["direct"] for e in itertools.pairwise(p)])) for p in paths
    }


@settings(max_examples=60, deadline=None)
@given(weighted(), st.integers(1, 4), st.sampled_from([1.0, 0.5]), st.sampled_from([0.0, 0.35]), st.integers(1, 8))
def test_decay_thresholds_and_best_paths_equal_the_list_of_all_paths(
    made: tuple[np.ndarray, int], hops: int, decay: float, least: float, top: int
) -> None:
    graph = layered(*made)
    every = by_listing(graph, "L0_F0", 1.5, len(graph), decay, least)
    paths = {path: effect for path, effect in every.items() if len(path) <= hops + 1}
    found = predict_cascade(
        graph, "L0_F0", 1.5, hops, min_effect=0, decay=decay, min_strength=least, top_paths=top, uncertainty=NO_INTERVALS
    )
    sums: dict[str, float] = {}
    for path, effect in every.items():
        sums[path[-1]] = sums.get(path[-1], 0.0) + effect
    for node in graph:
        assert found.effects.get(node, 0.0) == pytest.approx(sums.get(node, 0.0), abs=1e-9)
    expected = sorted((abs(e) for e in paths.values()), reverse=True)[:top]
    assert [p.size for p in found.paths] == pytest.approx(expected)
    for path in found.paths:
        assert path.effect == pytest.approx(paths[path.nodes])


def test_a_graph_made_once_gives_the_same_forecast() -> None:
    rng = np.random.default_rng(1)
    weights = np.triu(rng.normal(size=(20, 20)) * (rng.random((20, 20)) < 0.4), 1)
    weights[np.arange(20)[:, None] // 4 >= np.arange(20)[None, :] // 4] = 0
    graph = layered(weights, 4, se=0.1)
    for _, _, d in graph.edges(data=True):
        d["total"] = d["direct"] * 1.5
    once = DirectEffects.of(graph)
    for source in list(graph)[:6]:
        one, two = predict_cascade(graph, source, n_hops=3), predict_cascade(once, source, n_hops=3)
        assert one.effects == pytest.approx(two.effects)
        assert (one.hops, one.measured, one.labels) == (two.hops, two.measured, two.labels)
        assert [p.nodes for p in one.paths] == [p.nodes for p in two.paths]
        assert two.intervals.keys() == two.effects.keys()


def test_the_interval_of_one_edge_is_the_edges_own() -> None:
    found = predict_cascade(CHAIN, "L0_F0", 1.0, 1, uncertainty=IntervalOptions(draws=20_000)).intervals["L1_F0"]
    half = scipy_stats.t(39).ppf(0.975) * 0.05
    assert (found.low, found.high) == (pytest.approx(0.5 - half, abs=0.004), pytest.approx(0.5 + half, abs=0.004))


def test_the_interval_grows_as_the_delta_method_says() -> None:
    found = predict_cascade(CHAIN, "L0_F0", 2.0, 3, uncertainty=IntervalOptions(draws=20_000))
    effect = found.effects["L3_F0"]
    relative = np.sqrt((0.05 / 0.5) ** 2 + (0.2 / 2) ** 2 + (0.1 / 1.5) ** 2)
    width = found.intervals["L3_F0"].high - found.intervals["L3_F0"].low
    assert width == pytest.approx(2 * 1.96 * abs(effect) * relative, rel=0.1)


def test_the_interval_covers_the_true_effect_as_often_as_it_says() -> None:
    """Edges measured with error around known truths: a diamond beside a direct edge, 400 times."""
    truth = np.zeros((5, 5))
    truth[0, 1], truth[0, 2], truth[1, 3], truth[2, 3], truth[0, 3], truth[3, 4] = 0.8, -0.6, 0.7, 0.5, 0.3, 1.1
    names = [f"L{layer}_F{i}" for layer, i in ((0, 0), (1, 0), (1, 1), (2, 0), (3, 0))]
    right = truth[0, 4] + (truth[0, 1] * truth[1, 3] + truth[0, 2] * truth[2, 3] + truth[0, 3]) * truth[3, 4]
    rng, n_documents, covered = np.random.default_rng(0), 12, 0
    for trial in range(400):
        graph = nx.DiGraph()
        graph.add_nodes_from((name, {"layer": int(name[1])}) for name in names)
        for a, b in zip(*np.nonzero(truth), strict=True):
            sample = rng.normal(truth[a, b], 0.3, n_documents)
            se = sample.std(ddof=1) / np.sqrt(n_documents)
            graph.add_edge(names[a], names[b], direct=sample.mean(), se=se, n_documents=n_documents, structural=True, span=1)
        found = predict_cascade(graph, names[0], 1.0, 3, min_effect=0, uncertainty=IntervalOptions(seed=trial)).intervals[names[4]]
        covered += found.low <= right <= found.high
    assert 0.925 <= covered / 400 <= 0.985


def test_an_edge_of_unknown_error_leaves_no_interval_behind_it() -> None:
    graph = CHAIN.copy()
    graph.edges["L1_F0", "L2_F0"]["se"] = float("nan")
    found = predict_cascade(graph, "L0_F0", 1.0, 3)
    assert set(found.effects) == {"L1_F0", "L2_F0", "L3_F0"}
    assert set(found.intervals) == {"L1_F0"}


def test_seeds_and_draws() -> None:
    one, two, three = (predict_cascade(CHAIN, "L0_F0", n_hops=3, uncertainty=IntervalOptions(seed=s)).intervals for s in (1, 1, 2))
    assert one == two != three
    assert predict_cascade(CHAIN, "L0_F0", uncertainty=NO_INTERVALS).intervals == {}
    certain = nx.DiGraph([("a", "b", {"direct": 2.0, "se": 0.0})])
    assert predict_cascade(certain, "a", 1.0).intervals == {"b": Interval(2.0, 2.0)}


def test_the_summary_shows_the_interval() -> None:
    text = predict_cascade(CHAIN, "L0_F0", 1.0, 2).summary()
    assert " [+0.4" in text
    assert "what the standard errors of the edges leave open" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 0.0}, "decay: got 0.0, expected more than 0, at most 1"),
        ({"decay": 1.5}, "decay: got 1.5"),
        ({"min_strength": -1.0}, "min_strength: got -1.0"),
        ({"top_paths": 10**6}, "top_paths: got 1000000, expected 0 to 10,000"),
        ({"uncertainty": IntervalOptions(level=1.0)}, "level: got 1.0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        predict_cascade(CHAIN, "L0_F0", **options)


def test_a_cycle_is_refused() -> None:
    graph = CHAIN.copy()
    graph.add_edge("L2_F0", "L1_F0", direct=0.5)
    with pytest.raises(SteeringError, match="the edges close a cycle"):
        predict_cascade(graph, "L0_F0", n_hops=3)
    with pytest.raises(SteeringError, match="the edges close a cycle"):
        DirectEffects.of(nx.DiGraph([("a", "a", {"direct": 1.0})]))
