from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT
from feature_graph.candidates.attribution import ablation, check_by_ablation, importance_documents, measure_effects, rows_of_documents
from feature_graph.candidates.attribution.batch import Batch, ablation_estimates
from feature_graph.candidates.attribution.gradients import loss_from, site_gradients
from feature_graph.candidates.attribution.kinds import LossEffect
from feature_graph.config import Config
from feature_graph.dictionaries.build import build_codecs
from tests.support.selection_models import random_tokens, tiny_model, tiny_saes

LAYERS = [0, 1, 2]
CFG = Config(layers=LAYERS, context_length=10, position_horizon=2, sae_quality="off", importance_tokens=200, batch_size=7)


@pytest.fixture(scope="module")
def setup():
    model, saes = tiny_model(4), tiny_saes()
    store = collect_activations(model, saes, CFG, random_tokens(80))
    codecs = build_codecs(model, saes, CFG)
    return model, codecs, store, measure_effects(model, codecs, store, CFG)


def plain_loss(model, tokens, hooks=()):
    """Summed next-token loss of each document by TransformerLens' own hooks, float64."""
    with torch.no_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=list(hooks))
    return -F.log_softmax(logits[:, :-1].double(), dim=-1).gather(-1, tokens[:, 1:, None]).sum(dim=(1, 2))


def test_estimates_are_the_slope_of_a_real_ablation(setup):
    """Ablating one hundredth of a feature moves the loss by one hundredth of its estimate."""
    model, codecs, store, _ = setup
    document = np.array([4])
    tokens = torch.as_tensor(store.tokens[document])
    found = site_gradients(model, {n: c.site for n, c in codecs.items()}, tokens, torch.ones_like(tokens, dtype=torch.bool))
    for layer, codec in codecs.items():
        active = rows_of_documents(store, layer, document)
        estimates = ablation_estimates(codec, active, found.gradients[layer].flatten(0, 1))
        strongest = np.argsort(-np.abs(estimates))[:4]
        rows = np.repeat(np.arange(10), np.diff(active.indptr))
        for k in strongest:
            step = 0.01 * float(active.data[k]) * codec.w_dec[active.indices[k]]
            slopes = []
            for sign in (1, -1):

                def push(x, hook, row=rows[k], step=step, sign=sign):
                    x[:, row] -= sign * step
                    return x

                slopes.append(plain_loss(model, tokens, [(codec.site.hook, push)]).item())
            assert (slopes[0] - slopes[1]) / 0.02 == pytest.approx(estimates[k], rel=0.03, abs=2e-3)


