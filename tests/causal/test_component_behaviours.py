"""Behaviours in runs with dictionaries on components: as transformers' own model does when the tensor is changed, and a planted answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from feature_graph.artifacts import by_site
from feature_graph.dictionaries import SiteCodec
from feature_graph.graph import save_graph
from feature_graph.interventions import AnalysedModel, ModelSlices, ablate
from feature_graph.subgraphs import StudyOptions, choose_behavior_seeds, extract_behavior_subgraph, load_seeds, save_seeds, study_behavior
from feature_graph.subgraphs.effects import BehaviorModel
from feature_graph.subgraphs.faithfulness import FeatureKeeper, measure_faithfulness
from feature_graph.subgraphs.integrated import integrated_attribution
from feature_graph.subgraphs.outputs import output_effects
from feature_graph.subgraphs.tokens import PromptTokens, ReadPrompts, read_prompts, split_prompts
from tests.support.agreement_model import PLURAL, SINGULAR, agreement, chain_dictionaries, chain_model, random_prompts
from tests.support.component_models import added_to, as_hooked, own_tensors, transformers_model
from tests.support.component_sites import MODELS, all_codecs

PROMPTS = random_prompts(6, 11)
#: Sites that can be read and changed at modules of transformers' model, in the order of the model.
SITES = ("L1.z", "L1.attn", "L1.mlpin", "L1.tc", "L1.mlp", "L1", "L2.z", "L2.attn", "L2.mlpin", "L2.tc", "L2.mlp", "L2")


@dataclass(frozen=True)
class Both:
    """A model with dictionaries of every kind, and transformers' own of the same weights."""

    theirs: Any
    codecs: dict[str, SiteCodec]
    model: BehaviorModel

    def key(self, site: str) -> int:
        return next(key for key in self.model.codecs if str(key) == site)


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, SiteCodec]]:
    return {}


@pytest.fixture(scope="module", params=MODELS, ids=[name for _, name in MODELS])
def both(request: pytest.FixtureRequest, made: dict[str, dict[str, SiteCodec]]) -> Both:
    form, name = request.param
    model, codecs = all_codecs(form, name, made)
    named = {site: codecs[site] for site in SITES}
    return Both(transformers_model(name), named, BehaviorModel(AnalysedModel(ModelSlices(model), by_site(named))))


@torch.no_grad()
def logits_of(both: Both, prompts: PromptTokens = PROMPTS) -> Tensor:
    """Of transformers' model at the last positions."""
    logits: Tensor = both.theirs(prompts.tokens, use_cache=False).logits
    return logits[torch.arange(len(prompts)), prompts.last]


def tensor(codec: SiteCodec, side: str) -> tuple[int, str]:
    """Block and tensor as transformers' modules give them."""
    return (codec.site.point - 1, "resid_post") if codec.site.kind == "residual" else (codec.site.point, getattr(codec.site, side))


def activations(both: Both, site: str, prompts: PromptTokens = PROMPTS) -> Tensor:
    """Of a site's features on the prompts, [n, context, d_sae], from transformers' tensors; 0 where nothing is edited."""
    block, name = tensor(both.codecs[site], "reads")
    return both.codecs[site].record(own_tensors(both.theirs, block, prompts.tokens)[name]) * prompts.mask()[..., None]


def close(found: Any, expected: Any, scale: Tensor, parts: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, atol=parts * float(scale.abs().max()), rtol=0)


def test_ablating_a_feature_is_what_transformers_does(both: Both) -> None:
    clean, logits = both.model.clean(PROMPTS), logits_of(both)
    metric = PROMPTS.metric(logits)
    largest = 0.0
    for site, codec in both.codecs.items():
        acts = activations(both, site)
        features = acts.sum((0, 1)).topk(3).indices.tolist()
        removals = both.model.removals(PROMPTS, clean, [(both.key(site), index) for index in features])
        found = both.model.effects(PROMPTS, clean, removals)
        for row, index in zip(found, features, strict=True):
            with added_to(both.theirs, *tensor(codec, "writes"), -acts[..., index, None] * codec.w_dec[index]):
                after = logits_of(both)
            close(row, (metric - PROMPTS.metric(after)).numpy(), logits)
            plain = ablate(both.model.slices, both.model.codecs, PROMPTS.tokens, {both.key(site): [index]}, PROMPTS.last, PROMPTS.mask())
            close(plain, after, logits)
        largest = max(largest, float(np.abs(found).max()))
        assert np.abs(found).max() > 1e-3, site
    assert largest > 0.05


