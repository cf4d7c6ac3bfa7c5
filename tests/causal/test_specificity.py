"""Specificity: derivatives at the source's own tokens as the reference gives them, and random directions that pass at the level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ArtifactError, CandidateSet, InteractionSet, ResponseStore
from feature_graph.evaluation.planted import planted_model
from feature_graph.interactions import measure_interactions
from feature_graph.interactions.directions import RandomDirections
from feature_graph.interactions.errors import BrokenEffect
from feature_graph.interactions.passes import documents_of
from feature_graph.interactions.plan import Plan, Source, make_plan
from feature_graph.interactions.probes import path_of
from feature_graph.interactions.specificity import probe_effects, specific_effects
from feature_graph.interventions import AnalysedModel, CleanDocuments, MeasurementContext, ModelSlices, Setting, arrivals, random_directions
from feature_graph.responses import GenericMaps, generic_map, measure_responses
from tests.support.interaction_stage import Stage

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("specificity"), response_documents=3, specificity_samples=5, n_placebo=0)


@pytest.fixture(scope="module")
def responses(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> ResponseStore:
    path = tmp_path_factory.mktemp("responses") / "responses.h5"
    return measure_responses(stage.tiny.model, stage.tiny.saes, stage.store, stage.cfg, path, progress=False)


@pytest.fixture(scope="module")
def whole(stage: Stage, responses: ResponseStore) -> InteractionSet:
    return stage.run(responses=responses)


def planned(stage: Stage) -> tuple[MeasurementContext, Plan]:
    context = MeasurementContext.open(AnalysedModel.of(stage.tiny.model, stage.tiny.saes, stage.cfg), stage.store, stage.cfg)
    return context, make_plan(stage.store, stage.candidates.frame, context.codecs, context.norms, stage.cfg)


def setting_of(context: MeasurementContext, plan: Plan, layer: int) -> Setting:
    everybody = [s for some in plan.sources.values() for s in some]
    return CleanDocuments(context, documents_of(everybody)).setting(plan.window(layer, context.codecs))


def by_hand(
    stage: Stage, source: Source, directions: torch.Tensor, layer: int, target: int, generic: Floats | None
) -> tuple[Floats, float]:
    """K of each direction on one target, from the reference's derivatives, one sample after the other; and the share of open gates."""
    codec, slices = stage.tiny.codecs[layer], ModelSlices(stage.tiny.model)
    start, stop = (stage.tiny.codecs[n].site.point for n in (source.layer, layer))
    clean = slices.residuals(stage.store.tokens, [start, stop], range(start, stop))
    documents = source.test.documents[:5]
    sums: dict[int, list[Floats]] = {}
    gates: dict[int, list[float]] = {}
    for document, position in zip(documents.tolist(), source.test.positions[:5].tolist(), strict=True):
        where = torch.tensor([document]), torch.tensor([position])
        (arrived,) = arrivals(slices, clean, start, *where, directions[None], [stop])
        x = clean.residuals[stop][document, position]
        gate = float((x @ codec.w_enc[:, target] + codec.b_enc[target]) > 0)
        change = ((arrived[0] - directions) @ codec.w_enc[:, target]).double().numpy()
        sums.setdefault(document, []).append(gate * change)
        gates.setdefault(document, []).append(gate)
    k = np.mean([np.mean(found, axis=0) for found in sums.values()], axis=0)
    share = float(np.mean([np.mean(found) for found in gates.values()]))
    usual = 0.0 if generic is None else share * (generic @ codec.w_enc[:, target].double().numpy())
    return k - usual, share


def test_the_stage_agrees_with_derivatives_by_hand(stage: Stage, responses: ResponseStore, whole: InteractionSet) -> None:
    _, plan = planned(stage)
    frame = whole.frame[whole.frame["specific_strength"].abs() > 1e-3]
    maps = GenericMaps(responses, {n: c.w_dec for n, c in stage.tiny.codecs.items()})
    checked = 0
    for row in frame[frame["src_layer"] == 0].sample(6, random_state=1).itertuples():
        index, layer, target = int(row.src_id.split("F")[1]), int(row.tgt_layer), int(row.tgt_id.split("F")[1])
        source = next(s for s in plan.sources[0] if s.index == index)
        own = stage.tiny.codecs[0].w_dec[index][None]
        generic = maps.of_sources(0, layer, np.array([index]))
        (expected,), share = by_hand(stage, source, own, layer, target, generic)
        assert row.specific_strength == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert 0 < share <= 1
        assert 0 <= row.p_specific <= row.q_specific <= 1
        checked += 1
    assert checked == 6
    assert set(frame["tgt_layer"]) == {1, 3}


