"""A run with dictionaries on components, stage by stage: every effect is what transformers' own model does when the tensor is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, CandidateSet, CoactivationAtlas, InteractionSet, ResponseStore, by_keys, feature_key
from feature_graph.candidates import identify_candidates, shortlist
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.dictionaries import read_tensors, tensor_hook, width_of
from feature_graph.interactions import MeasureError, make_plan, measure_interactions
from feature_graph.interventions import AnalysedModel, MeasurementContext
from feature_graph.responses import measure_responses, plan_responses
from tests.architectures import VOCABULARY
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.support.component_models import added_to, as_hooked, block_of, own_tensors, transformers_model

CONTEXT, HORIZON = 24, 2
TEXT = torch.randint(3, VOCABULARY, (36, CONTEXT), generator=torch.Generator().manual_seed(5))
#: Site → kind, tensor that is read, block and tensor that is written.
SITES: dict[str, tuple[str, str, tuple[int, str]]] = {
    "L0": ("residual", "resid_post", (0, "resid_post")),
    "L1.z": ("hook_z", "z", (1, "z")),
    "L1.attn": ("attn_out", "attn_out", (1, "attn_out")),
    "L1.tc": ("transcoder", "mlp_in", (1, "mlp_out")),
    "L2.tc": ("transcoder", "mlp_in", (2, "mlp_out")),
    "L2.mlp": ("mlp_out", "mlp_out", (2, "mlp_out")),
    "L2": ("residual", "resid_post", (2, "resid_post")),
}
BLOCK = {name: int(name[1]) for name in SITES}
#: Pairs of sites by the rule of a serial block; what L2.mlp and L2.tc write is a weight at L2.
PAIRS = {
    *(("L0", t) for t in SITES if t != "L0"),
    *(("L1.z", t) for t in ("L1.attn", "L1.tc", "L2.mlp", "L2.tc", "L2")),
    *(("L1.attn", t) for t in ("L1.tc", "L2.mlp", "L2.tc", "L2")),
    *(("L1.tc", t) for t in ("L2.mlp", "L2.tc", "L2")),
}


@dataclass(frozen=True)
class Run:
    """A mixed run on a random GPT-2."""

    model: Any
    theirs: Any
    saes: dict[str, Any]
    cfg: Config
    store: ActivationStore
    atlas: CoactivationAtlas
    candidates: CandidateSet
    measured: InteractionSet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    model, theirs = as_hooked("gpt2"), transformers_model("gpt2")
    saes: dict[str, Any] = {
        name: copying_sae(width_of(model, reads), scale=1.0) for name, (kind, reads, _) in SITES.items() if kind != "transcoder"
    }
    for name in ("L1.tc", "L2.tc"):
        hooks = [tensor_hook(model, tensor, BLOCK[name]) for tensor in ("mlp_in", "mlp_out")]
        found = read_tensors(model, TEXT[:20], hooks)
        saes[name] = linear_transcoder(*(found[hook].flatten(0, 1) for hook in hooks))
    cfg = Config(
        model_name="tiny",
        sites=[{"layer": BLOCK[name], "kind": kind} for name, (kind, _, _) in SITES.items()],
        context_length=CONTEXT,
        n_tokens=TEXT.numel(),
        top_k_features=2,
        min_coactivation=1,
        rescue_fraction=0.0,
        n_intervention_samples=5,
        min_documents=3,
        specificity_directions=3,
        specificity_samples=3,
        position_horizon=HORIZON,
    )
    store = collect_activations(model, saes, cfg, TEXT, path=tmp_path_factory.mktemp("run") / "activations.h5")
    atlas = build_coactivation_atlas(store, cfg)
    candidates = identify_candidates(atlas, saes, cfg, activation_store=store, model=model)
    measured = measure_interactions(model, saes, candidates, cfg, progress=False)
    return Run(model, theirs, saes, cfg, store, atlas, candidates, measured)


def sites_in(frame: pd.DataFrame) -> set[tuple[str, str]]:
    return {(s.rpartition("_F")[0], t.rpartition("_F")[0]) for s, t in zip(frame["src_id"], frame["tgt_id"], strict=True)}


@torch.no_grad()
def encoded(run: Run, site: str, x: Tensor) -> Tensor:
    """Activations by the dictionary itself, as lengths of what is written."""
    return run.saes[site].encode(x) * run.saes[site].W_dec.norm(dim=1)


def test_recorded_activations_are_those_of_the_dictionaries_on_transformers_tensors(run: Run) -> None:
    assert [str(layer) for layer in run.store.layers] == [*SITES]
    for name, (_, reads, _) in SITES.items():
        x = own_tensors(run.theirs, BLOCK[name], TEXT)[reads]
        expected = encoded(run, name, x).flatten(0, 1).numpy() * run.store.valid.reshape(-1, 1)
        found = run.store.activations[name].toarray()  # type: ignore[index]
        np.testing.assert_allclose(found, expected, atol=5e-5)


def test_pairs_are_those_whose_write_lies_before_the_read(run: Run) -> None:
    assert {(str(s), str(t)) for s, t in run.atlas.layer_pairs} == PAIRS
    assert {(c.src_id.partition("_F")[0], c.tgt_id.partition("_F")[0]) for c in run.candidates} == PAIRS
    assert sites_in(run.measured.frame) == PAIRS


def test_tables_keep_the_blocks_number_and_count_analysed_layers(run: Run) -> None:
    frame = run.measured.frame
    for side in ("src", "tgt"):
        assert frame[f"{side}_layer"].tolist() == [int(name[1]) for name in frame[f"{side}_id"]]
    assert (frame["span"] == frame["tgt_layer"] - frame["src_layer"]).all()
    assert (frame.loc[frame["src_id"].str.startswith("L1.z") & frame["tgt_id"].str.startswith("L1.tc"), "span"] == 0).all()


@pytest.mark.parametrize("source", [name for name in SITES if any(s == name for s, _ in PAIRS)])
def test_total_and_later_effects_are_what_transformers_does(run: Run, source: str) -> None:
    frame = run.measured.frame[run.measured.frame["src_id"].str.startswith(f"{source}_F")]
    for name, rows in frame.groupby("src_id"):
        total, later = truth(run, str(name), rows["tgt_id"].tolist())
        np.testing.assert_allclose(rows["mean_strength"], total, atol=1e-5)
        np.testing.assert_allclose(rows["later_strength"], later, atol=4e-4)


def truth(run: Run, source: str, targets: list[str]) -> tuple[list[float], list[float]]:
    """Effects by transformers' own model with the source's tensor changed: within documents, over documents."""
    site, (block, tensor) = source.rpartition("_F")[0], SITES[source.rpartition("_F")[0]][2]
    index = int(source.rpartition("_F")[2])
    plan = planned(run, source)
    direction = run.saes[site].W_dec[index] / run.saes[site].W_dec[index].norm()
    now: dict[str, dict[int, list[float]]] = {target: {} for target in targets}
    later: dict[str, dict[int, list[float]]] = {target: {} for target in targets}
    for document, p, value in zip(plan.test.documents.tolist(), plan.test.positions.tolist(), plan.test.values.tolist(), strict=True):
        high, low = (read_with(run, (block, tensor), document, p, (level - value) * direction, targets) for level in (plan.high, plan.low))
        for target in targets:
            change = high[target] - low[target]
            now[target].setdefault(document, []).append(float(change[p]))
            if p < CONTEXT - 1:
                later[target].setdefault(document, []).append(float(change[p + 1 : p + 1 + HORIZON].sum()))
    unit = plan.high - plan.low
    return [over_documents(now[target]) / unit for target in targets], [over_documents(later[target]) / unit for target in targets]


def over_documents(values: dict[int, list[float]]) -> float:
    return float(np.mean([np.mean(each) for each in values.values()]))


def planned(run: Run, source: str) -> Any:
    """The source as the stage planned it."""
    context = MeasurementContext.open(AnalysedModel.of(run.model, run.saes, run.cfg, components=True), run.store, run.cfg)
    plan = make_plan(run.store, by_keys(run.candidates.frame), context.codecs, context.norms, run.cfg)
    layer, index = feature_key(source, run.store.layers)
    return next(s for s in plan.sources[layer] if s.index == index)


@torch.no_grad()
def read_with(run: Run, at: tuple[int, str], document: int, position: int, change: Tensor, targets: list[str]) -> dict[str, Tensor]:
    """Activations of targets at every position of a document, [context], with a vector added to a tensor at one of them."""
    every = torch.zeros(1, CONTEXT, len(change))
    every[0, position] = change
    tokens, sites = TEXT[document : document + 1], {target: target.rpartition("_F")[0] for target in targets}
    with added_to(run.theirs, *at, every):
        tensors = {block: own_tensors(run.theirs, block, tokens) for block in {BLOCK[site] for site in sites.values()}}
    found = {}
    for target, site in sites.items():
        found[target] = encoded(run, site, tensors[BLOCK[site]][SITES[site][1]][0])[:, int(target.rpartition("_F")[2])]
    return found


def test_readers_of_components_see_no_copy(run: Run) -> None:
    frame = run.measured.frame
    outputs = frame["tgt_id"].str.contains(r"\.(?:mlp|attn|z)_F")
    assert outputs.any()
    assert (frame.loc[outputs, "copy_strength"] == 0).all()
    pd.testing.assert_series_equal(
        frame.loc[outputs, "computed_strength"], frame.loc[outputs, "mean_strength"], check_names=False, atol=1e-12
    )


def test_what_attention_writes_is_carried_to_its_own_mlp_and_nothing_is_computed(run: Run) -> None:
    """Between z or attention's output and the MLP's input of the same block lie W_O, an addition and a norm."""
    frame = run.measured.frame
    own = frame["src_id"].str.match(r"L1\.(?:z|attn)_F") & frame["tgt_id"].str.match(r"L1\.tc_F")
    assert own.sum() >= 4
    assert (frame.loc[own, "mean_strength"].abs() > 1e-3).any()
    np.testing.assert_allclose(frame.loc[own, "computed_strength"], 0, atol=1e-5)
    np.testing.assert_allclose(frame.loc[own, "specific_strength"], 0, atol=1e-5)


def test_the_copy_goes_through_the_norm_that_the_target_reads_through(run: Run) -> None:
    """Of a pair two blocks apart: transformers' own norm of the clean stream with nothing but the clamp's delta added."""
    frame = run.measured.frame
    row = frame[frame["src_id"].str.match(r"L0_F") & frame["tgt_id"].str.match(r"L2\.tc_F")].iloc[0]
    source, index, target = planned(run, row["src_id"]), int(row["src_id"].rpartition("_F")[2]), int(row["tgt_id"].rpartition("_F")[2])
    norm, direction = block_of(run.theirs, 2).ln_2, run.saes["L0"].W_dec[index]
    changes: dict[int, list[float]] = {}
    for document, p, value in zip(source.test.documents.tolist(), source.test.positions.tolist(), source.test.values.tolist(), strict=True):
        stream = own_tensors(run.theirs, 2, TEXT[document : document + 1])["mlp_stream"][0, p]
        high, low = (encoded(run, "L2.tc", norm(stream + (level - value) * direction))[target] for level in (source.high, source.low))
        changes.setdefault(document, []).append(float(high - low))
    assert row["copy_strength"] == pytest.approx(over_documents(changes) / (source.high - source.low), abs=1e-4)
    assert row["computed_strength"] == pytest.approx(row["mean_strength"] - row["copy_strength"], abs=1e-9)


@contextmanager
def mlp_held(run: Run, block: int, document: int) -> Iterator[None]:
    """The MLP of a block gives what it gives in the clean run."""
    mlp = block_of(run.theirs, block).mlp
    clean = own_tensors(run.theirs, block, TEXT[document : document + 1])["mlp_out"]
    handle = mlp.register_forward_hook(lambda *_: clean)
    try:
        yield
    finally:
        handle.remove()


def test_the_direct_effect_holds_the_mlps_between(run: Run) -> None:
    frame = run.measured.frame
    over_a_block = frame[frame["src_id"].str.match(r"L1\.attn_F") & frame["tgt_id"].str.match(r"L2\.(?:tc|mlp)_F")]
    assert len(over_a_block) >= 4
    for name, rows in over_a_block.groupby("src_id"):
        source, index = planned(run, str(name)), int(str(name).rpartition("_F")[2])
        direction, targets = run.saes["L1.attn"].W_dec[index], rows["tgt_id"].tolist()
        changes: dict[str, dict[int, list[float]]] = {target: {} for target in targets}
        for document, p, value in zip(source.test.documents, source.test.positions, source.test.values, strict=True):
            with mlp_held(run, 1, int(document)):
                high, low = (
                    read_with(run, (1, "attn_out"), int(document), int(p), (level - float(value)) * direction, targets)
                    for level in (source.high, source.low)
                )
            for target in targets:
                changes[target].setdefault(int(document), []).append(float(high[target][p] - low[target][p]))
        expected = [over_documents(changes[target]) / (source.high - source.low) for target in targets]
        np.testing.assert_allclose(rows["direct_strength"], expected, atol=1e-5)
    assert (over_a_block["direct_strength"] != over_a_block["mean_strength"]).any()
    none_between = frame["span"] == 0
    mid = none_between & ~frame["tgt_id"].str.match(r"L2_F")
    assert mid.any()
    assert (frame.loc[mid, "direct_strength"] == frame.loc[mid, "mean_strength"]).all()


def test_a_write_that_the_own_residual_reads_is_measured_when_asked_for(run: Run) -> None:
    """And is one weight: the decoder's row times the reader's column, all of it copy."""
    pairs = run.candidates.frame.iloc[:1].assign(src_layer=2, src_index=3, src_site="L2.tc", tgt_layer=2, tgt_index=0, tgt_site="L2")
    pairs = pd.concat([pairs.assign(tgt_index=j) for j in range(8)], ignore_index=True)
    asked = run.cfg.model_copy(update={"weight_pairs": True})
    found = measure_interactions(run.model, run.saes, CandidateSet(pairs, run.store), asked, progress=False).frame
    assert len(found) == 8
    np.testing.assert_allclose(found["computed_strength"], 0, atol=1e-5)
    assert (found["preactivation_strength"].abs() > 1e-3).any()
    tc, reader = run.saes["L2.tc"], run.saes["L2"].W_enc
    row = tc.W_dec[3] / tc.W_dec[3].norm()
    np.testing.assert_allclose(found.sort_values("tgt_id")["preactivation_strength"], (row @ reader)[:8].detach(), atol=1e-5)


def test_a_pair_against_the_order_is_refused(run: Run) -> None:
    pairs = run.candidates.frame.iloc[:1].assign(src_layer=1, src_index=0, src_site="L1.tc", tgt_layer=1, tgt_index=0, tgt_site="L1.attn")
    with pytest.raises(MeasureError, match=r"L1\.tc_F0 → L1\.attn_F0 runs backwards"):
        measure_interactions(run.model, run.saes, CandidateSet(pairs, run.store), run.cfg, progress=False)


def test_features_are_described_by_their_ids(run: Run) -> None:
    """As a graph made without a features table asks for them."""
    assert run.measured.describe is not None
    ids = sorted({*run.measured.frame["src_id"], *run.measured.frame["tgt_id"]})
    found = run.measured.describe(ids).set_index("id")
    assert set(found.index) == set(ids)
    assert (found["layer"] == [int(name[1]) for name in found.index]).all()
    assert found["uid"].is_unique


def test_files_give_the_same_run_back(run: Run, tmp_path: Path) -> None:
    run.candidates.save(tmp_path / "candidates.parquet")
    run.atlas.save(tmp_path / "atlas.h5")
    store = ActivationStore.load(run.store.path)
    again = CandidateSet.load(tmp_path / "candidates.parquet", store)
    pd.testing.assert_frame_equal(again.frame, run.candidates.frame, check_dtype=False)
    assert CoactivationAtlas.load(tmp_path / "atlas.h5").layer_pairs == run.atlas.layer_pairs
    measured = measure_interactions(run.model, run.saes, again, run.cfg, progress=False)
    pd.testing.assert_frame_equal(measured.frame, run.measured.frame)


@pytest.fixture(scope="module")
def responses(run: Run) -> ResponseStore:
    cfg = run.cfg.model_copy(update={"response_samples": 4, "response_documents": 2})
    chosen = {int(layer): range(5) for layer in run.store.layers}
    return measure_responses(run.model, run.saes, run.store, cfg, run.store.path.parent / "responses.h5", sources=chosen, progress=False)


def test_responses_are_the_derivatives_of_what_is_read(run: Run, responses: ResponseStore) -> None:
    """By transformers' own model: a small change of what is written, both ways, at the tokens of the source."""
    assert {(str(s), str(t)) for s, t in responses.pairs} == PAIRS
    cfg = run.cfg.model_copy(update={"response_samples": 4, "response_documents": 2})
    context = MeasurementContext.open(AnalysedModel.of(run.model, run.saes, cfg, components=True), run.store, cfg)
    plan = plan_responses(context, {int(layer): range(5) for layer in run.store.layers})
    for source, target in responses.pairs:
        samples = plan.samples[source]
        one = samples.part(0, 1)
        direction = run.saes[str(source)].W_dec[one.index[0]]
        direction = direction / direction.norm()
        found: dict[int, list[Tensor]] = {}
        for document, p in zip(one.documents.tolist(), one.positions.tolist(), strict=True):
            high, low = (read_tensor(run, str(source), str(target), document, p, step * direction) for step in (0.05, -0.05))
            found.setdefault(document, []).append((high - low) / 0.1)
        expected = torch.stack([torch.stack(each).mean(0) for each in found.values()]).mean(0)
        np.testing.assert_allclose(responses.means(source, target)[0], expected, atol=1e-3)