@torch.no_grad()
def edited(both: Both, prompts: PromptTokens, out: Mapping[str, np.ndarray[Any, Any]], levels: Mapping[int, Tensor]) -> Tensor:
    """Logits of transformers' model with features set to levels, one site after another in the order of the model."""
    with ExitStack() as stack:
        for site in SITES:
            codec, index = both.codecs[site], torch.as_tensor(out[site])
            block, name = tensor(codec, "reads")
            read = own_tensors(both.theirs, block, prompts.tokens)[name]
            change = (levels[both.key(site)][index] - codec.record(read)[..., index]) @ codec.w_dec[index]
            stack.enter_context(added_to(both.theirs, *tensor(codec, "writes"), change * prompts.mask()[..., None]))
        return logits_of(both, prompts)


def test_all_sites_at_their_means_in_the_order_of_the_model(both: Both) -> None:
    """Everything but some features of each site mean-ablated, errors and the skip connection as they come."""
    halves = ReadPrompts(PROMPTS.take([0, 1, 2]), PROMPTS.take([3, 4, 5]), {})
    keeper, logits = FeatureKeeper(both.model, halves), logits_of(both)
    whole = {site: activations(both, site) for site in SITES}
    n = int(PROMPTS.mask().sum())
    for site in SITES:
        np.testing.assert_allclose(keeper.means[both.key(site)], whole[site].sum((0, 1)) / n, atol=1e-4)
    rng = np.random.default_rng(0)
    kept = {site: rng.random(codec.d_sae) < 0.4 for site, codec in both.codecs.items()}
    expected = edited(both, PROMPTS, {site: np.flatnonzero(~kept[site]) for site in SITES}, keeper.means)
    metric = PROMPTS.metric(expected).numpy()
    close(keeper.metric(PROMPTS, {both.key(site): kept[site] for site in SITES}), metric, logits)
    assert np.abs(metric - PROMPTS.metric(logits).numpy()).max() > 0.05


def test_with_all_features_kept_the_model_is_itself(both: Both) -> None:
    halves = ReadPrompts(PROMPTS.take([0, 1, 2]), PROMPTS.take([3, 4, 5]), {})
    keeper, logits = FeatureKeeper(both.model, halves), logits_of(both)
    close(keeper.metric(PROMPTS, keeper.all_but({})), PROMPTS.metric(logits).numpy(), logits)
    active = {both.key(site): activations(both, site).sum((0, 1)).numpy() > 0 for site in SITES}  # dead ones are at their means already
    close(keeper.metric(PROMPTS, active), PROMPTS.metric(logits).numpy(), logits)


def gradient(both: Both, codec: SiteCodec, at: Tensor) -> Tensor:
    """Of the metric by what the site writes, with ``at`` [n, context, d_out] added there: transformers' model, torch's autograd."""
    push = at.detach().requires_grad_()
    with added_to(both.theirs, *tensor(codec, "writes"), push):
        logits = both.theirs(PROMPTS.tokens, use_cache=False).logits[torch.arange(len(PROMPTS)), PROMPTS.last]
        (found,) = torch.autograd.grad(PROMPTS.metric(logits).sum(), push)
    return found


def test_attribution_is_the_gradient_of_what_is_written(both: Both) -> None:
    found = both.model.attribution(PROMPTS)
    for site, codec in both.codecs.items():
        acts = activations(both, site)
        each = (acts * (gradient(both, codec, acts.new_zeros(*acts.shape[:2], codec.w_dec.shape[1])) @ codec.w_dec.T)).sum(1)
        expected = each.mean(0)  # every prompt is its own group
        np.testing.assert_allclose(found[both.key(site)], expected, atol=2e-5 * float(each.abs().max()))
        assert expected.abs().max() > 1e-3, site


