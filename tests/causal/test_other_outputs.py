"""Models whose output is not the next token: moves of a game, residues, one number, the result of a compiled program."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, CandidateSet, RunPaths
from feature_graph.candidates import CandidateError, identify_candidates
from feature_graph.candidates.attribution import check_by_ablation, importance_documents, measure_effects
from feature_graph.candidates.attribution.batch import Batch
from feature_graph.candidates.attribution.gradients import logits_from
from feature_graph.candidates.attribution.kinds import DistributionEffect, ValueEffect, counting
from feature_graph.candidates.importance import Importance
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.dictionaries.build import build_codecs
from feature_graph.evaluation.planted.compiled import load_program
from feature_graph.evaluation.planted.compiled_model import as_hooked
from feature_graph.graph import build_interaction_graph, load_graph
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel, InterventionError, next_token_loss, residual_gradients
from feature_graph.interventions.outputs import n_outputs, predicts_tokens
from feature_graph.pipeline.runner import run_with
from feature_graph.pipeline.stage_functions import STAGE_FUNCTIONS, RunContext, StageResult
from feature_graph.steering import CompensationOptions, SideEffectsOptions, compensate, side_effects
from feature_graph.subgraphs import extract_behavior_subgraph
from feature_graph.subgraphs.behaviors import BehaviorError
from tests.support.selection_models import tiny_saes

OTHELLO, RESIDUES, VALUE = (64, 60), (114, 113), (20, 1)
LAYERS, CONTEXT = (0, 1, 2), 8


def model_of(tokens: int, outputs: int, seed: int = 0) -> HookedTransformer:
    cfg = HookedTransformerConfig(
        n_layers=3, d_model=16, d_head=8, n_heads=2, d_mlp=32, n_ctx=CONTEXT, d_vocab=tokens, d_vocab_out=outputs, act_fn="relu",
        normalization_type="LNPre", seed=seed, device="cpu", model_name="tiny",
    )  # fmt: skip
    model = HookedTransformer(cfg)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.5 if parameter.ndim > 1 else 0.1)
    return model.eval()


def tokens_of(vocabulary: int, n_docs: int = 60) -> torch.Tensor:
    return torch.randint(0, vocabulary, (n_docs, CONTEXT), generator=torch.Generator().manual_seed(1))


def config(**changes: Any) -> Config:
    values = {
        "layers": list(LAYERS), "context_length": CONTEXT, "n_tokens": 60 * CONTEXT, "sae_quality": "off", "prepend_bos": False,
        "importance_tokens": 200, "top_k_features": 8, "min_coactivation": 2, "min_decoder_alignment": 0.0, "position_horizon": 2,
        "n_intervention_samples": 10, "min_documents": 3, "n_placebo": 4, "significance_level": 0.2, "layer_window": 1, "behaviors": [],
    }  # fmt: skip
    return Config(**(values | changes))


class Made:
    """A tiny model of a kind, with everything that the stages need."""

    def __init__(self, kind: tuple[int, int]) -> None:
        self.model, self.saes, self.cfg = model_of(*kind), tiny_saes(LAYERS), config()
        self.tokens = tokens_of(kind[0])
        self.store = collect_activations(self.model, self.saes, self.cfg, self.tokens)
        self.codecs = build_codecs(self.model, self.saes, self.cfg)

    def batch(self, n: int) -> Batch:
        return Batch.of(self.store, self.codecs, importance_documents(self.store, self.cfg)[:n])


@pytest.fixture(scope="module", params=[OTHELLO, RESIDUES, VALUE], ids=["othello", "residues", "value"])
def made(request: pytest.FixtureRequest) -> Made:
    return Made(request.param)


def tangents(made: Made, batch: Batch, layer: int, entry: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [context, outputs] of the document of one stored entry, and its derivative along −f_i d_i, by the double backward pass."""
    model, codec, active = made.model, made.codecs[layer], batch.active[layer]
    row = int(np.repeat(np.arange(active.shape[0]), np.diff(active.indptr))[entry])
    document, position = divmod(row, CONTEXT)
    push = torch.zeros(1, CONTEXT, codec.w_dec.shape[1])
    push[0, position] = -float(active.data[entry]) * codec.w_dec[active.indices[entry]]
    tokens = batch.tokens[[document]]
    _, cache = model.run_with_cache(tokens, names_filter=codec.site.hook)

    def outputs(x: torch.Tensor) -> torch.Tensor:
        return model(x, start_at_layer=codec.site.point, return_type="logits")

    clean, change = torch.autograd.functional.jvp(outputs, cache[codec.site.hook], push)
    return clean[0].double(), change[0].double()