@torch.no_grad()
def read_tensor(run: Run, source: str, target: str, document: int, position: int, change: Tensor) -> Tensor:
    """What a target reads at a position, with a vector added there to what a source writes."""
    every = torch.zeros(1, CONTEXT, len(change))
    every[0, position] = change
    with added_to(run.theirs, *SITES[source][2], every):
        return own_tensors(run.theirs, BLOCK[target], TEXT[document : document + 1])[SITES[target][1]][0, position]


def test_what_nothing_computed_of_a_response_is_nothing_at_components_and_all_of_it_within_a_block(
    run: Run, responses: ResponseStore
) -> None:
    keys = {str(layer): layer for layer in run.store.layers}
    for source, target in (("L0", "L2.mlp"), ("L1.tc", "L2.mlp"), ("L1.z", "L1.attn")):
        carried = responses.carried(keys[source], keys[target])
        assert carried is not None
        assert not carried.any()
    for source in ("L1.z", "L1.attn"):
        carried = responses.carried(keys[source], keys["L1.tc"])
        np.testing.assert_allclose(carried, responses.means(keys[source], keys["L1.tc"]), atol=2e-3)
    d = run.saes["L0"].W_dec.detach().numpy()[responses.sources[keys["L0"]].index]
    np.testing.assert_allclose(responses.carried(keys["L0"], keys["L2"]), d, atol=1e-3)


def test_a_shortlist_by_responses_is_measured(run: Run, responses: ResponseStore) -> None:
    cfg = Config(
        **run.cfg.model_dump() | {"candidates": "responses", "shortlist_pairs": 200, "response_samples": 4, "response_documents": 2}
    )
    model = AnalysedModel.of(run.model, run.saes, cfg, components=True)
    chosen = shortlist(responses, run.atlas, run.store, model, cfg)
    assert {(c.src_id.partition("_F")[0], c.tgt_id.partition("_F")[0]) for c in chosen} == PAIRS
    measured = measure_interactions(model, run.saes, chosen, cfg, responses=responses, progress=False).frame
    both = measured.merge(run.measured.frame, on=["src_id", "tgt_id"], suffixes=("", "_again"))
    np.testing.assert_allclose(both["mean_strength"], both["mean_strength_again"], atol=1e-6)
    assert measured["specific_strength"].notna().all()