def test_integrated_gradients_are_those_on_the_way_from_the_baseline(both: Both) -> None:
    baseline = {key: torch.linspace(0, 0.5, codec.d_sae) for key, codec in both.model.codecs.items()}
    found = integrated_attribution(both.model, PROMPTS, baseline, steps=2)
    for site in ("L1.z", "L1.attn", "L1.mlpin", "L1.tc", "L2.tc", "L2.mlp", "L2"):
        codec, key = both.codecs[site], both.key(site)
        change = (activations(both, site) - baseline[key]) * PROMPTS.mask()[..., None]
        path = change @ codec.w_dec
        mean = (gradient(both, codec, -0.75 * path) + gradient(both, codec, -0.25 * path)) / 2
        each = (change * (mean @ codec.w_dec.T)).sum(1)
        np.testing.assert_allclose(found[key], each.mean(0), atol=2e-5 * float(each.abs().max()))


@torch.no_grad()
def test_what_a_feature_writes_straight_into_the_metric_is_what_it_adds_to_the_stream(both: Both) -> None:
    clean, rows = both.model.clean(PROMPTS), torch.arange(len(PROMPTS))
    final = clean.run.residuals[both.model.slices.n_blocks][rows, PROMPTS.last]
    before = PROMPTS.metric(both.model.slices.logits(final))
    for site, codec in both.codecs.items():
        acts = activations(both, site)
        index = int(acts[rows, PROMPTS.last].sum(0).argmax())
        lost = -acts[..., index, None] * codec.w_dec[index]
        if codec.site.kind == "hook_z":  # transformers' own output projection, and the norm after it
            block = codec.site.point
            given = own_tensors(both.theirs, block, PROMPTS.tokens)["attn_out"]
            with added_to(both.theirs, block, "z", lost):
                lost = own_tensors(both.theirs, block, PROMPTS.tokens)["attn_out"] - given
        added = torch.zeros_like(final) if codec.site.kind == "mlp_in" else lost[rows, PROMPTS.last]
        expected = before - PROMPTS.metric(both.model.slices.logits(final + added))
        found = output_effects(both.model, PROMPTS, clean, [(both.key(site), index)])[:, 0]
        close(found, expected.numpy(), logits_of(both))
        assert (np.abs(found).max() > 1e-3) == (codec.site.kind != "mlp_in"), site


def test_the_middle_of_the_stream_too(made: dict[str, dict[str, SiteCodec]]) -> None:
    """Removal behind cached prefixes equals the plain run; no module of transformers' model gives the stream there."""
    model, codecs = all_codecs(as_hooked, "gpt2", made)
    behaviour = BehaviorModel(AnalysedModel(ModelSlices(model), by_site({"L1.mid": codecs["L1.mid"], "L2": codecs["L2"]})))
    (key, _), clean = behaviour.codecs, behaviour.clean(PROMPTS)
    metric = PROMPTS.metric(behaviour.logits(PROMPTS, clean))
    for index in (3, 20, 40):
        acts = codecs["L1.mid"].record(clean.reads[key])[..., index] * PROMPTS.mask()
        change = acts[..., None] * codecs["L1.mid"].w_dec[index]
        with torch.no_grad(), model.hooks(fwd_hooks=[("blocks.1.hook_resid_mid", lambda x, hook, change=change: x - change)]):
            after = PROMPTS.metric(model(PROMPTS.tokens)[torch.arange(len(PROMPTS)), PROMPTS.last])
        found = behaviour.effects(PROMPTS, clean, behaviour.removals(PROMPTS, clean, [(key, index)]))[0]
        close(found, (metric - after).numpy(), metric, 2e-5)
        assert np.abs(found).max() > 1e-3


#: A planted chain: MLP 0 passes the noun's number on, MLP 1 takes 0.6 of it by features and 0.4 by a skip connection to the verbs.
TRUTH = {"L0.tc_F0": 1.0, "L0.tc_F1": 1.5, "L1.tc_F0": 0.6, "L1.tc_F1": 0.9}


