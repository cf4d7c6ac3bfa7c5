"""Forecast against steering in the model: exact where the planted world is linear, off by the known amount after a gate."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, feature_id, parse_feature_id
from feature_graph.evaluation.planted import PlantedModel
from feature_graph.interventions import AnalysedModel, Perturber, SamplePositions
from feature_graph.steering import CascadePairs, SteeringError, agreement, conformal_coverage, predict_cascade, validate_cascade
from feature_graph.steering.changes import mean_changes


@pytest.fixture(scope="module")
def store(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    path = tmp_path_factory.mktemp("steered") / "activations.h5"
    return collect_activations(planted.model, planted.saes, planted.config(), planted.tokens, path=path)


@pytest.fixture(scope="module")
def truth(planted: PlantedModel) -> nx.DiGraph:
    G = nx.DiGraph()
    for (source, target), effect in planted.edges.items():
        span = target[0] - source[0]
        G.add_edge(
            feature_id(*source), feature_id(*target), strength=effect.total, total=effect.total, direct=effect.direct, span=span,
            copy=0.0, structural=span == 1 or bool(effect.direct),
        )  # fmt: skip
    return G


@pytest.fixture(scope="module")
def found(planted: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> CascadePairs:
    return validate_cascade(planted.model, planted.saes, truth, store, planted.config(), multiples=(0.2, -0.2), max_documents=16)


def test_every_feature_in_reach_is_compared_at_its_hop(found: CascadePairs, truth: nx.DiGraph) -> None:
    pairs = found.pairs
    assert set(pairs["hop"]) == {1, 2, 3}
    assert set(pairs["source"]) <= set(truth)
    assert not pairs.duplicated(["source", "target", "multiple"]).any()
    assert (pairs["target"].map(lambda n: parse_feature_id(n)[0]) > pairs["source"].map(lambda n: parse_feature_id(n)[0])).all()


def test_the_forecast_is_exact_where_the_world_is_linear(found: CascadePairs) -> None:
    """Up, nothing clips but what is inhibited; those aside, forecast and measurement are one."""
    up = found.pairs[(found.pairs["multiple"] == 0.2) & (found.pairs["forecast"] >= 0)]
    assert len(up) >= 8
    assert np.abs(up["forecast"] - up["measured"]).max() < 1e-3
    for hop in (1, 2):
        assert agreement(up[up["hop"] == hop]).slope == pytest.approx(1.0, abs=1e-3)


def test_the_placebo_moves_nothing_that_was_forecast(found: CascadePairs) -> None:
    up = found.pairs[found.pairs["multiple"] == 0.2]
    assert np.abs(up["placebo"]).mean() < 0.3 * np.abs(up["measured"]).mean()


def test_the_jacobian_is_the_forecast_of_a_linear_world(found: CascadePairs) -> None:
    up = found.pairs[(found.pairs["multiple"] == 0.2) & (found.pairs["forecast"] > 0)]
    assert np.abs(up["jacobian"] - up["forecast"]).max() < 0.2 * np.abs(up["forecast"]).max()


def test_after_a_gate_the_forecast_is_wrong_by_the_known_amount(planted: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    """gated = max(0, a + b − 3.2): steered by δ it changes by what the gate lets through; a slope forecasts δ times itself."""
    (gate,) = planted.wiring.gates
    a, b, target = (planted.key(site, name) for site, name in ((0, gate.first), (0, gate.second), (1, gate.write)))
    delta = 0.5
    on = np.argwhere(store.activations[a[0]][:, a[1]].toarray().ravel() > 0).ravel()
    samples = SamplePositions(*np.divmod(on.astype(np.int64), store.context_length))
    first, second = (store.activations[n][on, i].toarray().ravel() for n, i in (a, b))
    analysed = AnalysedModel.of(planted.model, planted.saes)
    direction = analysed.codecs[a[0]].w_dec[a[1]]
    perturber = Perturber(analysed, store.tokens)
    moved = mean_changes(perturber, a[0], direction, [delta], samples, {target[0]: [target[1]]})[target[0]]
    known = np.maximum(0, first + delta + second - gate.threshold) - np.maximum(0, first + second - gate.threshold)
    assert moved.mean[0, 0] == pytest.approx(known.mean(), abs=1e-3)
    assert 0.02 < known.mean() < 0.9 * delta
    G = nx.DiGraph(truth)
    G.add_edge(feature_id(*a), feature_id(*target), strength=1.0, direct=1.0, copy=0.0, span=1, structural=True)
    assert predict_cascade(G, feature_id(*a), delta).effects[feature_id(*target)] == pytest.approx(delta)
    result = validate_cascade(planted.model, planted.saes, G, store, planted.config(), multiples=(0.2,), n_sources=99)
    row = result.pairs[(result.pairs["source"] == feature_id(*a)) & (result.pairs["target"] == feature_id(*target))].iloc[0]
    assert 0 <= row["measured"] < 0.9 * row["forecast"]


def test_unreached_features_are_weighed_too(found: CascadePairs) -> None:
    assert set(found.unreached) == {"source", "multiple", "reached", "others"}
    up = found.unreached[found.unreached["multiple"] == 0.2]
    assert up["others"].sum() < 0.01 * up["reached"].sum()


def test_a_graph_of_other_layers_is_refused(planted: PlantedModel, store: ActivationStore) -> None:
    G = nx.DiGraph([("L77_F1", "L78_F2")])
    with pytest.raises(SteeringError, match=r"features of layers \[77, 78\]"):
        validate_cascade(planted.model, planted.saes, G, store, planted.config())


def test_without_edges_nothing_can_be_steered(planted: PlantedModel, store: ActivationStore) -> None:
    with pytest.raises(SteeringError, match="no feature of the graph can be steered"):
        validate_cascade(planted.model, planted.saes, nx.DiGraph(), store, planted.config())


def simulated(n_sources: int, noise: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    f = rng.standard_normal((n_sources, 20))
    m = 0.5 * f + noise * np.abs(f) * rng.standard_normal(f.shape)
    sources = np.repeat([f"L0_F{i}" for i in range(n_sources)], 20)
    return pd.DataFrame({"source": sources, "forecast": f.ravel(), "measured": m.ravel(), "se": 1e-6})


def test_agreement_of_a_known_relation() -> None:
    exact = agreement(simulated(10, 0.0))
    assert (exact.spearman, exact.pearson, exact.slope, exact.sign) == pytest.approx((1.0, 1.0, 0.5, 1.0))
    noisy = agreement(simulated(40, 1.0))
    assert noisy.ci[0] < noisy.spearman < noisy.ci[1] < 0.9
    nothing = agreement(simulated(10, 0.0).assign(measured=0.0))
    assert np.isnan(nothing.spearman)
    assert np.isnan(nothing.sign)
    assert nothing.to_dict()["spearman"] is None


@pytest.mark.parametrize("nominal", [0.5, 0.9])
def test_intervals_cover_as_often_as_they_say(nominal: float) -> None:
    covered = [conformal_coverage(simulated(40, 0.5, seed), nominal) for seed in range(20)]
    assert np.mean([c.achieved for c in covered if c]) == pytest.approx(nominal, abs=0.03)
    assert conformal_coverage(simulated(3, 0.5)) is None
