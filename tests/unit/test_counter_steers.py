"""Choosing counter-steers: bounds hold, what is left is never more than what there was, and small cases are solved by hand."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_graph.steering import DirectEffects, SteeringError
from feature_graph.steering.compensation import check_compensation
from feature_graph.steering.counter_steers import (
    CounterCandidate,
    allowed,
    choose,
    constant_delta,
    find_candidates,
    responses,
)
from feature_graph.steering.options import CounterLimits

ACTIVITY = arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 10, allow_subnormal=False))
EFFECT = st.floats(-3, 3, allow_subnormal=False)


@given(ACTIVITY, st.floats(0, 1))
def test_one_delta_has_the_mean_change_that_was_asked_for(activity: np.ndarray, share: float) -> None:
    change = -share * float(activity.mean())
    delta = constant_delta(change, activity)
    assert np.maximum(delta, -activity).mean() == pytest.approx(change, abs=1e-9)
    assert constant_delta(1.5, activity) == 1.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(EFFECT, EFFECT, EFFECT, ACTIVITY), max_size=6), st.sampled_from([0.0, 1e-3, 0.5]), st.integers(1, 4))
def test_a_plan_keeps_its_bounds_and_does_no_harm_on_paper(
    found: list[tuple[float, float, float, np.ndarray]], ridge: float, at_most: int
) -> None:
    candidates = [CounterCandidate(f"L0_F{i}", 2.0, f, {"a": a, "b": b, "t": t}) for i, (a, b, t, f) in enumerate(found)]
    start = {"a": 1.0, "b": -0.5, "t": 2.0}
    plan = choose(candidates, start, ["a", "b"], "t", CounterLimits(at_most, ridge, 1.0))
    assert len(plan.counters) <= at_most
    assert len({c.feature for c in plan.counters}) == len(plan.counters)
    for counter in plan.counters:
        activity = next(c.activity for c in candidates if c.feature == counter.feature)
        assert -activity.mean() - 1e-9 <= counter.change <= 2.0 + 1e-9
        assert np.sign(counter.delta) == np.sign(counter.change)

    def cost(values: dict[str, float]) -> float:
        return (values["a"] / 1.0) ** 2 + (values["b"] / 0.5) ** 2 + ((values["t"] - start["t"]) / 2.0) ** 2

    assert cost(plan.after) <= cost(start) + 1e-9


def chain() -> nx.DiGraph:
    """s → n and t at the next site; k → n; n → far, whose total was measured; unrelated u."""
    G = nx.DiGraph()
    for u, v, direct, span, total in (
        ("L0_F0", "L1_F0", 0.5, 1, 0.5),
        ("L0_F0", "L1_F1", 0.8, 1, 0.8),
        ("L0_F1", "L1_F0", -0.25, 1, -0.25),
        ("L1_F0", "L2_F0", 2.0, 1, 2.0),
        ("L0_F1", "L2_F0", 0.1, 2, -0.9),
    ):
        G.add_edge(u, v, direct=direct, total=total, strength=total, span=span, structural=span == 1)
    G.add_node("L0_F2")
    return G


def test_measured_totals_go_before_products_of_paths() -> None:
    effects = DirectEffects.of(chain())
    assert responses(effects, "L0_F0") == pytest.approx({"L1_F0": 0.5, "L1_F1": 0.8, "L2_F0": 1.0})
    assert responses(effects, "L0_F1") == pytest.approx({"L1_F0": -0.25, "L2_F0": -0.9})  # the paths say −0.5


def test_candidates_are_those_that_change_a_named_feature() -> None:
    G, activity = chain(), np.array([1.0, 3.0])
    names = allowed(G, "L0_F0", ["L2_F0"], "L1_F1", themselves=False)
    assert names == ["L0_F1", "L0_F2", "L1_F0"]
    units, active = dict.fromkeys(G, 2.0), dict.fromkeys(G, activity)
    found = find_candidates(DirectEffects.of(G), names, ["L2_F0", "L1_F1"], ["L2_F0"], units, active)
    assert {c.feature: c.effects for c in found} == {
        "L0_F1": {"L2_F0": -0.9, "L1_F1": 0.0},
        "L1_F0": {"L2_F0": 2.0, "L1_F1": 0.0},
    }
    assert "L2_F0" in allowed(G, "L0_F0", ["L2_F0"], None, themselves=True)
    never = find_candidates(DirectEffects.of(G), names, ["L2_F0"], ["L2_F0"], dict.fromkeys(G, 0.0), active)
    assert never == []  # a feature without a usual size cannot be steered in units of it


def test_the_least_that_is_asked_for_is_cancelled_by_hand() -> None:
    """−0.25 x + 0.5 = 0 at x = 2; ridge r shrinks it to 2 / (1 + r · 2² / u²) in units of u = 4."""
    candidate = CounterCandidate("L0_F1", 4.0, np.array([1.0, 3.0]), {"L1_F0": -0.25})
    exact = choose([candidate], {"L1_F0": 0.5}, ["L1_F0"], None, CounterLimits(1, 0.0, 1.0))
    assert [(c.feature, c.change, c.delta) for c in exact.counters] == [("L0_F1", pytest.approx(2.0), pytest.approx(2.0))]
    assert exact.after["L1_F0"] == pytest.approx(0.0, abs=1e-12)
    shrunk = choose([candidate], {"L1_F0": 0.5}, ["L1_F0"], None, CounterLimits(1, 1.0, 1.0))
    assert shrunk.counters[0].change == pytest.approx(2.0 / (1 + 1.0 * 2.0**2 / 4.0**2))
    down = choose([candidate], {"L1_F0": -9.0}, ["L1_F0"], None, CounterLimits(1, 0.0, 1.0))
    assert down.counters[0].change == pytest.approx(-2.0)  # turned off entirely: its mean activity, no more
    assert down.counters[0].delta == pytest.approx(-3.0)
    assert choose([], {"L1_F0": 1.0}, ["L1_F0"], None, CounterLimits()).counters == ()


def test_a_weight_that_the_graph_lacks_is_named_with_its_field() -> None:
    G: nx.DiGraph = nx.DiGraph()
    G.add_nodes_from((name, {"layer": int(name[1])}) for name in ("L1.mlp_F0", "L1_F0", "L2_F0"))
    G.add_edge("L1.mlp_F0", "L2_F0", direct=0.5, total=0.5, strength=0.5, span=1)
    G.add_edge("L1_F0", "L2_F0", direct=0.5, total=0.5, strength=0.5, span=1)
    with pytest.raises(SteeringError, match=r"If L1 reads the stream right after L1\.mlp writes .* only with weight_pairs: true"):
        check_compensation(G, "L1.mlp_F0", ["L1_F0"])
    check_compensation(G, "L1.mlp_F0", ["L2_F0"])
