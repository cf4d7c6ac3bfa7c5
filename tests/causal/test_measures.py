"""Further measures of chosen edges against known truth: gates, dose curves, insertion, mediation."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, CandidateSet, FeatureRef, GateSet, InteractionSet, Triple
from feature_graph.config import Config
from feature_graph.interactions import MeasureError, gating_candidates, measure_gating, measure_interactions
from feature_graph.interactions.factorial import contrast
from feature_graph.interventions import Arm, ModelSlices, Reading, joint_effects
from feature_graph.interventions.plain import run_hooked
from feature_graph.loading.planted import PlantedModel
from tests.causal.conftest import all_pairs, make_tiny


@pytest.fixture(scope="module")
def store(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    path = tmp_path_factory.mktemp("planted") / "activations.h5"
    return collect_activations(planted.model, planted.saes, planted.config(), tokens=planted.tokens, path=path)


@pytest.fixture(scope="module")
def cfg(planted: PlantedModel) -> Config:
    return planted.config(n_placebo=8, n_intervention_samples=20)


def ref(planted: PlantedModel, site: int, name: str) -> FeatureRef:
    return FeatureRef(*planted.key(site, name))


def triple(planted: PlantedModel, a: tuple[int, str], b: tuple[int, str], target: tuple[int, str]) -> Triple:
    return Triple(ref(planted, *a), ref(planted, *b), ref(planted, *target))


@pytest.fixture(scope="module")
def gates(planted: PlantedModel, store: ActivationStore, cfg: Config) -> GateSet:
    """All pairs of a few sources onto their targets, the planted gate among them; a source and what it drives; a dead one."""
    names = ("excite", "inhibit", "branch", "gate_a", "gate_b", "dense", "pass")
    targets = ("excited", "inhibited", "gated", "branch1", "dense1")
    wanted = [triple(planted, (0, a), (0, b), (1, t)) for a, b in combinations(names, 2) for t in targets]
    wanted.append(triple(planted, (1, "branch1"), (0, "branch"), (2, "branched")))
    wanted.append(triple(planted, (0, "gate_a"), (0, "dead"), (1, "gated")))
    return measure_gating(planted.model, planted.saes, wanted, cfg, store=store, progress=False)


def test_the_planted_gate_is_found_and_no_other(planted: PlantedModel, gates: GateSet) -> None:
    found = gates.frame[gates.frame["significant"]]
    gate = triple(planted, (0, "gate_a"), (0, "gate_b"), (1, "gated"))
    assert found[["a_id", "b_id", "tgt_id"]].to_numpy().tolist() == [[r.id for r in gate]]
    assert found["kind"].item() == "super_additive"
    assert len(gates) == gates.meta["family"] == 21 * 5 + 1


def test_the_contrast_is_that_of_the_gate_by_hand(planted: PlantedModel, gates: GateSet) -> None:
    row = gates.frame[gates.frame["significant"]].iloc[0]
    a, b, threshold = row["a_high"], row["b_high"], planted.wiring.gates[0].threshold
    cells = [max(0.0, x + y - threshold) for x, y in ((a, b), (a, 0), (0, b), (0, 0))]
    np.testing.assert_allclose(row[["f_hh", "f_hl", "f_lh", "f_ll"]].astype(float), cells, atol=1e-4)
    contrast = cells[0] - cells[1] - cells[2] + cells[3]
    assert row["contrast"] == pytest.approx(contrast, rel=1e-4)
    assert row["strength"] == pytest.approx(contrast / np.sqrt(a * b), rel=1e-4)
    assert row["ci_low"] <= row["contrast"] <= row["ci_high"]
    assert row["placebo_quantile"] == 1


def test_effects_that_add_up_have_no_contrast_even_where_one_source_drives_the_other(planted: PlantedModel, gates: GateSet) -> None:
    chain = gates.frame[(gates.frame["a_layer"] == 0) & (gates.frame["b_layer"] == 1)].iloc[0]
    assert (chain["a_id"], chain["tgt_id"]) == (ref(planted, 0, "branch").id, ref(planted, 2, "branched").id)
    assert abs(chain["contrast"]) < 1e-5
    assert chain["p_value"] == 1
    # B is held whatever A does to it: A acts only past the middle dictionary (0.3), B with its own slope (0.5)
    assert chain["f_hl"] - chain["f_ll"] == pytest.approx(0.3 * chain["a_high"], rel=1e-3)
    assert chain["f_lh"] - chain["f_ll"] == pytest.approx(0.5 * chain["b_high"], rel=1e-3)


def test_triples_that_cannot_be_measured_are_left_out_with_the_reason(planted: PlantedModel, gates: GateSet) -> None:
    assert gates.meta["left_out"] == {
        f"{ref(planted, 0, 'gate_a').id} + {ref(planted, 0, 'dead').id} → {ref(planted, 1, 'gated').id}": (
            f"{ref(planted, 0, 'dead').id}: never active"
        )
    }


def test_samples_where_either_is_active(planted: PlantedModel, store: ActivationStore, cfg: Config) -> None:
    wanted = [triple(planted, (0, "gate_a"), (0, "gate_b"), (1, "gated"))]
    either = measure_gating(planted.model, planted.saes, wanted, cfg, store=store, where="either", progress=False)
    assert either.meta["where"] == "either"
    assert either.frame["significant"].all()
    rare = cfg.model_copy(update={"min_documents": 200})
    nobody = measure_gating(planted.model, planted.saes, wanted, rare, store=store, progress=False)
    assert len(nobody) == 0
    assert len(nobody.meta["left_out"]) == 1


def test_candidates_are_pairs_of_edges_onto_one_target(planted: PlantedModel, store: ActivationStore, cfg: Config) -> None:
    pairs = all_pairs(planted, cfg)
    pairs = pairs[(pairs["src_layer"] == 0) & (pairs["tgt_layer"] == 1)]
    edges = measure_interactions(planted.model, planted.saes, CandidateSet(pairs, store), cfg, progress=False)
    chosen = gating_candidates(edges)
    gate = triple(planted, (0, "gate_a"), (0, "gate_b"), (1, "gated"))
    assert Triple(*gate) in chosen
    by_target = edges.frame[edges.frame["significant"]].groupby("tgt_id").size()
    assert len(chosen) == sum(min(10, n * (n - 1) // 2) for n in by_target)
    assert gating_candidates(edges, top=1) == chosen[:1]
    nothing = InteractionSet(edges.frame.iloc[:0], edges.meta)
    assert gating_candidates(nothing) == []


def test_gates_are_kept_and_read_back(gates: GateSet, tmp_path: Path) -> None:
    gates.save(tmp_path / "gates.parquet")
    again = GateSet.load(tmp_path / "gates.parquet")
    pd.testing.assert_frame_equal(again.frame, gates.frame)
    assert again.meta == gates.meta


@pytest.mark.parametrize("shape", ["gpt2", "gemma2"])
@pytest.mark.parametrize("kind", ["standard", "topk"])
@pytest.mark.parametrize("second", [0, 1])
def test_joint_cells_equal_hooks(shape: str, kind: str, second: int) -> None:
    """Against full forward passes: B at the same site as A, or re-encoded at a later one."""
    tiny = make_tiny(shape, kind)
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    documents, positions = torch.tensor([0, 2, 4]), torch.tensor([3, 11, 6])
    codecs = tiny.codecs
    here = {n: clean.residuals[codecs[n].site.point][documents, positions] for n in (0, second)}
    arms = [
        Arm(codecs[n], i, 2.0, 0.25, codecs[n].record(here[n])[:, i], codecs[n].w_dec[i].expand(3, -1)) for n, i in ((0, 7), (second, 9))
    ]
    found = joint_effects(slices, clean, *arms, documents, positions, [Reading(codecs[3], None)])[0]
    for s, (document, p) in enumerate(zip(documents.tolist(), positions.tolist(), strict=True)):
        for cell, (a, b) in enumerate([(2.0, 2.0), (2.0, 0.25), (0.25, 2.0), (0.25, 0.25)]):

            def clamp(x: torch.Tensor, layer: int, i: int, level: float, value: torch.Tensor | None, p: int = p) -> torch.Tensor:
                x = x.clone()
                now = codecs[layer].record(x[:, p])[:, i] if value is None else value
                x[:, p] += (level - now)[:, None] * codecs[layer].w_dec[i]
                return x

            edits = {codecs[0].site.hook: [lambda x, v=a, k=s: clamp(x, 0, 7, v, arms[0].values[k : k + 1])]}
            known = arms[1].values[s : s + 1] if second == 0 else None
            edits.setdefault(codecs[second].site.hook, []).append(lambda x, v=b, k=known: clamp(x, second, 9, v, k))
            hook = codecs[3].site.hook
            truth = codecs[3].encode(run_hooked(tiny.model, tiny.tokens[document][None], edits, [hook])[hook][0, p])
            torch.testing.assert_close(found[s, cell], truth, rtol=1e-4, atol=1e-4)


def test_equal_levels_of_one_source_give_a_contrast_of_exactly_zero() -> None:
    tiny = make_tiny("llama")
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    documents, positions = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 4, 5, 6])
    for second in (0, 1):
        a = Arm(tiny.codecs[0], 3, 2.0, 2.0, torch.rand(4), tiny.codecs[0].w_dec[3].expand(4, -1))
        b = Arm(tiny.codecs[second], 5, 1.5, 0.0, torch.rand(4), tiny.codecs[second].w_dec[5].expand(4, -1))
        cells = joint_effects(slices, clean, a, b, documents, positions, [Reading(tiny.codecs[3], None)])[0]
        assert np.count_nonzero(contrast(cells.double().numpy())) == 0
        assert cells.abs().sum() > 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (((0, "excite"), (0, "excite"), (1, "excited")), "one source twice"),
        (((0, "excite"), (1, "excited"), (1, "gated")), "must lie after both"),
        (((0, "excite"), (0, "inhibit"), (0, "branch")), "must lie after both"),
    ],
)
def test_triples_that_make_no_gate_are_refused(
    planted: PlantedModel, store: ActivationStore, cfg: Config, names: tuple[tuple[int, str], ...], message: str
) -> None:
    with pytest.raises(MeasureError, match=message):
        measure_gating(planted.model, planted.saes, [triple(planted, *names)], cfg, store=store, progress=False)
