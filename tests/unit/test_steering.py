"""Cascades on graphs small enough for paper, and against the closed form (matrix powers) on random ones."""

from __future__ import annotations

import itertools
import logging

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.steering import SteeringError, predict_cascade


def graph(*edges: tuple[str, str, float], **labels: str) -> nx.DiGraph:
    G = nx.DiGraph()
    for u, v, direct in edges:
        for node in (u, v):
            G.add_node(node, layer=int(node[1 : node.index("_")]), label=labels.get(node, ""))
        G.add_edge(u, v, direct=direct, strength=99.0, span=1)
    return G


DIAMOND = graph(
    ("L0_F1", "L1_F1", 0.5),
    ("L0_F1", "L1_F2", -2.0),
    ("L1_F1", "L2_F1", 3.0),
    ("L1_F2", "L2_F1", 0.25),
    ("L2_F1", "L3_F1", -1.0),
)


def test_products_are_summed_over_paths_with_their_signs() -> None:
    cascade = predict_cascade(DIAMOND, "L0_F1", steer_delta=2.0, n_hops=3)
    assert cascade.effects == {"L1_F2": -4.0, "L2_F1": 2.0, "L3_F1": -2.0, "L1_F1": 1.0}
    assert cascade.hops == {"L1_F1": 1, "L1_F2": 1, "L2_F1": 2, "L3_F1": 3}
    assert [abs(v) for v in cascade.effects.values()] == [4.0, 2.0, 2.0, 1.0]


def test_total_strengths_are_never_multiplied() -> None:
    # total(0 → 2) = 6 holds the path through 1 already; multiplying or adding it would count that path twice
    G = graph(("L0_F1", "L1_F1", 2.0), ("L1_F1", "L2_F1", 3.0), ("L0_F1", "L2_F1", 0.0))
    G.edges["L0_F1", "L2_F1"].update(strength=6.0, span=2)
    cascade = predict_cascade(G, "L0_F1", steer_delta=1.0, n_hops=2)
    assert cascade.effects["L2_F1"] == 6.0
    assert cascade.measured == {"L2_F1": 6.0}
    assert cascade.unexplained == {"L2_F1": 0.0}


def test_a_feature_reached_twice_keeps_its_first_hop_and_sums_both() -> None:
    G = graph(("L0_F1", "L1_F1", 2.0), ("L1_F1", "L2_F1", 3.0), ("L0_F1", "L2_F1", 0.5))
    cascade = predict_cascade(G, "L0_F1", steer_delta=1.0, n_hops=2)
    assert cascade.effects["L2_F1"] == 6.5
    assert cascade.hops["L2_F1"] == 1
    short = predict_cascade(G, "L0_F1", steer_delta=1.0, n_hops=1)
    assert short.effects == {"L1_F1": 2.0, "L2_F1": 6.5}  # n_hops limits the paths listed, never a sum
    assert [p.nodes for p in short.paths] == [("L0_F1", "L1_F1"), ("L0_F1", "L2_F1")]


def test_the_gap_to_a_measured_total_is_kept() -> None:
    G = graph(("L0_F1", "L1_F1", 2.0), ("L0_F1", "L2_F1", 0.5))
    G.edges["L0_F1", "L2_F1"].update(strength=1.25, span=2)
    cascade = predict_cascade(G, "L0_F1", steer_delta=2.0, n_hops=2)
    assert cascade.unexplained == {"L2_F1": pytest.approx(1.5)}
    assert "60% of their summed |change| is not explained" in cascade.summary()


def test_paths_come_by_their_own_contribution() -> None:
    paths = predict_cascade(DIAMOND, "L0_F1", steer_delta=2.0, n_hops=3, top_paths=3).paths
    assert [(p.nodes, p.effect) for p in paths] == [
        (("L0_F1", "L1_F2"), -4.0),
        (("L0_F1", "L1_F1", "L2_F1"), 3.0),
        (("L0_F1", "L1_F1", "L2_F1", "L3_F1"), -3.0),
    ]


def test_small_changes_are_passed_on_and_those_not_reported_are_counted() -> None:
    G = graph(("L0_F1", "L1_F1", 1e-4), ("L1_F1", "L2_F1", 1e6), ("L0_F1", "L1_F2", 1.0))
    cascade = predict_cascade(G, "L0_F1", steer_delta=1.0, n_hops=2, min_effect=1e-3)
    assert cascade.effects == {"L2_F1": pytest.approx(100.0), "L1_F2": 1.0}
    assert cascade.pruned == 1
    assert "1 smaller change is not listed" in cascade.summary()
    assert predict_cascade(G, "L0_F1", steer_delta=1.0, n_hops=2, min_effect=0).effects["L1_F1"] == pytest.approx(1e-4)


def test_only_structural_edges_at_the_same_position_are_followed() -> None:
    G = graph(("L0_F1", "L1_F1", 1.0), ("L0_F1", "L2_F1", 0.3), ("L0_F1", "L3_F1", 0.4), ("L0_F1", "L1_F2", 0.5))
    G.edges["L0_F1", "L2_F1"].update(structural=False, span=2, total=0.75)
    G.edges["L0_F1", "L3_F1"].update(structural=True, span=3, total=0.45)
    G.edges["L0_F1", "L1_F2"].update(structural=True, kind="later")
    cascade = predict_cascade(G, "L0_F1", steer_delta=2.0)
    assert cascade.effects == {"L1_F1": 2.0, "L3_F1": 0.8}
    assert cascade.measured == {"L2_F1": 1.5, "L3_F1": 0.9}


