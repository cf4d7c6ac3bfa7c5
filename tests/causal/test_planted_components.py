"""Planted models read by dictionaries on components: the truth is right by hand, and the engine gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from feature_graph.dictionaries import build_site_codecs, read_tensors, tensor_hook
from feature_graph.evaluation.calibration.variants import measure_variant
from feature_graph.evaluation.planted import COMPONENT_VARIANTS, PlantedComponents, component_effects, planted_model, with_components
from feature_graph.evaluation.planted.components import ComponentKind
from feature_graph.evaluation.planted.simulate import Simulation

#: Planted pairs of each variant: of them a path over one block, over two, and gates.
PLANTED_PAIRS = {"transcoder": 25, "skip": 12, "mlp_out": 24}


def effects(planted: PlantedComponents) -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """What each feature stands for → (total, direct, later, copy), rounded, by the simulation; nothing where all are 0."""
    half = np.arange(len(planted.tokens)) % 2 == 0
    found = component_effects(planted, planted.config(activity_threshold=1e-3), half, ~half)
    values = {pair: (e.total, e.direct, e.later, e.copy) for pair, e in found.items()}
    return {
        (planted.label(a), planted.label(b)): tuple(round(v, 9) for v in four)  # type: ignore[misc]
        for (a, b), four in values.items()
        if max(map(abs, four)) > 1e-9
    }


def test_without_normalisation_effects_are_products_of_slopes() -> None:
    """By hand from the standard plan: excite 0.8; chain 0.9, chain1 0.7, chain2 0.8; inhibit −0.6, inhibited −0.5; branch 0.6 and 1.0."""
    base = planted_model(3, n_docs=40, context=10)
    tc = effects(with_components(base, "transcoder"))
    assert tc["excite@0", "excite to excited@L1.tc"] == (0.8, 0.8, 0, 0.8)  # one block on it is a weight, all of it copy
    assert tc["inhibit@0", "inhibit to inhibited@L1.tc"] == (0.6, 0.6, 0, 0.6)  # the sign is in what it writes
    assert tc["inhibit to inhibited@L1.tc", "inhibited to released@L2.tc"] == (-0.5, -0.5, 0, -0.5)
    assert tc["chain@0", "chain1 to chain2@L2.tc"] == (0.63, 0, 0, 0)  # through the MLP of block 1, which the direct effect holds
    assert tc["chain to chain1@L1.tc", "chain2 to chain3@L3.tc"] == (pytest.approx(0.56), 0, 0, 0)
    assert tc["chain1 to chain2@L2.tc", "chain3@3"] == (0.8, 0, 0, 0)
    mlp = effects(with_components(base, "mlp_out"))
    assert mlp["excite@0", "excited to excited@L1.mlp"] == (0.8, 0.8, 0, 0)  # an MLP's output holds no copy
    assert mlp["inhibit@0", "inhibited to inhibited@L1.mlp"] == (-0.6, -0.6, 0, 0)
    assert mlp["chain@0", "chain2 to chain2@L2.mlp"] == (0.63, 0, 0, 0)
    assert mlp["branch@0", "branched to branched@L2.mlp"] == (pytest.approx(0.6), 0, 0, 0)  # 0.6 · 0.5 + 1.0 · 0.3, along two paths
    assert not any(source == "decoy@0" for source, _ in (*tc, *mlp))


@pytest.mark.parametrize("kind", ["transcoder", "skip"])
def test_transcoders_give_back_what_the_mlp_adds(kind: ComponentKind) -> None:
    planted = with_components(planted_model(4, n_docs=6, context=10, normalization="RMS"), kind)
    tokens = torch.as_tensor(planted.tokens)
    codecs = build_site_codecs(planted.model, planted.saes, tokens, judged=False)
    for block in planted.features:
        name = str(planted.key(block))
        hooks = [tensor_hook(planted.model, tensor, block) for tensor in ("mlp_in", "mlp_out")]
        found = read_tensors(planted.model, tokens, hooks)
        codec = codecs[name]
        x, y = found[hooks[0]][:, 1:].flatten(0, 1), found[hooks[1]][:, 1:].flatten(0, 1)
        torch.testing.assert_close(codec.reconstruct(x), y, atol=2e-5, rtol=1e-4)
        if kind == "skip":
            assert codec.skip(x).norm() > 0.1 * y.norm()


@pytest.mark.parametrize("normalization", ["RMS", "LN"])
def test_the_simulation_reads_what_the_model_has(normalization: Any) -> None:
    planted = planted_model(4, n_docs=6, context=10, normalization=normalization)
    _, cache = planted.model.run_with_cache(torch.as_tensor(planted.tokens))
    vectors = np.concatenate([planted.world.directions, planted.world.places])
    simulation = Simulation(planted)
    state = simulation.embedded(planted.tokens)
    for block in sorted(planted.dictionaries):
        mid = simulation.attend(state, np.concatenate([state[:, :1], state[:, :-1]], axis=1), block)
        added = simulation.mlp(mid, block)
        np.testing.assert_allclose(added @ vectors, cache[f"blocks.{block}.hook_mlp_out"].numpy(), atol=2e-5)
        read = cache[f"blocks.{block}.ln2.hook_normalized"].numpy() @ vectors.T
        np.testing.assert_allclose(simulation.normalised(mid), read, atol=2e-4)
        state = mid + added


@pytest.mark.parametrize("name", list(COMPONENT_VARIANTS))
def test_every_variant_comes_back_whole(name: str) -> None:
    cell = measure_variant(name, seed=11)
    assert (cell["missed"], cell["false"]) == ([], [])
    assert cell["n_signs"] == cell["n_planted"] == PLANTED_PAIRS[name]
    assert max(error for errors in cell["errors"].values() for error in errors) < 1e-5
    assert cell["zero_error"] < 1e-6
    assert cell["discoveries"]["computed"][0] > 0


def test_a_model_with_another_slope_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth of one plan, the model of another: sizes and signs differ by what the slopes do, and a little by the norm."""
    from feature_graph.evaluation.planted.variants import ComponentVariant

    good = COMPONENT_VARIANTS["mlp_out"].build(5)
    turned = {"inhibit": -1.0, "excite": 0.9}
    wires = tuple(replace(w, slope=w.slope * turned.get(w.read, 1.0)) for w in good.base.wiring.wires)
    wrong = replace(good, base=replace(good.base, wiring=replace(good.base.wiring, wires=wires)))
    monkeypatch.setattr(ComponentVariant, "build", lambda self, seed: wrong)
    cell = measure_variant("mlp_out", seed=5)
    assert cell["n_signs"] < cell["n_planted"]
    for size in (2, 1 / 9):
        assert any(error == pytest.approx(size, rel=0.05) for error in cell["errors"]["total"])