def test_what_outputs_stand_for() -> None:
    assert (n_outputs(model_of(*OTHELLO)), predicts_tokens(model_of(*OTHELLO))) == (60, False)
    plain = model_of(20, -1)
    assert (n_outputs(plain), predicts_tokens(plain)) == (20, True)


def test_the_estimate_is_half_the_variance_of_the_change_of_the_logits() -> None:
    """Against the tangent of at a time: no sign is drawn there."""
    made = Made(OTHELLO)
    batch = made.batch(2)
    drawn = DistributionEffect(seed=3, draws=400).estimates(made.model, made.codecs, batch).changes
    for layer in LAYERS:
        largest = np.argsort(-drawn[layer])[:6]
        for entry in [*largest, 0, 5]:
            clean, change = tangents(made, batch, layer, int(entry))
            p = clean.softmax(-1)
            variance = (p * change.square()).sum(-1) - (p * change).sum(-1).square()
            exact = float((variance * batch.counted[0].double()).sum() / 2)
            assert drawn[layer][entry] == pytest.approx(exact, rel=5 * (2 / 400) ** 0.5, abs=1e-9)


def test_half_the_variance_is_the_divergence_of_a_small_ablation() -> None:
    made = Made(OTHELLO)
    batch, kind, small = made.batch(1), DistributionEffect(seed=0), 0.02
    for layer, codec in made.codecs.items():
        clean, change = tangents(made, batch, layer, 0)
        p = clean.softmax(-1)
        expected = float(((p * change.square()).sum(-1) - (p * change).sum(-1).square()).sum() / 2)
        logits = torch.stack([clean, clean + small * change])
        counted = torch.ones(2, CONTEXT, dtype=torch.bool)
        assert float(kind.changes(logits, batch.tokens[[0, 0]], counted)) / small**2 == pytest.approx(expected, rel=0.05)
        assert codec.site.layer == layer


@pytest.mark.parametrize("last", [False, True])
def test_one_output_is_measured_by_its_absolute_change(last: bool) -> None:
    made = Made(VALUE)
    batch = made.batch(2)
    found = ValueEffect(last=last).estimates(made.model, made.codecs, batch).changes
    for layer in LAYERS:
        for entry in np.argsort(-found[layer])[:5]:
            _, change = tangents(made, batch, layer, int(entry))
            exact = float(change[-1 if last else slice(None), 0].abs().sum())
            assert found[layer][entry] == pytest.approx(exact, rel=1e-3)
    assert sum(v.sum() for v in found.values()) > 0


def test_only_counted_positions_count() -> None:
    counted = torch.tensor([[False, True, True, False], [True, False, False, False], [False] * 4])
    assert counting(counted, last=False).equal(counted)
    assert counting(counted, last=True).tolist() == [[False, False, True, False], [True, False, False, False], [False] * 4]


def test_the_batch_changes_nothing(made: Made) -> None:
    whole = measure_effects(made.model, made.codecs, made.store, made.cfg)
    parts = measure_effects(made.model, made.codecs, made.store, made.cfg.model_copy(update={"batch_size": 3}))
    for layer in LAYERS:
        np.testing.assert_allclose(parts.magnitude[layer], whole.magnitude[layer], rtol=1e-3, atol=1e-7)
        assert np.isnan(whole.signed[layer]).all()


