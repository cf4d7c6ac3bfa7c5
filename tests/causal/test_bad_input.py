"""What is wrong with the input is said by name, before the work; what is wrong with one source costs that source and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from feature_graph.activations import CollectError, collect_activations
from feature_graph.artifacts import ActivationStore, ArtifactError, CandidateSet
from feature_graph.candidates import CandidateError, identify_candidates
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.graph import build_interaction_graph
from feature_graph.interactions import MeasureError, measure_interactions
from feature_graph.loading.errors import LoadingError
from tests.support.overflow import overflowing
from tests.support.selection_models import random_tokens, tiny_model, tiny_sae, tiny_saes
from tests.support.selection_stores import write_store

CFG = Config(
    layers=[0, 1, 2], context_length=10, position_horizon=2, sae_quality="off", n_placebo=4, n_intervention_samples=8, min_coactivation=2,
    top_k_features=8, model_name="tiny",
)  # fmt: skip


def config(**changes: Any) -> Config:
    return Config(**(CFG.model_dump() | changes))


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def saes() -> dict[int, Any]:
    return tiny_saes((0, 1, 2))


@pytest.fixture(scope="module")
def store(model: Any, saes: dict[int, Any], tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return collect_activations(model, saes, CFG, random_tokens(120, 10), path=tmp_path_factory.mktemp("bad") / "a.h5")


@pytest.fixture(scope="module")
def candidates(model: Any, saes: dict[int, Any], store: ActivationStore) -> CandidateSet:
    return identify_candidates(build_coactivation_atlas(store, CFG), saes, CFG, activation_store=store, model=model)


def changed(candidates: CandidateSet, **first: int) -> CandidateSet:
    """The candidates with some values of their first row replaced."""
    frame = candidates.frame.copy()
    for name, value in first.items():
        frame.loc[0, name] = value
    return CandidateSet(frame, candidates.store)


def measure(model: Any, saes: dict[int, Any], candidates: CandidateSet, cfg: Config = CFG) -> Any:
    return measure_interactions(model, saes, candidates, cfg, progress=False)


def damaged(saes: dict[int, Any], name: str, index: Any, value: float) -> dict[int, Any]:
    made = dict(saes)
    made[1] = copy.deepcopy(saes[1])
    with torch.no_grad():
        getattr(made[1], name)[index] = value
    return made


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("W_enc", (slice(None), 5), float("nan"), r"layer 1: weights of 1 feature are NaN or infinite \(L1_F5\)"),
        ("W_dec", [3, 5], float("inf"), r"weights of 2 features are NaN or infinite \(L1_F3, L1_F5\)"),
        ("b_enc", slice(7, 12), float("nan"), r"weights of 5 features .* \(L1_F7, L1_F8, L1_F9 …\)"),
        ("b_dec", 2, float("nan"), "layer 1: the SAE's b_dec is NaN or infinite"),
    ],
)
def test_broken_weights_are_refused_and_the_features_named(
    model: Any, saes: dict[int, Any], candidates: CandidateSet, name: str, index: Any, value: float, message: str
) -> None:
    broken = damaged(saes, name, index, value)
    with pytest.raises(LoadingError, match=message):
        collect_activations(model, broken, CFG, random_tokens(4, 10))
    with pytest.raises(LoadingError, match=message):
        measure(model, broken, candidates)


def test_activations_that_are_not_numbers_never_enter_a_store(tmp_path: Path) -> None:
    values = np.ones((4, 3), dtype=np.float32)
    values[2, 1] = np.inf
    with pytest.raises(ArtifactError, match="layer 1: activations are NaN or infinite"):
        write_store(tmp_path / "s.h5", {1: values}, np.ones((2, 2), dtype=bool))


def test_a_model_of_another_width_is_refused_with_the_layer_named(
    model: Any, saes: dict[int, Any], store: ActivationStore, candidates: CandidateSet
) -> None:
    wide = dict(saes) | {1: tiny_sae("blocks.1.hook_resid_post", d_in=20)}
    message = "layer 1: the SAE reads 20 dimensions, tiny has d_model = 16"
    with pytest.raises(LoadingError, match=message):
        collect_activations(model, wide, CFG, random_tokens(4, 10))
    with pytest.raises(LoadingError, match=message):
        measure(model, wide, candidates)
    with pytest.raises(CandidateError, match=r"saes: got residual streams of different widths, \{0: 16, 1: 20, 2: 16\}"):
        identify_candidates(build_coactivation_atlas(store, CFG), wide, CFG, activation_store=store)


def test_pairs_that_cannot_be_are_refused_by_name(model: Any, saes: dict[int, Any], candidates: CandidateSet) -> None:
    with pytest.raises(MeasureError, match=r"L2_F\d+ → L0_F\d+ runs backwards or within one site \(1 such pairs\)"):
        measure(model, saes, changed(candidates, src_layer=2, tgt_layer=0))
    with pytest.raises(MeasureError, match="L0_F999 does not exist; that SAE has 40 features"):
        measure(model, saes, changed(candidates, src_layer=0, src_index=999, tgt_layer=1))
    with pytest.raises(MeasureError, match=r"layer 7 is not among the saes; they have \[0, 1, 2\]"):
        measure(model, saes, changed(candidates, tgt_layer=7))


def test_texts_longer_than_the_model_reads_are_refused(model: Any, saes: dict[int, Any]) -> None:
    with pytest.raises(CollectError, match=r"contexts of 20 tokens; the model reads at most 12\. Lower context_length"):
        collect_activations(model, saes, CFG, random_tokens(4, 20))


def test_no_candidates_give_no_edges_and_say_so(
    model: Any, saes: dict[int, Any], store: ActivationStore, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(min_coactivation=1_000_000, rescue_fraction=0.0)
    none = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=model)
    assert len(none) == 0
    found = measure(model, saes, none, cfg)
    assert "no candidate pairs" in caplog.text
    assert (len(found), found.meta["sources"]) == (0, {"measured": 0, "left_out": {}})
    assert build_interaction_graph(found, cfg).number_of_nodes() == 0


def test_sources_that_cannot_be_tested_are_left_out_one_by_one(
    model: Any, saes: dict[int, Any], candidates: CandidateSet, caplog: pytest.LogCaptureFixture
) -> None:
    found = measure(model, saes, changed(candidates, src_layer=0, src_index=0, tgt_layer=1))
    assert found.meta["left_out"] == {"L0_F0": "never active"}
    assert found.meta["sources"] == {"measured": 16, "left_out": {"never active": 1}}
    assert "1 source is left out: never active" in caplog.text
    assert "L0_F0" not in set(found.frame["src_id"])
    nothing = measure(model, saes, candidates, config(min_documents=100))
    assert nothing.meta["sources"] == {"measured": 0, "left_out": {"active in fewer than 100 test documents": 16}}
    assert len(nothing) == 0


@pytest.mark.parametrize("method", ["clamping", "both"])
def test_a_source_that_makes_the_model_overflow_costs_that_source_only(
    model: Any, saes: dict[int, Any], candidates: CandidateSet, store: ActivationStore, tmp_path: Path, method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    cfg = config(interaction_method=method)
    source = candidates[0].src
    bad = CandidateSet(candidates.frame, overflowing(store, source.layer, source.index, tmp_path / "bad.h5"))
    found = measure(model, saes, bad, cfg)
    assert found.meta["left_out"] == {source.id: "the model gives NaN or infinity under its clamp"}
    assert found.meta["sources"]["measured"] == 15
    assert f"{source.id}: under the clamp the model gives NaN or infinity" in caplog.text
    whole = measure(model, saes, candidates, cfg).frame
    rest = whole[whole["src_id"] != source.id].reset_index(drop=True)
    columns = ["src_id", "tgt_id", "mean_strength", "direct_strength", "later_strength"]
    pd.testing.assert_frame_equal(found.frame[columns], rest[columns], rtol=1e-3, atol=1e-4)
    again = measure_interactions(model, saes, bad, cfg, progress=False, parts_dir=tmp_path / "parts")
    resumed = measure_interactions(model, saes, bad, cfg, progress=False, parts_dir=tmp_path / "parts")
    pd.testing.assert_frame_equal(again.frame, resumed.frame)
    assert resumed.meta["left_out"] == found.meta["left_out"]