def test_paths_that_cancel_leave_no_effect() -> None:
    G = graph(("L0_F1", "L1_F1", 1.0), ("L0_F1", "L1_F2", 1.0), ("L1_F1", "L2_F1", 2.0), ("L1_F2", "L2_F1", -2.0))
    assert "L2_F1" not in predict_cascade(G, "L0_F1", min_effect=0).effects


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("L0_F2", {}, r"'L0_F2' is not among the 5 features of the graph; near: L0_F1$"),
        ("L1_F9", {}, r"near: L1_F2, L1_F1$"),
        ("L3-F1", {}, r"near: L3_F1, "),
        ("L0_F1", {"n_hops": 0}, r"n_hops: got 0, expected at least 1"),
        ("L0_F1", {"steer_delta": float("nan")}, r"steer_delta: got nan, expected a finite number"),
        ("L0_F1", {"min_effect": -1.0}, r"min_effect: got -1.0"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_the_reason(source: str, options: dict, message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        predict_cascade(DIAMOND, source, **options)


def test_an_empty_graph_gives_an_empty_forecast_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cascade = predict_cascade(nx.DiGraph(), "L0_F1")
    assert cascade.effects == {}
    assert cascade.paths == ()
    assert "the graph is empty" in caplog.text
    assert "no feature of the graph is predicted to change" in cascade.summary()


def test_a_feature_without_successors_gives_an_empty_forecast() -> None:
    assert predict_cascade(DIAMOND, "L3_F1").effects == {}


def test_a_graph_made_elsewhere_falls_back_to_totals_aloud(caplog: pytest.LogCaptureFixture) -> None:
    G = nx.DiGraph([("a", "b", {"strength": 0.5}), ("b", "c", {"direct": float("nan"), "strength": 2.0})])
    with caplog.at_level(logging.WARNING):
        assert predict_cascade(G, "a", steer_delta=1.0).effects == {"c": 1.0, "b": 0.5}
    assert "2 of 2 edges carry no direct strength" in caplog.text
    with pytest.raises(SteeringError, match="neither a direct nor a total strength"):
        predict_cascade(nx.DiGraph([("a", "b")]), "a")


def test_the_summary_names_hops_features_and_paths() -> None:
    G = DIAMOND.copy()
    G.nodes["L1_F2"]["label"] = "capital of [France]"
    text = predict_cascade(G, "L0_F1", steer_delta=-2.0, n_hops=2).summary()
    assert "Steering L0_F1 by -2 activation units at one position, forecast over paths of any length" in text
    assert "hop 1: 2 features first reached, 1 up, 1 down, summed |change| 5.0000" in text
    assert "hop 2: 1 feature first reached, 0 up, 1 down, summed |change| 2.0000" in text
    assert "+4.0000  L1_F2 (capital of [France]), hop 1" in text
    assert "hop 3: 1 feature first reached, 1 up, 0 down, summed |change| 2.0000" in text
    assert "strongest paths of at most 2 hops" in text
    assert "L0_F1 → L1_F1 → L2_F1" in text
    assert "L2_F1 → L3_F1" not in text


weights = st.floats(-2, 2, allow_nan=False).map(lambda w: round(w, 3))


@given(st.integers(2, 5), st.integers(1, 3), st.integers(1, 4), st.data())
def test_changes_are_sums_over_paths_of_any_length(n_layers: int, width: int, n_hops: int, data: st.DataObject) -> None:
    nodes = [f"L{layer}_F{i}" for layer in range(n_layers) for i in range(width)]
    forward = [(a, b) for a, b in itertools.product(range(len(nodes)), repeat=2) if a // width < b // width]
    values = data.draw(st.lists(weights, min_size=len(forward), max_size=len(forward)))
    W = np.zeros((len(nodes), len(nodes)))
    G = nx.DiGraph()
    G.add_nodes_from(nodes)
    for (a, b), w in zip(forward, values, strict=True):
        W[a, b] = w
        G.add_edge(nodes[a], nodes[b], direct=w)
    expected = (np.linalg.inv(np.eye(len(W)) - W) - np.eye(len(W)))[0] * 1.5
    cascade = predict_cascade(G, nodes[0], steer_delta=1.5, n_hops=n_hops, min_effect=0)
    np.testing.assert_allclose([cascade.effects.get(n, 0.0) for n in nodes], expected, atol=1e-9)
    every_path = [p for n in nodes[1:] for p in nx.all_simple_paths(G, nodes[0], n, cutoff=n_hops)]
    contributions = sorted((abs(1.5 * np.prod([G.edges[e]["direct"] for e in itertools.pairwise(p)])) for p in every_path), reverse=True)
    np.testing.assert_allclose([p.size for p in cascade.paths], [c for c in contributions if c > 0][:10], rtol=1e-9)
