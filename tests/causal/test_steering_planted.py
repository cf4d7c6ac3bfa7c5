"""The forecast of a cascade against real steering, on the planted model where every effect is known."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from feature_graph.artifacts import feature_id
from feature_graph.evaluation.planted import PlantedModel
from feature_graph.interventions import AnalysedModel, Perturbation, Perturber, SamplePositions
from feature_graph.steering import predict_cascade


@pytest.fixture(scope="module")
def analysed(planted: PlantedModel) -> AnalysedModel:
    return AnalysedModel.of(planted.model, planted.saes)


@pytest.fixture(scope="module")
def truth(planted: PlantedModel) -> nx.DiGraph:
    """The graph of true effects, with the totals over two sites beside the direct ones."""
    G = nx.DiGraph()
    for (source, target), effect in planted.edges.items():
        span = target[0] - source[0]
        data = {
            "strength": effect.total,
            "total": effect.total,
            "direct": effect.direct,
            "span": span,
            "structural": span == 1 or bool(effect.direct),
        }
        G.add_edge(feature_id(*source), feature_id(*target), **data)
    for name in G:
        G.nodes[name].update(layer=int(name[1]), label="")
    return G


def measured(planted: PlantedModel, analysed: AnalysedModel, name: str, delta: float) -> dict[str, float]:
    """Change of every feature of the later sites, where the steered one is clearly on; the same at all these positions."""
    layer, index = planted.key(0, name)
    codec, tokens = analysed.codecs[layer], torch.from_numpy(planted.tokens)
    active = codec.encode(analysed.slices.residuals(tokens, [codec.site.point]).residuals[codec.site.point], [index])[..., 0]
    rows = torch.nonzero((active > 1.2).any(dim=1)).flatten()[:12]
    samples = SamplePositions(np.arange(len(rows)), active[rows].argmax(dim=1).numpy())
    read = {n: range(analysed.codecs[n].d_sae) for n in analysed.later(layer)}
    variants = [[], [Perturbation(layer, codec.w_dec[index], delta)]]
    clean, steered = Perturber(analysed, tokens[rows]).run(samples, variants, read)
    changes = {n: (steered.activations[n] - clean.activations[n]).mean(dim=0).tolist() for n in read}
    return {feature_id(n, i): change for n in read for i, change in enumerate(changes[n])}


@pytest.mark.parametrize("delta", [0.5, -0.5])
@pytest.mark.parametrize("name", ["chain", "inhibit", "branch", "excite", "skip", "twin", "pass", "decoy", "carry"])
def test_the_forecast_is_the_measured_change_of_every_feature(
    planted: PlantedModel, analysed: AnalysedModel, truth: nx.DiGraph, name: str, delta: float
) -> None:
    source = feature_id(*planted.key(0, name))
    effects = predict_cascade(truth, source, steer_delta=delta, n_hops=3, min_effect=0).effects if source in truth else {}
    real = measured(planted, analysed, name, delta)
    for target, change in real.items():
        assert effects.get(target, 0.0) == pytest.approx(change, abs=1e-3), target
    assert (max(map(abs, real.values())) > 0.1) == (name not in {"decoy", "carry"})


def test_a_chain_is_followed_to_its_end(planted: PlantedModel, truth: nx.DiGraph) -> None:
    source, end = feature_id(*planted.key(0, "chain")), feature_id(*planted.key(3, "chain3"))
    cascade = predict_cascade(truth, source, steer_delta=1.0, n_hops=3)
    assert cascade.effects[end] == pytest.approx(0.9 * 0.7 * 0.8, rel=1e-6)
    assert cascade.hops[end] == 3
    assert cascade.unexplained == pytest.approx(dict.fromkeys(cascade.measured, 0.0), abs=1e-9)


def test_multiplying_totals_instead_would_count_twice(planted: PlantedModel, truth: nx.DiGraph) -> None:
    source, target = feature_id(*planted.key(0, "branch")), feature_id(*planted.key(2, "branched"))
    right = predict_cascade(truth, source, steer_delta=1.0, n_hops=2).effects[target]
    totals = nx.DiGraph()
    totals.add_edges_from((u, v, {"direct": d["total"]}) for u, v, d in truth.edges(data=True))
    assert right == pytest.approx(0.6 * 0.5 + 0.3, rel=1e-6)
    assert predict_cascade(totals, source, steer_delta=1.0, n_hops=2).effects[target] == pytest.approx(right + 0.6 * 0.5, rel=1e-6)
