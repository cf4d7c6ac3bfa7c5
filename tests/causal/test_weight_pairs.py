"""Pairs between which nothing is computed, on request: what an MLP writes, and a dictionary of the stream right after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from feature_graph.activations import collect_activations
from feature_graph.artifacts import (
    ActivationStore,
    CandidateSet,
    FeatureRef,
    InteractionSet,
    Pair,
    ResponseStore,
    by_keys,
    feature_key,
)
from feature_graph.candidates import identify_candidates, shortlist
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.dictionaries import read_tensors, tensor_hook
from feature_graph.evaluation.forecasts import ComparisonOptions, compare_forecasts
from feature_graph.graph import build_interaction_graph
from feature_graph.interactions import MeasureError, make_plan, measure_interactions, measure_mediation
from feature_graph.interventions import AnalysedModel, MeasurementContext
from feature_graph.pipeline.stages import STAGES
from feature_graph.responses import measure_responses
from feature_graph.steering import predict_cascade
from tests.architectures import VOCABULARY, WIDTH
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.support.component_models import added_to, as_bridge, as_hooked, own_tensors, transformers_model

CONTEXT, HORIZON = 24, 2
TEXT = torch.randint(3, VOCABULARY, (36, CONTEXT), generator=torch.Generator().manual_seed(5))
#: Site → kind, tensor that is read, tensor that is written.
SITES: dict[str, tuple[str, str, str]] = {
    "L0": ("residual", "resid_post", "resid_post"),
    "L1.attn": ("attn_out", "attn_out", "attn_out"),
    "L1.tc": ("transcoder", "mlp_in", "mlp_out"),
    "L1.mlp": ("mlp_out", "mlp_out", "mlp_out"),
    "L1": ("residual", "resid_post", "resid_post"),
    "L2.mlp": ("mlp_out", "mlp_out", "mlp_out"),
}
WEIGHTS = {("L1.tc", "L1"), ("L1.mlp", "L1")}
#: Model → how it is made, and the pairs that are a weight in it. In Gemma 2 and OLMo 2 a norm follows the MLP.
MODELS: dict[str, tuple[Any, set[tuple[str, str]]]] = {
    "gpt2": (as_hooked, WEIGHTS),
    "gemma2": (as_bridge, WEIGHTS),
    "olmo2 head_dim": (as_bridge, WEIGHTS),
    "gpt_neox": (as_bridge, WEIGHTS | {("L1.attn", "L1")}),  # attention and MLP run in parallel
}


@dataclass(frozen=True)
class Run:
    """A run with such pairs on a random model; ``plain`` is what it measures without them."""

    model: AnalysedModel
    theirs: Any
    saes: dict[str, Any]
    cfg: Config
    store: ActivationStore
    candidates: CandidateSet
    measured: InteractionSet
    plain: InteractionSet
    weights: set[tuple[str, str]]

    @property
    def own(self) -> pd.DataFrame:
        """Measured pairs that are a weight."""
        return self.measured.frame[[pair in self.weights for pair in sites_in(self.measured.frame)]]


def sites_in(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return [(s.rpartition("_F")[0], t.rpartition("_F")[0]) for s, t in zip(frame["src_id"], frame["tgt_id"], strict=True)]


def dictionaries(model: Any) -> dict[str, Any]:
    saes: dict[str, Any] = {name: copying_sae(WIDTH, "jumprelu", scale=1.0) for name, (kind, *_) in SITES.items() if kind != "transcoder"}
    hooks = [tensor_hook(model, tensor, 1) for tensor in ("mlp_in", "mlp_out")]
    found = read_tensors(model, TEXT[:20], hooks)
    saes["L1.tc"] = linear_transcoder(*(found[hook].flatten(0, 1) for hook in hooks))
    return {name: saes[name] for name in SITES}


def configured(sites: Iterable[str], **more: Any) -> Config:
    values = {
        "model_name": "tiny",
        "sites": [{"layer": int(name[1]), "kind": SITES[name][0]} for name in sites],
        "context_length": CONTEXT,
        "n_tokens": TEXT.numel(),
        "top_k_features": 3,
        "min_coactivation": 1,
        "n_intervention_samples": 10,
        "min_documents": 3,
        "specificity_directions": 3,
        "specificity_samples": 3,
        "response_samples": 3,
        "response_documents": 2,
        "position_horizon": HORIZON,
        "significance_level": 0.5,  # few documents
        "weight_pairs": True,
    }
    return Config(**values | more)


@pytest.fixture(scope="module", params=MODELS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    form, weights = MODELS[request.param]
    model, theirs = form(request.param), transformers_model(request.param)
    saes, cfg = dictionaries(model), configured(SITES)
    store = collect_activations(model, saes, cfg, TEXT, path=tmp_path_factory.mktemp("run") / "activations.h5")
    chosen, measured = [], []
    for one in (cfg, without(cfg)):
        analysed = AnalysedModel.of(model, saes, one, components=True)
        chosen.append(identify_candidates(build_coactivation_atlas(store, one), saes, one, activation_store=store, model=analysed))
        measured.append(measure_interactions(analysed, saes, chosen[-1], one, progress=False))
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    return Run(analysed, theirs, saes, cfg, store, chosen[0], *measured, weights)


def without(cfg: Config) -> Config:
    return cfg.model_copy(update={"weight_pairs": False})


def test_the_pairs_are_chosen_and_measured_on_request_alone(run: Run) -> None:
    assert {pair for pair in sites_in(run.measured.frame) if pair in run.weights} == run.weights
    assert not run.weights & set(sites_in(run.plain.frame))
    assert set(sites_in(run.measured.frame)) == run.weights | set(sites_in(run.plain.frame))


def test_all_other_pairs_are_measured_as_without(run: Run) -> None:
    """But for the corrections, whose families are larger."""
    shared = ["mean_strength", "direct_strength", "later_strength", "copy_strength", "computed_strength", "confirm_strength"]
    shared += ["specific_strength", "se", "p_value", "p_later", "pmi", "arm", "span", "blocks", "n_samples", "clamp_high"]
    keys = ["src_id", "tgt_id"]
    one, two = (frame.set_index(keys)[shared].sort_index() for frame in (run.plain.frame, run.measured.frame))
    pd.testing.assert_frame_equal(two.loc[one.index], one, rtol=1e-5, atol=1e-6)
    assert len(two) == len(one) + len(run.own)


def test_total_effects_are_what_transformers_does(run: Run) -> None:
    assert (run.own["mean_strength"].abs() > 1e-2).any()
    for name, rows in run.own.groupby("src_id"):
        np.testing.assert_allclose(rows["mean_strength"], truth(run, str(name), rows["tgt_id"].tolist()), atol=2e-4)


def truth(run: Run, source: str, targets: list[str]) -> list[float]:
    """Effects by transformers' own model with the source's tensor changed: within documents, over documents."""
    site, plan, direction = source.rpartition("_F")[0], planned(run, source), direction_of(run, source)
    changes: dict[int, list[Tensor]] = {}
    for document, p, value in zip(plan.test.documents.tolist(), plan.test.positions.tolist(), plan.test.values.tolist(), strict=True):
        high, low = (read(run, site, document, p, (level - value) * direction) for level in (plan.high, plan.low))
        changes.setdefault(document, []).append(high - low)
    means = torch.stack([torch.stack(each).mean(0) for each in changes.values()]).mean(0) / (plan.high - plan.low)
    return [float(means[index_of(target)]) for target in targets]


def index_of(feature: str) -> int:
    return int(feature.rpartition("_F")[2])


def direction_of(run: Run, feature: str) -> Tensor:
    """What a feature writes, of length 1."""
    row = run.saes[feature.rpartition("_F")[0]].W_dec[index_of(feature)].detach()
    return row / row.norm()


@torch.no_grad()
def read(run: Run, site: str, document: int, position: int, change: Tensor) -> Tensor:
    """Activations of all features of ``L1`` at a position, with a vector added there to what a source writes."""
    every = torch.zeros(1, CONTEXT, len(change))
    every[0, position] = change
    with added_to(run.theirs, 1, SITES[site][2], every):
        x = own_tensors(run.theirs, 1, TEXT[document : document + 1])["resid_post"][0, position]
    return run.saes["L1"].encode(x) * run.saes["L1"].W_dec.norm(dim=1)


def planned(run: Run, source: str) -> Any:
    """The source as the stage planned it."""
    context = MeasurementContext.open(run.model, run.store, run.cfg)
    plan = make_plan(run.store, by_keys(run.candidates.frame), context.codecs, context.norms, run.cfg)
    layer, index = feature_key(source, run.store.layers)
    return next(s for s in plan.sources[layer] if s.index == index)


def test_the_effect_is_one_weight_and_all_of_it_copy(run: Run) -> None:
    own = run.own
    weights = [float(direction_of(run, row.src_id) @ run.saes["L1"].W_enc[:, index_of(row.tgt_id)].detach()) for row in own.itertuples()]
    np.testing.assert_allclose(own["preactivation_strength"], weights, atol=1e-4)
    np.testing.assert_allclose(own["copy_strength"], own["mean_strength"], atol=1e-5)
    np.testing.assert_allclose(own["computed_strength"], 0, atol=1e-5)
    np.testing.assert_allclose(own["specific_strength"], 0, atol=1e-6)
    assert (own["p_specific"] > 0.5).all()
    assert (own["direct_strength"] == own["mean_strength"]).all()
    np.testing.assert_allclose(own["later_strength"], 0, atol=1e-6)
    assert (own["span"] == 0).all()
    assert not own["significant_by"].str.contains("computed|later").any()


def test_edges_of_the_graph_are_structural_copies(run: Run) -> None:
    graph = build_interaction_graph(run.measured, run.cfg)
    edges = [graph.edges[row.src_id, row.tgt_id] for row in run.own[run.own["significant"]].itertuples()]
    assert edges
    assert all(edge["structural"] and edge["direct"] == edge["total"] for edge in edges)
    assert all(edge["copy"] == pytest.approx(edge["total"], abs=1e-5) for edge in edges)


def test_sums_over_paths_into_the_stream_after_a_block_have_its_mlp_through_them(tmp_path: Path) -> None:
    """Direct effects hold the MLP; what it computes of earlier features goes into the stream through its own."""
    sites = ("L0", "L1.tc", "L1")
    model = as_hooked("gpt2")
    saes = {name: sae for name, sae in dictionaries(model).items() if name in sites}
    cfg = configured(sites, top_k_features=48, min_coactivation=0, specificity_directions=0, position_horizon=0)
    store = collect_activations(model, saes, cfg, TEXT, path=tmp_path / "activations.h5")
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    chosen = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=analysed)
    found = measure_interactions(analysed, saes, chosen, cfg, progress=False)
    found.frame["significant"], found.frame["significant_by"] = True, "total+direct"
    whole = build_interaction_graph(found, cfg)
    without = whole.copy()
    without.remove_edges_from([(u, v) for u, v in whole.edges if u.startswith("L1.tc_")])
    ends = [(u, v) for u, v in whole.edges if u.startswith("L0_") and v.startswith("L1_")]
    total = np.array([whole.edges[pair]["total"] for pair in ends])
    errors = [np.abs(path_sums(graph, ends) - total).mean() for graph in (whole, without)]
    assert errors[0] < 0.5 * errors[1]


def path_sums(graph: nx.DiGraph, ends: list[tuple[str, str]]) -> np.ndarray:
    found = {u: predict_cascade(graph, u, 1.0, min_effect=0.0, top_paths=0, by="paths").path_sums for u in {u for u, _ in ends}}
    return np.array([found[u].get(v, 0.0) for u, v in ends])


@pytest.fixture(scope="module")
def responses(run: Run, tmp_path_factory: pytest.TempPathFactory) -> ResponseStore:
    path = tmp_path_factory.mktemp("responses") / "responses.h5"
    return measure_responses(run.model, run.saes, run.store, run.cfg, path, progress=False)


def test_responses_hold_the_pairs_and_nothing_of_them_is_computed(run: Run, responses: ResponseStore) -> None:
    keys = {str(key): key for key in run.store.layers}
    assert {(keys[s], keys[t]) for s, t in run.weights} <= set(responses.pairs)
    for source, target in run.weights:
        pair = keys[source], keys[target]
        np.testing.assert_array_equal(responses.carried(*pair), responses.means(*pair))
        np.testing.assert_allclose(responses.generic(*pair), 0, atol=1e-6)
        rows = run.saes[source].W_dec.detach().numpy()[responses.sources[pair[0]].index]
        np.testing.assert_allclose(responses.means(*pair), rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-3)


def test_a_shortlist_has_them_by_their_total_effects_alone(run: Run, responses: ResponseStore) -> None:
    cfg = Config(**run.cfg.model_dump() | {"candidates": "responses", "shortlist_pairs": 300})
    chosen = shortlist(responses, build_coactivation_atlas(run.store, cfg), run.store, run.model, cfg)
    names = [(row.src_site, row.tgt_site) for row in chosen.frame.itertuples()]
    assert run.weights <= set(names)
    assert {arm for pair, arm in zip(names, chosen.frame["arm"], strict=True) if pair in run.weights} == {"total"}
    found = measure_interactions(run.model, run.saes, chosen, cfg, responses=responses, progress=False).frame
    own = found[[pair in run.weights for pair in sites_in(found)]]
    np.testing.assert_allclose(own["specific_strength"], 0, atol=1e-5)


def test_forecasts_of_them_are_what_is_measured(run: Run, responses: ResponseStore) -> None:
    options = ComparisonOptions(n_sources=10, n_tokens=4, min_documents=2, jacobian_tokens=8, path_tokens=3, rare_targets=5, resamples=20)
    for given in (responses, None):
        pairs = compare_forecasts(run.model, run.saes, run.store, run.cfg, given, options).pairs
        ends = zip(pairs["source"].str.rpartition("_F")[0], pairs["target"].str.rpartition("_F")[0], strict=True)
        own = pairs[[pair in run.weights for pair in ends]]
        assert len(own) > 5
        np.testing.assert_allclose(own["measured"], own["copied"], atol=1e-4)
        np.testing.assert_allclose(own["paths"], own["virtual weight"], atol=1e-6)  # no transcoder lies between
        np.testing.assert_allclose(own["response computed"], 0, atol=1e-6)


@pytest.mark.parametrize("source", ["L1.tc", "L1.mlp"])
def test_a_pair_that_is_asked_for_without_the_field_is_refused_by_its_name(run: Run, source: str) -> None:
    cfg = without(run.cfg)
    first = run.candidates.frame.iloc[:1]
    pairs = CandidateSet(first.assign(src_layer=1, src_index=3, src_site=source, tgt_layer=1, tgt_index=0, tgt_site="L1"), run.store)
    words = (
        rf"{source}_F3 → L1_F0 is a weight: {source} adds to the stream that L1 reads, and nothing is computed in between .* weight_pairs"
    )
    with pytest.raises(MeasureError, match=words):
        measure_interactions(run.model, run.saes, pairs, cfg, progress=False)
    named = [Pair(FeatureRef(1, 3, source.partition(".")[2]), FeatureRef(1, 0))]
    with pytest.raises(MeasureError, match=words):
        measure_mediation(run.model, run.saes, named, cfg, store=run.store, progress=False)
    if run.own["src_id"].str.startswith(source).any():
        own = run.own[run.own["src_id"].str.startswith(source)].iloc[0]
        asked = [Pair(*(FeatureRef(1, index_of(own[f"{end}_id"]), site) for end, site in (("src", source[3:]), ("tgt", ""))))]
        parts = measure_mediation(run.model, run.saes, asked, run.cfg, store=run.store, progress=False).frame.set_index("component")
        assert parts.loc["direct", "strength"] == pytest.approx(parts.loc["total", "strength"], abs=1e-5)


def test_an_analysed_model_follows_the_configuration(run: Run) -> None:
    key = next(key for key in run.store.layers if str(key) == "L1.mlp")
    plain = AnalysedModel.of(run.model, run.saes, without(run.cfg), components=True)
    assert [str(n) for n in plain.later(key)] == ["L2.mlp"]
    assert [str(n) for n in run.model.later(key)] == ["L1", "L2.mlp"]
    assert plain.slices is run.model.slices
    assert AnalysedModel.of(run.model, run.saes, components=True) is run.model
    assert AnalysedModel.of(run.model, run.saes, run.cfg, components=True) is run.model


def test_hashes_of_runs_without_the_field_stay() -> None:
    plain, asked = Config(), Config(weight_pairs=True)
    assert "weight_pairs" not in plain.hashed()
    for stage in STAGES:
        assert "weight_pairs" not in stage.config_part(plain)
        chosen = stage.name in ("atlas", "responses", "candidates", "measure", "report")
        assert (stage.config_hash(plain) != stage.config_hash(asked)) == chosen, stage.name


def test_the_field_is_in_the_files_of_a_configuration(tmp_path: Path) -> None:
    Config(weight_pairs=True).save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json").weight_pairs