def test_the_features_that_decide_are_found_with_their_exact_effects(tmp_path: Path) -> None:
    G = nx.DiGraph()
    G.add_node("L1.tc_F1", layer=1, label="many")
    G.add_node("L1.tc_F7", layer=1, label="")
    G.add_edge("L0.tc_F1", "L1.tc_F1", strength=1.0, direct=1.0)
    G.add_edge("L1.attn_F5", "L1.tc_F7", strength=1.0, direct=1.0)
    found = extract_behavior_subgraph(chain_model(), chain_dictionaries(), G, behavior=agreement(), top_k_seeds=4, max_prompts=64)
    assert {s["feature_id"]: s["effect_size"] for s in found.seed_features} == pytest.approx(TRUTH, abs=1e-5)
    assert all(s["attribution"] == pytest.approx(s["effect_size"], abs=1e-5) for s in found.seed_features)  # linear where they are on
    assert found.confirmed
    assert found.warnings == ()
    assert found.score is not None
    assert (found.score.clean, found.score.corrupted) == pytest.approx((2.5, -2.5))
    assert found.score.ablated == pytest.approx(0.0, abs=1e-5)
    assert set(found.subgraph) == set(TRUTH)
    assert {type(seed["layer"]) for seed in found.seed_features} == {int}
    assert {(s["feature_id"], s["layer"], s["index"]) for s in found.seed_features} == {(i, int(i[1]), int(i[-1])) for i in TRUTH}
    labels = {s["feature_id"]: s["label"] for s in found.seed_features}
    assert labels["L1.tc_F1"] == "many"
    assert labels["L0.tc_F1"].endswith("s»")
    direct = {edge["feature_id"]: edge["effect"] for edge in found.outputs if edge["significant"]}
    assert direct == pytest.approx({"L1.tc_F0": 0.6, "L1.tc_F1": 0.9}, abs=1e-5)  # MLP 0 reaches the verbs through MLP 1 alone
    save_graph(found.subgraph, tmp_path / "part.graphml", format="graphml")
    save_graph(found.subgraph, tmp_path / "part.json", format="json")


def test_seeds_of_components_are_kept_and_taken_up_again(tmp_path: Path) -> None:
    model, saes, options = chain_model(), chain_dictionaries(), StudyOptions(max_prompts=64, top_k_seeds=4)
    chosen = choose_behavior_seeds(model, saes, agreement(), options=options)
    save_seeds(tmp_path / "seeds.json", {"agreement": chosen})
    again = load_seeds(tmp_path / "seeds.json")["agreement"]
    assert again == chosen
    assert [str(seed.layer) for seed in again] == [str(seed.layer) for seed in chosen]
    assert {f"{seed.layer}_F{seed.index}" for seed in again} == set(TRUTH)
    taken = extract_behavior_subgraph(model, saes, nx.DiGraph(), behavior=agreement(), max_prompts=64, seeds=again)
    studied = study_behavior(model, saes, nx.DiGraph(), agreement(), options=options)
    assert taken.seed_features == studied.subgraph.seed_features
    assert studied.faithfulness is not None
    assert studied.faithfulness.faithfulness.value == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("sites", "faithfulness", "completeness"),
    [
        (("L0.tc", "L1.tc"), 1.0, 1.0),
        (("L0.tc",), 0.4, 1.0),  # MLP 1 passes 0.4 on by its skip connection; without them nothing varies
        (("L1.tc",), 0.0, 0.6),  # with MLP 0 at its mean there is nothing to pass on
    ],
)
def test_faithfulness_of_parts_of_the_chain(sites: tuple[str, ...], faithfulness: float, completeness: float) -> None:
    model, saes = chain_model(), chain_dictionaries()
    analysed = AnalysedModel.of(model, saes, components=True)
    behaviour = BehaviorModel(analysed)
    choosing, held_out = split_prompts(read_prompts(model.tokenizer, agreement(), None, 8), 64, seed=0)
    members = {key: [SINGULAR, PLURAL] for key in behaviour.codecs if str(key) in sites}
    ranking = behaviour.attribution(choosing.clean)
    found = measure_faithfulness(behaviour, choosing, held_out.clean, members, ranking, n_random=2, n_sizes=2)
    assert (found.full, found.empty) == pytest.approx((2.5, 0.0), abs=1e-5)
    assert found.faithfulness.value == pytest.approx(faithfulness, abs=1e-5)
    assert found.completeness.value == pytest.approx(completeness, abs=1e-5)