def test_effects_are_means_over_active_tokens(setup):
    model, codecs, store, effects = setup
    documents = effects.documents
    tokens = torch.as_tensor(store.tokens[documents])
    found = site_gradients(model, {n: c.site for n, c in codecs.items()}, tokens, torch.ones_like(tokens, dtype=torch.bool))
    for layer, codec in codecs.items():
        active = rows_of_documents(store, layer, documents).toarray()
        each = -active * (found.gradients[layer].flatten(0, 1) @ codec.w_dec.T).numpy()
        on = (active > 0).sum(axis=0)
        seen = on > 0
        np.testing.assert_array_equal(effects.n_active[layer], on)
        np.testing.assert_allclose(effects.magnitude[layer][seen], np.abs(each).sum(axis=0)[seen] / on[seen], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(effects.signed[layer][seen], each.sum(axis=0)[seen] / on[seen], rtol=1e-3, atol=1e-3)
        assert np.isnan(effects.magnitude[layer][~seen]).all()
        assert not seen[0]


def test_batch_size_changes_nothing(setup):
    model, codecs, store, effects = setup
    other = measure_effects(model, codecs, store, CFG.model_copy(update={"batch_size": 3}))
    for layer in codecs:
        np.testing.assert_allclose(other.magnitude[layer], effects.magnitude[layer], rtol=1e-3, atol=1e-5)


def test_loss_from_a_site_is_the_loss_of_the_whole_model(setup):
    model, codecs, store, _ = setup
    tokens = torch.as_tensor(store.tokens[:5])
    counted = torch.ones_like(tokens, dtype=torch.bool)
    found = site_gradients(model, {n: c.site for n, c in codecs.items()}, tokens, counted)
    expected = plain_loss(model, tokens)
    torch.testing.assert_close(found.loss, expected, rtol=1e-5, atol=1e-4)
    for layer, codec in codecs.items():
        torch.testing.assert_close(
            loss_from(model, found.residuals[layer], codec.site.point, tokens, counted), expected, rtol=1e-5, atol=1e-4
        )


def test_tokens_that_are_not_counted_have_no_part_in_the_loss(setup):
    model, codecs, store, _ = setup
    tokens = torch.as_tensor(store.tokens[:5])
    counted = torch.ones_like(tokens, dtype=torch.bool)
    counted[:, 6:] = False
    sites = {n: c.site for n, c in codecs.items()}
    found = site_gradients(model, sites, tokens, counted)
    torch.testing.assert_close(found.loss, plain_loss(model, tokens[:, :6]), rtol=1e-5, atol=1e-4)
    assert all((gradient[:, 6:] == 0).all() and (gradient[:, :5] != 0).any() for gradient in found.gradients.values())


def test_the_model_is_left_as_it_was(setup):
    model, codecs, store, _ = setup
    learning = [p.requires_grad for p in model.parameters()]
    assert any(learning)
    measure_effects(model, codecs, store, CFG)
    assert [p.requires_grad for p in model.parameters()] == learning
    assert all(p.grad is None for p in model.parameters())
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_a_hook_that_does_not_fire_is_an_error(setup):
    model, codecs, store, _ = setup
    sites = {0: codecs[0].site, 9: dataclasses.replace(codecs[0].site, layer=9, hook="blocks.9.hook_resid_post", point=10)}
    tokens = torch.as_tensor(store.tokens[:2])
    with pytest.raises((ValueError, KeyError), match=r"blocks\.9\.hook_resid_post"):
        site_gradients(model, sites, tokens, torch.ones_like(tokens, dtype=torch.bool))


def test_importance_reads_select_documents_only(setup):
    _, _, store, effects = setup
    assert (store.splits[effects.documents] == SELECT).all()
    assert 1 <= len(effects.documents) <= 20
    assert np.all(np.diff(effects.documents) > 0)
    np.testing.assert_array_equal(importance_documents(store, CFG), effects.documents)
    fewer = importance_documents(store, CFG.model_copy(update={"importance_tokens": 50}))
    assert len(fewer) == 5
    assert set(fewer) <= set(effects.documents)


def test_the_check_agrees_on_a_model_where_the_first_order_is_good(setup):
    model, codecs, store, effects = setup
    check = check_by_ablation(model, codecs, store, effects)
    assert check.n_features == 24
    assert check.n_samples > check.n_features
    assert check.spearman is not None
    assert check.spearman > 0.7
    assert check.sign_agreement is not None
    assert check.sign_agreement > 0.8


def test_the_check_really_ablates(setup):
    """Its changes of the loss are those of plain hooks on the whole model."""
    model, codecs, store, effects = setup
    batch = Batch.of(store, codecs, effects.documents[:3])
    tokens = batch.tokens
    estimated = LossEffect().estimates(model, codecs, batch)
    for layer, codec in codecs.items():
        samples = ablation._samples(layer, batch, effects, estimated, 4)
        real = ablation._ablate(model, codec, samples, estimated.residuals[layer], batch, LossEffect())
        assert len(real) == len(samples) > 3
        for row, change in zip(samples.itertuples(), real, strict=True):

            def remove(x, hook, row=row, codec=codec):
                x[0, row.position] -= row.level * codec.w_dec[row.feature]
                return x

            one = tokens[[row.document]]
            expected = plain_loss(model, one, [(codec.site.hook, remove)]) - plain_loss(model, one)
            assert change == pytest.approx(expected.item(), abs=2e-4, rel=1e-3)


@pytest.mark.parametrize(("real", "spearman", "signs"), [([1, 2, -3, 4], 1, 0.75), ([4, 3, -2, 1], -1, 0.75), ([-1, -2, -3, -4], 1, 0)])
def test_agreement_can_be_bad(real, spearman, signs):
    samples = pd.DataFrame({"layer": 0, "feature": range(4), "estimate": [1.0, 2.0, 3.0, 4.0], "real": np.array(real, dtype=float)})
    check = ablation._compare(samples, LossEffect())
    assert check.spearman == pytest.approx(spearman)
    assert check.sign_agreement == signs


def test_agreement_is_unknown_where_nothing_moves():
    samples = pd.DataFrame({"layer": 0, "feature": range(4), "estimate": 1e-6, "real": 1e-6})
    check = ablation._compare(samples, LossEffect())
    assert (check.n_features, check.spearman, check.sign_agreement, check.median_ratio) == (4, None, None, None)
