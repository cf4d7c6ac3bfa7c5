"""measure_interactions as a stage: resuming, memory passes, bad input, other models and dictionaries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.activations import draw_samples
from feature_graph.artifacts import CONFIRM, TEST, ActivationStore, CandidateSet, InteractionSet
from feature_graph.interactions import MeasureError, MeasurementContext, measure_interactions, passes
from feature_graph.interactions.plan import make_plan
from feature_graph.interventions import AnalysedModel, Clamps, Reading, plain_effects
from ingest.formats import INTERACTIONS
from tests.support.interaction_stage import Stage
from tests.support.tiny_models import make_tiny


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def whole(stage: Stage) -> InteractionSet:
    return stage.run()


def test_rows_are_complete_and_sorted(stage: Stage, whole: InteractionSet) -> None:
    frame = whole.frame
    assert list(frame.columns) == INTERACTIONS.names
    assert frame[["src_fid", "tgt_fid", "method"]].apply(tuple, axis=1).is_monotonic_increasing
    measured = stage.candidates.frame.shape[0] - sum(
        f"L{s}_F{i}" in whole.meta["left_out"] for s, i in stage.candidates.frame[["src_layer", "src_index"]].to_numpy()
    )
    assert len(frame) == measured > 60
    assert (frame["decoder_alignment"] == 0.1).all()
    assert set(frame["span"]) == {1, 2}
    one = frame[frame["span"] == 1]
    np.testing.assert_allclose(one["direct_strength"], one["mean_strength"], atol=1e-6)


def test_one_pair_by_the_plain_path(stage: Stage, whole: InteractionSet) -> None:
    """The whole stage against full forward passes with hooks and arithmetic by hand."""
    tiny, store = stage.tiny, stage.store
    row = whole.frame[(whole.frame["span"] == 2) & (whole.frame["mean_strength"].abs() > 0.05)].iloc[0]
    source, target = int(row["src_id"].split("F")[1]), int(row["tgt_id"].split("F")[1])
    norms = dict.fromkeys(tiny.codecs, 1.0)
    plan = make_plan(store, stage.candidates.frame, tiny.codecs, norms, stage.cfg)
    mine = next(s for s in plan.sources[0] if s.index == source)
    assert (store.splits[mine.test.documents] == TEST).all()
    assert (store.splits[mine.confirm.documents] == CONFIRM).all()
    values = torch.tensor(mine.test.values)
    clamps = Clamps(
        torch.tensor(mine.test.documents),
        torch.tensor(mine.test.positions),
        tiny.codecs[0].w_dec[source].expand(len(values), -1),
        mine.high - values,
        mine.low - values,
    )
    path = [Reading(tiny.codecs[1], torch.zeros(0, dtype=torch.long)), Reading(tiny.codecs[3], torch.tensor([target]))]
    counted = torch.tensor(store.valid)
    effects = plain_effects(tiny.model, tiny.tokens, tiny.codecs[0].site, clamps, path, stage.cfg.position_horizon, counted)[1]
    by_document = pd.Series(effects.total[:, 0].numpy()).groupby(mine.test.documents).mean() / (mine.high - mine.low)
    assert row["mean_strength"] == pytest.approx(by_document.mean(), rel=1e-3, abs=1e-5)
    direct = pd.Series(effects.direct[:, 0].numpy()).groupby(mine.test.documents).mean() / (mine.high - mine.low)
    assert row["direct_strength"] == pytest.approx(direct.mean(), rel=1e-3, abs=1e-5)
    assert row["n_documents"] == len(by_document)


def test_the_same_seed_gives_the_same_table(stage: Stage, whole: InteractionSet) -> None:
    pd.testing.assert_frame_equal(stage.run().frame, whole.frame)
    assert not stage.run(cfg=stage.cfg.model_copy(update={"seed": 43})).frame["mean_strength"].equals(whole.frame["mean_strength"])


def test_an_interrupted_run_resumes_with_the_same_result(stage: Stage, whole: InteractionSet, tmp_path: Path) -> None:
    stage.run(parts_dir=tmp_path)
    parts = sorted(tmp_path.glob("*.parquet"))
    assert len(parts) >= 4
    for gone in parts[1::2]:
        gone.unlink()
    parts[0].write_bytes(parts[0].read_bytes()[:100])  # killed while writing without the rename
    kept = {part: part.stat().st_mtime_ns for part in parts[2::2]}
    pd.testing.assert_frame_equal(stage.run(parts_dir=tmp_path).frame, whole.frame)
    assert {part: part.stat().st_mtime_ns for part in kept} == kept


def test_parts_of_another_configuration_are_not_trusted(stage: Stage, tmp_path: Path) -> None:
    stage.run(parts_dir=tmp_path)
    other = stage.cfg.model_copy(update={"clamp_high_quantile": 0.5})
    pd.testing.assert_frame_equal(stage.run(cfg=other, parts_dir=tmp_path).frame, stage.run(cfg=other).frame)


def test_little_memory_means_more_passes_and_the_same_numbers(stage: Stage, whole: InteractionSet) -> None:
    context = MeasurementContext.open(AnalysedModel.of(stage.tiny.model, stage.tiny.saes, stage.cfg), stage.store, stage.cfg)
    norms = dict.fromkeys(stage.tiny.codecs, 1.0)
    plan = make_plan(stage.store, stage.candidates.frame, stage.tiny.codecs, norms, stage.cfg)
    found = list(passes.split_passes(context, plan, limit=150_000))
    assert len(found) > 1
    everyone = sorted((s.layer, s.index) for chosen in found for s in chosen)
    assert everyone == sorted((s.layer, s.index) for sources in plan.sources.values() for s in sources)
    blocks = [b for k, chosen in enumerate(found) for b in passes.make_blocks(plan, chosen, dict.fromkeys(plan.sources, 32), stage.cfg, k)]
    numbers = [probe.number for block in blocks if block.placebo for probe in block.probes]
    assert sorted(numbers) == sorted(list(range(5)) * len(plan.sources))
    again = stage.run(clean_bytes=150_000).frame
    for column in ("mean_strength", "direct_strength", "later_strength", "floor", "confirm_strength"):
        np.testing.assert_allclose(again[column], whole.frame[column], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("shape", "kind"), [("gpt2", "topk"), ("pythia", "jumprelu"), ("gemma2", "standard")])
def test_other_models_and_dictionaries(shape: str, kind: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path, shape, kind)
    found = stage.run()
    assert len(found) > 20
    assert np.isfinite(found.frame["mean_strength"]).all()
    assert found.meta["topk_layers"] == ([0, 1, 3] if kind == "topk" else [])


def test_without_horizon_placebos_or_text_to_confirm(stage: Stage) -> None:
    found = stage.run(cfg=stage.cfg.model_copy(update={"position_horizon": 0, "n_placebo": 0, "n_intervention_samples": 3}))
    assert found.frame["later_strength"].isna().all()
    assert (found.frame["p_later"] == 1).all()
    assert found.frame["placebo_quantile"].isna().all()
    assert (found.frame["floor"] == 0.01).all()


def test_no_candidates_give_an_empty_result_and_say_so(stage: Stage, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    found = stage.run(candidates=CandidateSet(stage.candidates.frame.iloc[:0], stage.store))
    assert len(found) == 0
    assert "no candidate pairs" in caplog.text
    found.save(tmp_path / "interactions.parquet")
    assert len(InteractionSet.load(tmp_path / "interactions.parquet")) == 0


def test_sources_that_cannot_be_measured_are_counted_and_the_run_goes_on(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    found = stage.run(cfg=stage.cfg.model_copy(update={"min_documents": 6}))
    reasons = found.meta["sources"]["left_out"]
    assert sum(reasons.values()) == len(found.meta["left_out"]) > 0
    assert all(reason in caplog.text for reason in reasons)
    nobody = stage.run(cfg=stage.cfg.model_copy(update={"clamp_low": 1e6}))
    assert len(nobody) == 0
    assert "its high level is not above clamp_low" in nobody.meta["sources"]["left_out"]


def test_a_correction_that_cannot_be_reached_is_announced(stage: Stage, whole: InteractionSet) -> None:
    assert len(whole.meta["warnings"]) == 1
    assert "More text helps" in whole.meta["warnings"][0]
    strict = stage.run(cfg=stage.cfg.model_copy(update={"correction_method": "bonferroni"}))
    assert "cannot reach significance" in strict.meta["warnings"][0]
    assert not strict.frame["significant"].any()


def bad(stage: Stage, **values: int) -> CandidateSet:
    frame = stage.candidates.frame.copy()
    for name, value in values.items():
        frame.loc[frame.index[3], name] = value
    return CandidateSet(frame, stage.store)


def test_bad_input_is_refused_by_name(stage: Stage) -> None:
    cases = [
        (bad(stage, src_layer=3, tgt_layer=1), r"L3_F\d+ → L1_F\d+ runs backwards"),
        (bad(stage, src_index=40), "L0_F40 does not exist; that SAE has 40"),
        (bad(stage, tgt_layer=7), "layer 7 is not among the saes"),
        (CandidateSet(stage.candidates.frame), "carry no activations"),
    ]
    for candidates, message in cases:
        with pytest.raises(MeasureError, match=message):
            stage.run(candidates=candidates)


def test_other_dictionaries_than_those_collected_are_refused(stage: Stage) -> None:
    from tests.support.tiny_models import tiny_saes

    with pytest.raises(MeasureError, match="collect the activations again"):
        measure_interactions(stage.tiny.model, tiny_saes([0, 1, 3], d_sae=48), stage.candidates, stage.cfg, progress=False)


def test_a_model_with_broken_weights_is_refused(stage: Stage) -> None:
    tiny = make_tiny("llama", n_docs=50)
    with torch.no_grad():
        tiny.model.blocks[2].mlp.W_out[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN|nan|disagree"):
        measure_interactions(tiny.model, tiny.saes, stage.candidates, stage.cfg, progress=False)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=30, unique=True), st.integers(1, 12))
def test_samples_are_drawn_over_distinct_documents_first(places: list[tuple[int, int]], n: int) -> None:
    documents, positions = (np.array(column, dtype=np.int64) for column in zip(*sorted(places), strict=True))
    rng = np.random.default_rng(0)
    values = np.ones(len(places), dtype=np.float32)
    found = draw_samples(documents, positions, values, np.arange(len(places)), rng.permutation(7), rng.random(len(places)), n)
    assert len(found) == min(n, len(places))
    assert len(set(zip(found.documents.tolist(), found.positions.tolist(), strict=True))) == len(found)
    assert found.n_documents == min(n, len(set(documents.tolist())))
    counts = np.bincount(found.documents, minlength=7)
    available = np.bincount(documents, minlength=7)
    assert all(counts[d] == available[d] or counts[d] >= counts.max() - 1 for d in range(7))


def test_a_store_made_from_tokens_needs_no_tokenizer(stage: Stage) -> None:
    assert isinstance(stage.store, ActivationStore)
    assert stage.tiny.model.tokenizer is None
    again = CandidateSet(stage.candidates.frame, ActivationStore.load(stage.store.path))
    pd.testing.assert_frame_equal(stage.run(candidates=replace(again)).frame, stage.run().frame)