def test_the_estimate_ranks_features_as_real_ablation_does(made: Made) -> None:
    effects = measure_effects(made.model, made.codecs, made.store, made.cfg)
    check = check_by_ablation(made.model, made.codecs, made.store, effects, 60)
    assert effects.kind.name == "output"
    assert check.n_features > 40
    assert check.spearman is not None
    assert check.spearman > 0.7
    assert check.sign_agreement is None
    assert check.median_ratio is not None
    assert 0.4 < check.median_ratio < 2.5


def test_offered_for_models_of_the_next_token_too() -> None:
    made = Made((50, 50))
    by_loss = measure_effects(made.model, made.codecs, made.store, made.cfg)
    by_output = measure_effects(made.model, made.codecs, made.store, made.cfg.model_copy(update={"importance_effect": "output"}))
    assert (by_loss.kind.name, by_output.kind.name) == ("loss", "output")
    assert all(np.nanmin(by_output.magnitude[layer]) >= 0 for layer in LAYERS)


def test_every_stage_runs(made: Made, tmp_path: Any) -> None:
    """The stages of a run directory, from tokens to the report; the model is handed over, since no folder can hold it."""
    cfg = made.cfg.model_copy(update={"output_dir": str(tmp_path / "run")})

    def collect(context: RunContext) -> StageResult:
        context._analysed = AnalysedModel.of(made.model, made.saes, context.cfg)
        return StageResult(collect_activations(made.model, made.saes, context.cfg, made.tokens, path=context.paths.activations).n_tokens)

    run_with(STAGE_FUNCTIONS | {"collect": collect}, cfg)
    paths = RunPaths.of(cfg.output_dir)
    pairs = CandidateSet.load(paths.candidates, ActivationStore.load(paths.activations))
    assert pairs.facts["importance"]["effect"] == "output"
    assert pairs.facts["importance"]["check"]["spearman"] > 0.5
    assert len(pairs) > 50
    assert load_graph(paths.graph_json).number_of_edges() > 0
    assert json.loads((paths.root / "behaviors.json").read_text())["behaviors"] == []
    assert "The graph" in paths.report.read_text()


def test_the_loss_is_refused_where_there_is_none(made: Made) -> None:
    cfg = made.cfg.model_copy(update={"importance_effect": "loss"})
    atlas = build_coactivation_atlas(made.store, cfg)
    with pytest.raises(CandidateError, match=r"importance_effect: got loss, but the model's \d+ outputs? do not stand for its \d+ tokens"):
        identify_candidates(atlas, made.saes, cfg, activation_store=made.store, model=made.model)


def test_a_behaviour_says_that_it_cannot_be_read(made: Made) -> None:
    graph = build_interaction_graph([], made.cfg)
    if n_outputs(made.model) == 1:
        with pytest.raises(BehaviorError, match=r"the model has one output, so there is no answer to prefer"):
            extract_behavior_subgraph(made.model, made.saes, graph, "factual_recall", made.cfg)
        return
    found = extract_behavior_subgraph(made.model, made.saes, graph, "factual_recall", made.cfg)
    assert not found.confirmed
    assert "outputs do not stand for its" in found.warnings[0]


