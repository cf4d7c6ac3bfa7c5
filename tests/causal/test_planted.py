"""The engine against known truth: the planted transformer, measured through the public API over all pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, CandidateSet, InteractionSet
from feature_graph.candidates import identify_candidates
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.planted import PlantedModel, nonlinear_pairs, planted_model, score, standard_wiring, true_effects
from feature_graph.interactions import measure_interactions


@pytest.fixture(scope="module")
def store(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    path = tmp_path_factory.mktemp("planted") / "activations.h5"
    return collect_activations(planted.model, planted.saes, planted.config(), tokens=planted.tokens, path=path)


@pytest.fixture(scope="module")
def measured(planted: PlantedModel, store: ActivationStore) -> InteractionSet:
    cfg = planted.config(interaction_method="both")
    return measure_interactions(planted.model, planted.saes, CandidateSet(all_pairs(planted, cfg), store), cfg, progress=False)


def row(measured: InteractionSet, planted: PlantedModel, source: tuple[int, str], target: tuple[int, str]) -> pd.Series:
    (s, i), (t, j) = planted.key(*source), planted.key(*target)
    frame = measured.frame
    found = frame[(frame["src_id"] == f"L{s}_F{i}") & (frame["tgt_id"] == f"L{t}_F{j}")]
    assert len(found) == 1
    return found.iloc[0]


def test_every_planted_edge_is_found_with_its_slope_and_nothing_else(measured: InteractionSet, planted: PlantedModel) -> None:
    found = score(measured.frame, planted)
    assert found.missed == []
    assert found.false == []
    assert (found.recall, found.precision, found.sign_accuracy, found.decoys_rejected) == (1, 1, 1, 1)
    assert max(found.total_error, found.direct_error, found.later_error) < 0.02
    assert found.zero_error < 1e-4


def chain_of_stages(planted: PlantedModel, store: ActivationStore, **changes: Any) -> InteractionSet:
    cfg = planted.config(**changes)
    atlas = build_coactivation_atlas(store, cfg)
    candidates = identify_candidates(atlas, planted.saes, cfg, activation_store=store, model=planted.model)
    return measure_interactions(planted.model, planted.saes, candidates, cfg, progress=False)


def test_the_stages_together_find_every_planted_edge(planted: PlantedModel, store: ActivationStore) -> None:
    found = score(chain_of_stages(planted, store).frame, planted)
    assert (found.missed, found.false) == ([], [])
    assert max(found.total_error, found.direct_error, found.later_error) < 0.02
    assert (found.sign_accuracy, found.decoys_rejected) == (1, 1)


def test_pruning_as_shipped_loses_no_planted_edge(planted: PlantedModel, store: ActivationStore) -> None:
    """Not even the one that a head carries to a later position only, which alignment at the same position does not see."""
    shipped = Config()
    thresholds = {"min_coactivation": shipped.min_coactivation, "min_decoder_alignment": shipped.min_decoder_alignment}
    cfg = planted.config(rescue_fraction=0.0, **thresholds)
    candidates = identify_candidates(build_coactivation_atlas(store, cfg), planted.saes, cfg, activation_store=store, model=planted.model)
    (s, i), (t, j) = planted.key(0, "carry"), planted.key(1, "carried")
    frame = candidates.frame
    carried = frame[(frame["src_layer"] == s) & (frame["src_index"] == i) & (frame["tgt_layer"] == t) & (frame["tgt_index"] == j)]
    assert abs(carried["decoder_alignment"].item()) < shipped.min_decoder_alignment
    assert 0 < candidates.facts["aligned_by_later"] < 60
    alignment = candidates.stages[2]
    assert alignment.stage == "alignment"
    assert alignment.after < 0.6 * alignment.before
    found = score(measure_interactions(planted.model, planted.saes, candidates, cfg, progress=False).frame, planted)
    assert (found.missed, found.false) == ([], [])


def test_truth_by_hand(planted: PlantedModel) -> None:
    effects = {(s, t): planted.edges[planted.key(*s), planted.key(*t)] for s, t in [
        ((0, "chain"), (2, "chain2")),
        ((0, "branch"), (2, "branched")),
        ((0, "skip"), (2, "skipped")),
        ((0, "inhibit"), (2, "released")),
        ((0, "carry"), (1, "carried")),
    ]}  # fmt: skip
    values = [(round(e.total, 6), round(e.direct, 6), round(e.later, 6)) for e in effects.values()]
    assert values == [(0.63, 0, 0), (0.6, 0.3, 0), (0.72, 0.72, 0), (0.3, 0, 0), (0, 0, 0.75)]


def test_chain_passes_through_the_middle_dictionary_and_the_skip_does_not(measured: InteractionSet, planted: PlantedModel) -> None:
    chain = row(measured, planted, (0, "chain"), (2, "chain2"))
    assert chain["significant_by"] == "total+computed"  # nothing of it is a copy, and nothing bypasses the middle
    assert chain["mean_strength"] == pytest.approx(0.63, rel=0.02)
    assert abs(chain["direct_strength"]) < 1e-4
    assert row(measured, planted, (0, "skip"), (2, "skipped"))["direct_strength"] == pytest.approx(0.72, rel=0.02)


def test_total_is_the_sum_over_direct_paths(measured: InteractionSet, planted: PlantedModel) -> None:
    first = row(measured, planted, (0, "branch"), (1, "branch1"))["direct_strength"]
    second = row(measured, planted, (1, "branch1"), (2, "branched"))["direct_strength"]
    whole = row(measured, planted, (0, "branch"), (2, "branched"))
    assert whole["mean_strength"] == pytest.approx(first * second + whole["direct_strength"], rel=1e-3)


def test_what_a_head_carries_onward_is_found_as_later(measured: InteractionSet, planted: PlantedModel) -> None:
    carried = row(measured, planted, (0, "carry"), (1, "carried"))
    assert carried["significant_by"] == "later"
    assert carried["later_strength"] == pytest.approx(0.75, rel=0.02)
    assert abs(carried["mean_strength"]) < 1e-4
    assert carried["replicated"] is None


def test_decoys_are_not_found_although_they_are_always_active_together(measured: InteractionSet, planted: PlantedModel) -> None:
    decoy = row(measured, planted, (0, "decoy"), (1, "decoyed"))
    assert not decoy["significant"]
    assert abs(decoy["mean_strength"]) < 1e-4
    assert not row(measured, planted, (0, "dense"), (1, "dense1"))["significant"]


def test_gate_push_pass_and_twin(measured: InteractionSet, planted: PlantedModel) -> None:
    assert row(measured, planted, (0, "gate_a"), (1, "gated"))["significant"]
    push = row(measured, planted, (0, "push"), (1, "pushed"))
    assert push["interaction_type"] == "inhibitory"
    assert push["p_on_change"] == pytest.approx(-1)
    assert push["preactivation_strength"] == pytest.approx(-0.8, rel=0.02)
    assert push["mean_strength"] > -0.8
    through = row(measured, planted, (0, "pass"), (1, "pass"))
    assert through["interaction_type"] == "pass_through"
    assert through["copy_strength"] == pytest.approx(1, rel=0.02)
    assert through["computed_strength"] == pytest.approx(0, abs=0.02)
    twin = row(measured, planted, (0, "twin"), (1, "twinned"))
    assert twin["achieved"] == pytest.approx(0.5, rel=0.02)  # its twin takes the other half
    assert twin["spill"] == pytest.approx(0.5, rel=0.02)


def test_how_the_features_between_were_held_is_told(measured: InteractionSet, planted: PlantedModel) -> None:
    frame, columns = measured.frame, ["direct_sum", "held_features", "held_rank"]
    far = frame["span"] > 1
    assert frame.loc[~far, columns].isna().all(axis=None)
    assert frame.loc[far, columns].notna().all(axis=None)
    assert (frame.loc[far, "held_rank"] <= frame.loc[far, "held_features"]).all()
    told = measured.meta["held"]
    assert set(told) == {"0->2", "1->3"}
    assert all(facts["largest_error"] < 1e-4 and facts["share_full"] == 0 < facts["rank"] for facts in told.values())
    for source, target in (((0, "skip"), (2, "skipped")), ((0, "branch"), (2, "branched"))):
        edge = row(measured, planted, source, target)
        assert edge["direct_sum"] == pytest.approx(edge["direct_strength"], abs=1e-4)  # nothing overlaps


def test_dead_sources_are_left_out_and_counted(measured: InteractionSet, planted: PlantedModel) -> None:
    dead = {f"L{layer}_F{index}" for layer, index in planted.dead}
    assert measured.meta["left_out"] == dict.fromkeys(sorted(dead), "never active")
    assert measured.meta["sources"]["left_out"] == {"never active": 2}
    assert dead.isdisjoint(measured.frame["src_id"])


def test_the_derivative_agrees_where_the_model_is_linear(measured: InteractionSet, planted: PlantedModel) -> None:
    for (source, target), effect in planted.edges.items():
        found = measured.frame[
            (measured.frame["src_id"] == "L{}_F{}".format(*source)) & (measured.frame["tgt_id"] == "L{}_F{}".format(*target))
        ]
        assert found["strength_jacobian"].item() == pytest.approx(effect.total, rel=0.02, abs=1e-4)
        assert found["direct_jacobian"].item() == pytest.approx(effect.direct, rel=0.02, abs=1e-4)
    assert measured.meta["agreement"]["pearson"] > 0.98


def test_families_floors_and_replication_are_recorded(measured: InteractionSet) -> None:
    frame, meta = measured.frame, measured.meta
    assert meta["families"] == dict.fromkeys(("total", "direct", "later", "computed"), len(frame))
    assert (frame.loc[frame["mean_strength"].abs() < frame["floor"], "p_value"] >= 0.5).all()
    assert (frame["floor"] >= 0.01).all()
    assert meta["replication"]["replicated"] == meta["replication"]["checked"] > 15
    assert ((frame["ci_low"] <= frame["mean_strength"]) & (frame["mean_strength"] <= frame["ci_high"])).all()


def test_results_survive_saving(measured: InteractionSet, tmp_path: Path) -> None:
    measured.save(tmp_path / "interactions.parquet")
    again = InteractionSet.load(tmp_path / "interactions.parquet")
    assert again.meta == measured.meta
    pd.testing.assert_frame_equal(again.frame, measured.frame, check_dtype=False)


@pytest.mark.parametrize(
    ("seed", "architecture", "method"), [(1, "jumprelu", "clamping"), pytest.param(2, "standard", "jacobian", marks=pytest.mark.long)]
)
def test_other_seeds_dictionaries_and_the_jacobian_alone(seed: int, architecture: str, method: str, tmp_path: Path) -> None:
    planted = planted_model(seed, architecture=architecture, d_model=384)  # type: ignore[arg-type]
    cfg = planted.config(interaction_method=method, n_intervention_samples=15, n_placebo=20)
    store = collect_activations(planted.model, planted.saes, cfg, tokens=planted.tokens, path=tmp_path / "a.h5")
    candidates = CandidateSet(all_pairs(planted, cfg), store)
    found = score(measure_interactions(planted.model, planted.saes, candidates, cfg, progress=False).frame, planted, method)
    assert (found.recall, found.fdr, found.sign_accuracy) == (1, 0, 1)
    assert max(found.total_error, found.direct_error, found.later_error) < 0.02


def test_random_directions_as_sources_are_found_no_more_often_than_the_level_allows(planted: PlantedModel, tmp_path: Path) -> None:
    """Null run: a dictionary of random directions at the first site, whose features cause nothing of their own."""
    import torch

    from feature_graph.interventions import random_directions

    saes = dict(planted.saes)
    sae = type(saes[0])(saes[0].cfg)
    random = random_directions(sae.cfg.d_sae, sae.cfg.d_in, torch.Generator().manual_seed(11))
    with torch.no_grad():
        sae.W_dec.copy_(random)
        sae.W_enc.copy_(random.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    saes[0] = sae.eval()
    cfg = planted.config(layers=[0, 1, 2], n_placebo=64)
    saes = {layer: saes[layer] for layer in cfg.layers}
    store = collect_activations(planted.model, saes, cfg, tokens=planted.tokens, path=tmp_path / "a.h5")
    pairs = all_pairs(planted, cfg)
    frame = measure_interactions(planted.model, saes, CandidateSet(pairs[pairs["src_layer"] == 0], store), cfg, progress=False).frame
    share = frame["significant"].mean()
    assert len(frame) > 800
    assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(frame))


def test_wiring_needs_room() -> None:
    with pytest.raises(ValueError, match="d_model: got 64"):
        planted_model(d_model=64)
    plan = standard_wiring(0)
    assert set(nonlinear_pairs(plan, 2)).isdisjoint(true_effects(plan, 2))
