"""Seeds of behaviours: exact on a hand-written model that agrees subject and verb, and fast == plain on small random models."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from feature_graph.artifacts import ArtifactError
from feature_graph.interventions import AnalysedModel, ModelSlices, ablate
from feature_graph.subgraphs import (
    Behavior,
    BehaviorError,
    PromptPair,
    StudyOptions,
    choose_behavior_seeds,
    extract_behavior_subgraph,
    load_seeds,
    save_seeds,
    study_behavior,
)
from feature_graph.subgraphs.effects import BehaviorModel
from feature_graph.subgraphs.tokens import PromptTokens
from tests.support.agreement_model import NOUNS, WORDS, agreement, random_prompts, toy_model, toy_saes
from tests.support.tiny_models import make_tiny


def test_the_features_that_decide_are_found_with_their_exact_effects() -> None:
    G = nx.DiGraph()
    G.add_node("L0_F0", layer=0, label="one thing")
    G.add_node("L1_F5", layer=1, label="")
    G.add_edge("L0_F0", "L1_F5", strength=1.0, direct=1.0)
    found = extract_behavior_subgraph(toy_model(), toy_saes(), G, behavior=agreement(), top_k_seeds=4, max_prompts=64)
    effects = {s["feature_id"]: s["effect_size"] for s in found.seed_features}
    # each direction is there in half of the prompts of every noun, once a layer
    assert effects == pytest.approx({"L0_F0": 1.0, "L1_F0": 1.0, "L0_F1": 1.5, "L1_F1": 1.5}, abs=1e-5)
    assert all(s["attribution"] == pytest.approx(s["effect_size"], abs=1e-5) for s in found.seed_features)  # the model is linear
    assert [s["rank"] for s in found.seed_features] == [1, 2, 3, 4]
    assert found.confirmed
    assert all(s["confirmed"] for s in found.seed_features)
    assert found.warnings == ()
    assert found.score is not None
    assert (found.score.clean, found.score.corrupted, found.score.accuracy) == pytest.approx((2.5, -2.5, 1.0))
    assert found.score.ablated == pytest.approx(0.0, abs=1e-5)
    assert found.score.groups == 16
    assert {n: d["seed"] for n, d in found.subgraph.nodes(data=True)} == {
        "L0_F0": True, "L1_F0": True, "L0_F1": True, "L1_F1": True, "L1_F5": False,
    }  # fmt: skip
    labels = {s["feature_id"]: s["label"] for s in found.seed_features}
    assert labels["L0_F0"] == "one thing"
    assert labels["L1_F1"].startswith("the«noun")
    assert labels["L1_F1"].endswith("s»")
    assert {s["feature_id"]: s["in_graph"] for s in found.seed_features}["L1_F1"] is False


def test_seeds_are_chosen_without_a_graph_kept_and_taken_up_again(tmp_path: Path) -> None:
    model, saes, G = toy_model(), toy_saes(), nx.DiGraph()
    options = StudyOptions(max_prompts=64, top_k_seeds=4)
    chosen = choose_behavior_seeds(model, saes, agreement(), options=options)
    assert [seed.effect for seed in chosen] == pytest.approx([1.5, 1.5, 1.0, 1.0], abs=1e-5)
    assert all(seed.integrated == pytest.approx(seed.attribution, abs=1e-5) for seed in chosen)  # the model is linear
    save_seeds(tmp_path / "seeds.json", {"agreement": chosen, "none": []})
    assert load_seeds(tmp_path / "seeds.json") == {"agreement": chosen, "none": []}
    taken = extract_behavior_subgraph(model, saes, G, behavior=agreement(), max_prompts=64, seeds=chosen)
    studied = study_behavior(model, saes, G, agreement(), options=options)
    assert taken.seed_features == studied.subgraph.seed_features
    assert {s["feature_id"] for s in taken.seed_features} == {"L0_F0", "L1_F0", "L0_F1", "L1_F1"}
    (tmp_path / "seeds.json").write_text('{"kind": "behaviors", "version": 1}')
    with pytest.raises(ArtifactError, match="got kind behaviors version 1; expected seeds version 1"):
        load_seeds(tmp_path / "seeds.json")


def test_a_behaviour_that_the_model_cannot_do_gives_seeds_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = extract_behavior_subgraph(
            toy_model(gain=-1.0), toy_saes(), nx.DiGraph(), behavior=agreement(), top_k_seeds=4, max_prompts=64
        )
    assert not found.confirmed
    assert any("the model cannot do it: logit difference -2.50" in warning for warning in found.warnings)
    assert "agreement: the model cannot do it" in caplog.text
    assert {s["feature_id"] for s in found.seed_features} == {"L0_F0", "L1_F0", "L0_F1", "L1_F1"}
    assert all(s["effect_size"] < 0 for s in found.seed_features)
    assert "NOT confirmed" in found.summary()


def test_a_preference_that_ignores_the_prompt_is_not_a_behaviour() -> None:
    model = toy_model(gain=0.0)
    with torch.no_grad():
        model.unembed.b_U[WORDS.index("is")] = 1.0
    behavior = Behavior("always", "", tuple(PromptPair(f"the {n}", f"the {n}s", (" is",), (" are",), n) for n in NOUNS))
    found = extract_behavior_subgraph(model, toy_saes(), nx.DiGraph(), behavior=behavior)
    assert not found.confirmed
    assert any("does not follow from the prompt: +1.00 clean, +1.00 corrupted" in warning for warning in found.warnings)
    assert found.seed_features == []
    assert any("no feature" in warning for warning in found.warnings)


def test_few_groups_cannot_confirm() -> None:
    found = extract_behavior_subgraph(toy_model(), toy_saes(), nx.DiGraph(), behavior=agreement(NOUNS[:6]), top_k_seeds=2)
    assert not found.confirmed
    assert [s["confirmed"] for s in found.seed_features] == [False, False]
    assert any("3 held-out groups" in warning for warning in found.warnings)


def test_answers_of_several_tokens_are_left_out_and_counted() -> None:
    odd = tuple(PromptPair(f"the {n}", f"the {n}s", (" is not",), (" are",), n) for n in NOUNS[:5])
    behavior = Behavior("agreement", "", (*agreement().pairs, *odd))
    found = extract_behavior_subgraph(toy_model(), toy_saes(), nx.DiGraph(), behavior=behavior, top_k_seeds=2)
    assert found.score is not None
    assert found.score.dropped == {"no single-token answer": 5}


@pytest.mark.parametrize("without", ["tokenizer", "answers"])
def test_unreadable_prompts_give_measured_seeds_a_warning_and_no_confirmation(without: str) -> None:
    tiny = make_tiny("gpt2")
    if without == "answers":
        tiny.model.tokenizer = toy_model().tokenizer
    found = extract_behavior_subgraph(tiny.model, tiny.saes, nx.DiGraph(), top_k_seeds=5)
    assert not found.confirmed
    assert len(found.seed_features) == 5
    assert found.subgraph.number_of_nodes() == 5
    assert any("own choice of output" in warning for warning in found.warnings)
    assert any(abs(s["effect_size"]) > 0.01 for s in found.seed_features)
    assert found.score is not None
    assert found.score.accuracy == 1.0  # right is what the model says


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"behavior": "counting"}, "got 'counting', expected one of factual_recall, indirect_object, greater_than, subject_verb_agreement"),
        ({"n_hops": -1}, "n_hops: got -1, expected at least 0"),
        ({"top_k_seeds": 0}, "top_k_seeds: got 0, expected at least 1"),
    ],
)
def test_bad_requests_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BehaviorError, match=message):
        extract_behavior_subgraph(SimpleNamespace(), {}, nx.DiGraph(), **options)


@pytest.mark.parametrize(("shape", "kind"), [("gpt2", "standard"), ("llama", "topk"), ("gemma2", "jumprelu"), ("pythia", "standard")])
def test_removal_behind_cached_prefixes_equals_the_plain_run(shape: str, kind: str) -> None:
    tiny = make_tiny(shape, kind)
    model = BehaviorModel(AnalysedModel(ModelSlices(tiny.model), tiny.codecs))
    prompts = random_prompts()
    clean = model.clean(prompts)
    features = [(layer, index) for layer in (0, 1, 3) for index in range(0, 40, 7)]
    fast = model.effects(prompts, clean, model.removals(prompts, clean, features))
    with torch.no_grad():
        before = prompts.metric(tiny.model(prompts.tokens)[torch.arange(len(prompts)), prompts.last])
    for k, (layer, index) in enumerate(features):
        after = prompts.metric(ablate(model.slices, tiny.codecs, prompts.tokens, {layer: [index]}, prompts.last, prompts.mask()))
        np.testing.assert_allclose(fast[k], (before - after).numpy(), atol=2e-4)
    assert np.abs(fast).max() > 0.01


def test_what_is_not_there_has_no_effect_at_all() -> None:
    tiny = make_tiny("gpt2")
    with torch.no_grad():
        tiny.saes[0].b_enc[3] = -1e6
    tiny.__post_init__()
    model = BehaviorModel(AnalysedModel(ModelSlices(tiny.model), tiny.codecs))
    prompts = random_prompts()
    clean = model.clean(prompts)
    assert (model.effects(prompts, clean, model.removals(prompts, clean, [(0, 3)])) == 0).all()


def test_padding_changes_nothing() -> None:
    tiny = make_tiny("llama", "topk")
    model = BehaviorModel(AnalysedModel(ModelSlices(tiny.model), tiny.codecs))
    prompts = random_prompts()
    short = prompts.take([3])
    cut = PromptTokens(short.texts, short.tokens[:, : int(short.last) + 1], short.last, short.right, short.wrong, short.groups)
    for layer, scores in model.attribution(short).items():
        np.testing.assert_allclose(scores, model.attribution(cut)[layer], atol=1e-5)


def test_attribution_is_the_effect_where_the_rest_is_linear() -> None:
    tiny = make_tiny("no_norm")
    model = BehaviorModel(AnalysedModel(ModelSlices(tiny.model), {3: tiny.codecs[3]}))  # after the last block: only the unembedding
    prompts = random_prompts()
    single = PromptTokens(
        prompts.texts, prompts.tokens, prompts.last, prompts.right[:, :1].clamp(min=0), prompts.wrong[:, :1], prompts.groups
    )
    clean = model.clean(single)
    effects = model.effects(single, clean, model.removals(single, clean, [(3, i) for i in range(40)])).mean(axis=1)
    np.testing.assert_allclose(model.attribution(single)[3], effects, atol=1e-4)
    assert np.abs(effects).max() > 0.01
