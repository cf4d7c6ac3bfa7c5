"""Faithfulness and completeness: exact on the hand-written model that agrees subject and verb, consistent on random models."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from feature_graph.dictionaries.build import build_codecs
from feature_graph.interventions import AnalysedModel, ModelSlices
from feature_graph.subgraphs.effects import BehaviorModel
from feature_graph.subgraphs.faithfulness import FeatureKeeper, measure_faithfulness, size_for
from feature_graph.subgraphs.integrated import integrated_attribution
from feature_graph.subgraphs.outputs import output_effects
from feature_graph.subgraphs.study import StudyOptions, study_behavior
from feature_graph.subgraphs.tokens import ReadPrompts, read_prompts, split_prompts
from tests.support.agreement_model import PLURAL, SINGULAR, agreement, random_prompts, toy_model, toy_saes
from tests.support.tiny_models import make_tiny


@pytest.fixture(scope="module")
def toy() -> BehaviorModel:
    model = toy_model()
    return BehaviorModel(AnalysedModel(ModelSlices(model), build_codecs(model, toy_saes())))


@pytest.fixture(scope="module")
def halves() -> tuple[ReadPrompts, ReadPrompts]:
    prompts = read_prompts(toy_model().tokenizer, agreement(), None, 8)
    return split_prompts(prompts, 64, seed=0)


def measured(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts], members: dict[int, list[int]]) -> Any:
    keeper = FeatureKeeper(toy, halves[0])
    ranking = toy.attribution(halves[0].clean, keeper.means)
    return measure_faithfulness(toy, halves[0], halves[1].clean, members, ranking, n_random=3, n_sizes=5)


def test_the_true_circuit_is_faithful_and_complete(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]) -> None:
    found = measured(toy, halves, {0: [SINGULAR, PLURAL], 1: [SINGULAR, PLURAL]})
    assert (found.full, found.empty, found.size) == pytest.approx((2.5, 0.0, 4), abs=1e-5)
    assert found.faithfulness.value == pytest.approx(1.0, abs=1e-5)
    assert found.completeness.value == pytest.approx(1.0, abs=1e-5)
    assert (found.faithfulness.ci_low, found.faithfulness.ci_high) == pytest.approx((1.0, 1.0), abs=1e-5)
    assert found.random_faithfulness.value < 0.5  # drawn among 64 words and the two numbers
    assert found.curve[0].faithfulness.value == pytest.approx(1.0, abs=1e-5)  # attribution ranks the four first
    assert found.size_for_80 == found.curve[0].size == 10


def test_half_of_the_circuit_carries_its_known_share(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]) -> None:
    """Singular alone: 2 − 1.5 after a singular noun, 1.5 − 0 after a plural one, of 2.5; both halves of the numbers are alike here."""
    found = measured(toy, halves, {0: [SINGULAR], 1: [SINGULAR]})
    assert found.faithfulness.value == pytest.approx(0.4, abs=1e-5)
    assert found.completeness.value == pytest.approx(0.4, abs=1e-5)


def test_a_node_at_one_site_only_changes_nothing_before_it_is_passed_on(
    toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]
) -> None:
    """The same direction is a feature of both sites: kept at the first alone it is overwritten at the second."""
    first = measured(toy, halves, {0: [SINGULAR, PLURAL]})
    assert first.faithfulness.value == pytest.approx(0.0, abs=1e-5)
    assert first.completeness.value == pytest.approx(1.0, abs=1e-5)


def test_everything_kept_is_the_model_itself(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]) -> None:
    keeper = FeatureKeeper(toy, halves[0])
    prompts = halves[1].clean
    kept = keeper.metric(prompts, keeper.all_but({}))
    assert kept == pytest.approx(prompts.metric(toy.logits(prompts)).double().numpy(), abs=1e-6)


def test_integrated_gradients_add_up_to_the_change_of_the_metric(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]) -> None:
    """At each site the attributions sum to m(clean) − m(features of that site at the baseline)."""
    prompts = halves[0].clean
    means = FeatureKeeper(toy, halves[0]).means
    found = integrated_attribution(toy, prompts, means, steps=3)
    for layer in toy.codecs:
        others = {k: np.ones(c.d_sae, bool) for k, c in toy.codecs.items() if k != layer}
        without = FeatureKeeper(toy, halves[0]).metric(prompts, others)
        change = prompts.metric(toy.logits(prompts)).double().numpy() - without
        assert found[layer].sum() == pytest.approx(change.mean(), abs=1e-4)


def test_integrated_gradients_need_a_step(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]) -> None:
    with pytest.raises(ValueError, match="steps: got 0"):
        integrated_attribution(toy, halves[0].clean, {}, steps=0)


def test_the_baseline_of_the_attribution_is_subtracted(toy: BehaviorModel, halves: tuple[ReadPrompts, ReadPrompts]) -> None:
    prompts = halves[0].clean
    zero = {layer: torch.zeros(codec.d_sae) for layer, codec in toy.codecs.items()}
    plain, from_zero = toy.attribution(prompts), toy.attribution(prompts, zero)
    from_mean = toy.attribution(prompts, FeatureKeeper(toy, halves[0]).means)
    for layer in toy.codecs:
        assert plain[layer] == pytest.approx(from_zero[layer])
        # Against its mean a direction counts twice: in the prompts that have it, and in those that lack it.
        assert from_mean[layer][SINGULAR] == pytest.approx(plain[layer][SINGULAR], abs=1e-5)


@pytest.mark.parametrize(
    ("sizes", "shares", "expected"),
    [
        ([10, 100], [0.6, 1.0], 10 * 10**0.5),
        ([10, 100], [0.9, 1.0], 10.0),
        ([10, 100, 1000], [0.9, 0.5, 1.1], 100 * 10**0.5),
        ([10, 100], [0.1, 0.7], None),
        ([10, 100], [float("nan"), 1.0], 100.0),
        ([], [], None),
    ],
)
def test_the_size_is_read_off_the_curve(sizes: list[int], shares: list[float], expected: float | None) -> None:
    found = size_for(0.8, sizes, shares)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_study_ties_seeds_subgraph_faithfulness_and_output_together() -> None:
    options = StudyOptions(top_k_seeds=4, max_prompts=64, n_random=2, n_sizes=3)
    found = study_behavior(toy_model(), toy_saes(), nx.DiGraph(), agreement(), options=options)
    assert found.subgraph.confirmed
    assert all(s["integrated"] == pytest.approx(1.0 if s["index"] == SINGULAR else 1.5, abs=0.02) for s in found.subgraph.seed_features)
    assert found.faithfulness is not None
    assert found.faithfulness.faithfulness.value == pytest.approx(1.0, abs=1e-5)
    # The toy's blocks are empty: all that a feature does it writes straight into the output, half of the prompts each.
    direct = {edge["feature_id"]: edge["effect"] for edge in found.subgraph.outputs}
    assert direct == pytest.approx({"L0_F0": 1.0, "L1_F0": 1.0, "L0_F1": 1.5, "L1_F1": 1.5}, abs=1e-5)
    assert all(edge["significant"] for edge in found.subgraph.outputs)
    assert [e["effect"] for e in found.subgraph.to_dict()["outputs"]] == [e["effect"] for e in found.subgraph.outputs]


def test_what_the_model_cannot_do_has_no_faithfulness() -> None:
    found = study_behavior(toy_model(gain=-1.0), toy_saes(), nx.DiGraph(), agreement(), options=StudyOptions(top_k_seeds=4, max_prompts=64))
    assert found.faithfulness is None
    assert any("cannot do it" in warning for warning in found.subgraph.warnings)


def test_a_feature_read_by_a_later_block_alone_writes_nothing_straight() -> None:
    """On a random model, what reaches the output past all blocks is the metric with the final residual stream edited by hand."""
    tiny = make_tiny("gpt2")
    model = BehaviorModel(AnalysedModel(ModelSlices(tiny.model), build_codecs(tiny.model, tiny.saes)))
    prompts = random_prompts()
    clean = model.clean(prompts)
    layer, codec = next(iter(model.codecs.items()))
    last = clean.run.residuals[codec.site.point][torch.arange(len(prompts)), prompts.last]
    acts = codec.record(last)
    index = int(acts.mean(dim=0).argmax())
    final = clean.run.residuals[model.slices.n_blocks][torch.arange(len(prompts)), prompts.last]
    by_hand = prompts.metric(model.slices.logits(final)) - prompts.metric(
        model.slices.logits(final - acts[:, index, None] * codec.w_dec[index])
    )
    assert output_effects(model, prompts, clean, [(layer, index)])[:, 0] == pytest.approx(by_hand.double().numpy(), abs=1e-5)