def test_random_directions_are_measured_at_the_same_tokens(stage: Stage) -> None:
    context, plan = planned(stage)
    random = RandomDirections(4, 5, 0)
    setting, path = setting_of(context, plan, 0), path_of(plan, context.codecs, 0)
    source = plan.sources[0][2]
    directions = torch.cat([context.codecs[0].w_dec[source.index][None], random.of(0, source.index, context.slices.d_model)])
    (found,) = probe_effects(setting, [source], [directions], path, random)
    effects, gate = found[0].effects, found[0].gate
    assert path[0].features is not None
    for column in (0, len(gate) // 2):
        expected, share = by_hand(stage, source, directions, path[0].codec.site.layer, int(path[0].features[column]), None)
        np.testing.assert_allclose(effects[:, column], expected, rtol=1e-3, atol=1e-6)
        assert gate[column] == pytest.approx(share)


@pytest.mark.parametrize("with_responses", [False, True])
def test_random_directions_in_place_of_sources_pass_at_the_level(stage: Stage, responses: ResponseStore, with_responses: bool) -> None:
    """Every source's tokens with directions that are no feature's: p is uniform, where the target is often on as elsewhere."""
    context, plan = planned(stage)
    maps = GenericMaps(responses, {n: c.w_dec for n, c in context.codecs.items()}) if with_responses else None
    drawn = torch.Generator().manual_seed(5)
    p: list[Floats] = []
    gates: list[Floats] = []
    for layer, sources in plan.sources.items():
        setting, path = setting_of(context, plan, layer), path_of(plan, context.codecs, layer)
        for seed in range(6):
            random = RandomDirections(16, 5, seed, maps)
            directions = [random_directions(17, context.slices.d_model, drawn) for _ in sources]
            for probed in probe_effects(setting, sources, directions, path, random, own=False):
                for site in probed:
                    found = site.compared()
                    p.append(found.p[found.gate > 0])
                    gates.append(found.gate[found.gate > 0])
    every, share = np.concatenate(p), np.concatenate(gates)
    assert len(every) > 5_000
    for part in (share < 0.3, share >= 0.3):
        assert 0.03 < (every[part] < 0.05).mean() < 0.07


def test_a_planted_copy_is_not_specific_and_a_planted_computation_is(tmp_path: Path) -> None:
    planted = planted_model(seed=3, n_docs=80, d_model=384)
    cfg = planted.config(n_tokens=80 * 24)
    store = collect_activations(planted.model, planted.saes, cfg, tokens=planted.tokens, path=tmp_path / "a.h5")
    context = MeasurementContext.open(AnalysedModel.of(planted.model, planted.saes, cfg), store, cfg)
    pairs = [(*source, *target) for source, target in planted.edges]
    keys = ["src_layer", "src_index", "tgt_layer", "tgt_index"]
    chosen = CandidateSet(_candidates(np.array(pairs), keys), store)
    frame = measure_interactions(context.model, planted.saes, chosen, cfg, progress=False).frame
    specific = frame["q_specific"] < 0.05
    computed = frame["computed_strength"].abs()
    # a strong computed edge is tens of times what a random direction does in 384 dimensions, a pure copy is rounding
    assert (computed > 0.2).sum() >= 5
    assert specific[computed > 0.2].all()
    copies = (computed < 1e-4) & (frame["copy_strength"].abs() > 0.3)
    assert copies.sum() >= 3
    assert not specific[copies].any()


def _candidates(pairs: NDArray[np.int64], keys: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=keys)
    return frame.assign(pmi=0.5, coactivation_prob=0.25, n_joint=10, decoder_alignment=0.1, arm="kept")


def test_without_random_directions_nothing_is_measured_and_nothing_else_changes(stage: Stage, whole: InteractionSet) -> None:
    without = stage.run(cfg=stage.cfg.model_copy(update={"specificity_directions": 0})).frame
    assert without[["specific_strength", "p_specific", "q_specific"]].isna().all(axis=None)
    for column in ("mean_strength", "computed_strength", "p_value", "q_computed"):
        np.testing.assert_array_equal(without[column], whole.frame[column])


def test_a_killed_run_goes_on_with_the_same_numbers(stage: Stage, responses: ResponseStore, whole: InteractionSet, tmp_path: Path) -> None:
    first = stage.run(responses=responses, parts_dir=tmp_path)
    parts = sorted(tmp_path.rglob("*.parquet"))
    assert parts
    parts[0].unlink()
    again = stage.run(responses=responses, parts_dir=tmp_path)
    for found in (first, again):
        np.testing.assert_array_equal(found.frame["specific_strength"], whole.frame["specific_strength"])
    other = stage.run(parts_dir=tmp_path)  # without responses nothing is taken off: parts of before do not count
    assert not np.allclose(other.frame["specific_strength"], whole.frame["specific_strength"])


def test_the_map_of_all_sources_is_the_ridge_fit(responses: ResponseStore, stage: Stage) -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(60, 12))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    true = rng.normal(size=(12, 12))
    found = generic_map(directions, directions @ true)
    np.testing.assert_allclose(found, true, atol=0.05)
    assert stage.cfg.layers == [0, 1, 3]
    maps = GenericMaps(responses, {n: c.w_dec for n, c in stage.tiny.codecs.items()})
    known = responses.sources[0].index[:3].astype(np.int64)
    np.testing.assert_array_equal(maps.of_sources(0, 1, known), responses.generic(0, 1, slice(0, 3)))


def test_responses_of_other_dictionaries_text_or_sites_are_refused(stage: Stage, responses: ResponseStore, tmp_path: Path) -> None:
    other = ResponseStore(responses.path)
    other.meta = responses.meta | {"text": "of something else"}
    with pytest.raises(ArtifactError, match="measured on another text"):
        stage.run(responses=other)
    other.meta = responses.meta | {"dictionaries": responses.meta["dictionaries"] | {"1": "00000000"}}
    with pytest.raises(ArtifactError, match="at layer 1 are of another dictionary"):
        stage.run(responses=other)
    path = tmp_path / "responses.h5"
    near = measure_responses(stage.tiny.model, stage.tiny.saes, stage.store, stage.cfg, path, progress=False, next_only=True)
    with pytest.raises(ArtifactError, match="no responses of layer 0 at layer 3"):
        stage.run(responses=near)


def test_a_source_whose_derivatives_overflow_is_named(stage: Stage) -> None:
    context, plan = planned(stage)
    setting, path = setting_of(context, plan, 0), path_of(plan, context.codecs, 0)
    broken = plan.sources[0][1]
    setting.clean.residuals[setting.model.point(0)][setting.rows[broken.test.documents[0]], broken.test.positions[0]] = torch.nan
    with pytest.raises(BrokenEffect) as caught:
        specific_effects(setting, [broken], path, RandomDirections(4, 5, 0))
    assert caught.value.names == {broken.id}