def test_steering_compares_what_there_is(made: Made) -> None:
    store, cfg = made.store, made.cfg
    atlas = build_coactivation_atlas(store, cfg)
    pairs = identify_candidates(atlas, made.saes, cfg, activation_store=store, model=made.model)
    graph = build_interaction_graph(measure_interactions(made.model, made.saes, pairs, cfg, progress=False), cfg)
    source = max((n for n in graph if graph.nodes[n]["layer"] == 0), key=graph.out_degree)
    target = max(graph.successors(source), key=lambda n: graph.edges[source, n]["weight"])
    found = side_effects(made.model, made.saes, graph, store, source, 2.0, cfg, SideEffectsOptions(horizon=2, min_documents=2))
    here = found.output.iloc[0]
    assert np.isnan(found.output["next_change"]).all()
    assert here["kl"] > 0
    assert "nan" not in found.summary()
    if n_outputs(made.model) == 1:
        assert set(found.output["measure"]) == {"|Δ output|"}
        assert found.tokens.empty
    else:
        assert set(found.output["measure"]) == {"KL"}
        assert found.tokens["text"].str.startswith("output ").all()
        assert found.tokens["token"].max() < n_outputs(made.model)
    countered = compensate(
        made.model, made.saes, graph, store, source, 2.0, [target], cfg, CompensationOptions(horizon=2, min_documents=2, aim="measured")
    )
    assert countered.output.empty or set(countered.output["measure"]) == set(found.output["measure"])
    assert "compensating" in countered.summary().lower()


def test_the_next_token_loss_as_an_objective_is_refused() -> None:
    model, tokens = model_of(*OTHELLO), torch.full((1, CONTEXT), 62)
    with pytest.raises(InterventionError, match=r"token 62 is none of the model's 60 outputs"):
        residual_gradients(model, tokens, [1], next_token_loss(tokens))


@pytest.mark.parametrize("name", ["so_far", "repeats"])
def test_a_compiled_program_is_ranked_by_its_own_result(name: str) -> None:
    """Its outputs are the directions of the result: behind the last block nothing else can matter."""
    program = load_program(name)
    loaded = as_hooked(program, d_model=128)
    cfg = loaded.config(40 * program.context, importance_tokens=10 * program.context)
    store = collect_activations(loaded.model, loaded.saes, cfg, program.random_tokens(40, seed=0))
    atlas = build_coactivation_atlas(store, cfg)
    pairs = identify_candidates(atlas, loaded.saes, cfg, activation_store=store, model=loaded.model)
    assert pairs.facts["importance"]["effect"] == "output"
    last = pairs.importance[max(loaded.saes)]
    names = {program.variable(i) for i in np.flatnonzero(np.nan_to_num(last) > 1e-9)}
    assert names == {program.output}


def test_importance_zero_takes_a_place_that_is_left() -> None:
    ranking = np.array([0.0, 3.0, 0.0, 0.0, 1.0])
    frequency = np.array([0.5, 0.1, 0.0, 0.6, 0.2])  # number 2 is dead
    importance = Importance({0: ranking}, {0: frequency})
    assert [importance.top(0, k).tolist() for k in (1, 2, 3, 4, 9)] == [[1], [1, 4], [1, 3, 4], [0, 1, 3, 4], [0, 1, 3, 4]]


def test_a_model_that_nothing_moves_keeps_its_live_features() -> None:
    """An unembedding of zeros: every importance is 0, and every live feature is kept, no dead one."""
    made = Made(OTHELLO)
    made.model.unembed.W_U.data.zero_()
    atlas = build_coactivation_atlas(made.store, made.cfg)
    pairs = identify_candidates(
        atlas, made.saes, config(top_k_features=1000, rescue_fraction=0, alignment="off"), activation_store=made.store, model=made.model
    )
    live = {layer: int((atlas.active[layer] > 0).sum()) for layer in LAYERS}
    assert pairs.stages[0].after == live[0] * live[1] + live[1] * live[2] + live[0] * live[2] * ((0, 2) in atlas.layer_pairs)
    assert all(np.nanmax(pairs.importance[layer]) == 0 for layer in LAYERS)


def test_going_on_from_a_site_gives_the_models_own_output(made: Made) -> None:
    batch = made.batch(2)
    for codec in made.codecs.values():
        logits, cache = made.model.run_with_cache(batch.tokens, names_filter=codec.site.hook)
        torch.testing.assert_close(logits_from(made.model, cache[codec.site.hook], codec.site.point, batch.tokens), logits)
