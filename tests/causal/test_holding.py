"""Direct effects: features of the sites between are held at their clean values, whatever overlaps with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from feature_graph.dictionaries import SiteCodec
from feature_graph.dictionaries.build import build_codecs
from feature_graph.evaluation.planted import PlantedModel, planted_model
from feature_graph.interactions.finish import held_facts, held_warnings
from feature_graph.interventions import Clamps, ModelSlices, Reading, clamp_effects, hold_clean, restore_clean
from feature_graph.interventions.holding import hold_change
from feature_graph.interventions.reference import run_hooked
from tests.support.clamping import clamps_of, setting
from tests.support.tiny_models import Tiny, make_tiny, tiny_model, tiny_saes


def codec_of(encoders: list[list[float]], decoders: list[list[float]], bias: list[float]) -> SiteCodec:
    """A ReLU dictionary by hand."""
    codec = make_tiny("gpt2").codecs[1]
    one = torch.ones(len(bias))
    return replace(
        codec,
        w_enc=torch.tensor(encoders).float().T,
        w_dec=torch.tensor(decoders).float(),
        b_enc=torch.tensor(bias).float(),
        shipped_scale=one,
        decoder_norm=one,
    )


@pytest.fixture(scope="module")
def overlapping() -> PlantedModel:
    return planted_model(0, n_docs=24, context=12, overlap=0.25)


def samples_of(planted: PlantedModel, site: int, features: range) -> tuple[Clamps, torch.Tensor]:
    """Every place where a feature is active, from its largest value down to none; and the feature of each."""
    codec = build_codecs(planted.model, planted.saes)[site]
    slices = ModelSlices(planted.model)
    x = slices.residuals(planted.tokens, [site + 1]).residuals[site + 1]
    f = codec.encode(x, list(features))
    documents, positions, which = (f > 0.01).nonzero(as_tuple=True)
    value = f[documents, positions, which]
    source = torch.arange(codec.d_sae)[list(features)][which]
    return Clamps(documents, positions, codec.w_dec[source], f.amax((0, 1))[which] - value, -value), source


def test_features_between_are_those_of_the_clean_run_where_directions_overlap(overlapping: PlantedModel) -> None:
    slices, saes = ModelSlices(overlapping.model), overlapping.saes
    codecs = build_codecs(overlapping.model, saes)
    clean = slices.residuals(overlapping.tokens, range(1, 5), range(1, 4))
    summed_wrong = 0
    for site in (0, 1):
        clamps, _ = samples_of(overlapping, site, range(codecs[site].d_sae))
        assert len(clamps.documents) > 500
        x = clean.residuals[site + 1][clamps.documents, clamps.positions][:, None, None] + clamps.shift[:, :, None]
        now = slices.advance(x, site + 1, site + 2, clean, clamps.documents, clamps.positions)[:, :, 0]
        at = clean.residuals[site + 2][clamps.documents, clamps.positions]
        held = hold_clean(codecs[site + 1], now, at)
        wanted = saes[site + 1].encode(at)[:, None].expand(-1, 2, -1)
        torch.testing.assert_close(saes[site + 1].encode(held.x), wanted, rtol=0, atol=1e-4)
        assert float(held.stats.error.max()) < 1e-4
        assert float(held.stats.condition.max()) < 10
        assert (held.stats.rank > 0).all()
        assert (held.stats.rank <= held.stats.features).all()  # a feature and its twin carry one dimension
        summed = saes[site + 1].encode(restore_clean(codecs[site + 1], now, at[:, None]))
        summed_wrong += int(((summed - wanted).abs() > 0.01).any(-1).sum())
    assert summed_wrong > 50


@torch.no_grad()
def brute_force(planted: PlantedModel, clamps: Clamps, s: int, path: list[int]) -> torch.Tensor:
    """Direct effect on the last site of the path by hooks: features between are pushed back one step after the other until they stay."""
    saes, document, p = planted.saes, int(clamps.documents[s]), int(clamps.positions[s])
    context = torch.as_tensor(planted.tokens[document]).expand(2, -1)
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in (0, *path)]
    clean = run_hooked(planted.model, context, {}, hooks)

    def clamp(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, p] += clamps.shift[s]
        return x

    def pushed(x: torch.Tensor, sae: Any, at: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        members = (sae.encode(at) > 0).any(0) | (sae.encode(x[:, p]) > 0).any(0)
        for _ in range(60):
            moved = (x[:, p] - at) @ sae.W_enc * members
            x[:, p] -= moved @ sae.W_dec
            members = members | (sae.encode(x[:, p]) > 0).any(0)
        torch.testing.assert_close(sae.encode(x[:, p]), sae.encode(at), rtol=0, atol=1e-4)
        return x

    edits: dict[str, list[Any]] = {hooks[0]: [clamp]}
    for layer, hook in zip(path[:-1], hooks[1:], strict=False):
        edits[hook] = [lambda x, sae=saes[layer], at=clean[hook][:, p]: pushed(x, sae, at)]
    f = saes[path[-1]].encode(run_hooked(planted.model, context, edits, [hooks[-1]])[hooks[-1]][:, p])
    return f[0] - f[1]


@pytest.mark.parametrize("path", [[1, 2], [1, 2, 3]])
def test_the_direct_effect_is_that_of_a_run_whose_features_between_are_held_by_brute_force(
    overlapping: PlantedModel, path: list[int]
) -> None:
    slices, codecs = ModelSlices(overlapping.model), build_codecs(overlapping.model, overlapping.saes)
    clamps, _ = samples_of(overlapping, 0, range(codecs[0].d_sae))
    clean = slices.residuals(overlapping.tokens, range(1, 5), range(1, 4))
    counted = torch.ones(overlapping.tokens.shape, dtype=torch.bool)
    found = clamp_effects(slices, clean, 1, clamps, [Reading(codecs[layer], None) for layer in path], 0, counted)[-1]
    assert found.passed is not None
    wrong = (found.passed.direct_sum - found.direct).abs().amax(1)
    random = torch.randperm(len(wrong), generator=torch.Generator().manual_seed(0))
    some = [*random[:30].tolist(), *wrong.argsort(descending=True)[:30].tolist()]
    truth = torch.stack([brute_force(overlapping, clamps, s, path) for s in some])
    torch.testing.assert_close(found.direct[some], truth, rtol=1e-4, atol=1e-4)
    assert truth.abs().max() > 0.5
    assert (found.passed.direct_sum[some] - truth).abs().max() > 0.1


def test_the_plain_sum_gives_back_each_features_own_change() -> None:
    tiny = make_tiny("llama")
    slices, clean, counted = setting(tiny)
    clamps = clamps_of(tiny)
    found = clamp_effects(slices, clean, 1, clamps, [Reading(tiny.codecs[n], None) for n in (1, 3)], 0, counted)[1]
    x = clean.residuals[1][clamps.documents, clamps.positions][:, None, None] + clamps.shift[:, :, None]
    x = slices.advance(x, 1, 2, clean, clamps.documents, clamps.positions)
    sae, at = tiny.saes[1], clean.residuals[2][clamps.documents, clamps.positions][:, None, None]
    x = x + sae.decode(sae.encode(at)) - sae.decode(sae.encode(x))
    f = tiny.saes[3].encode(slices.advance(x, 2, 4, clean, clamps.documents, clamps.positions)[:, :, 0]) * tiny.codecs[3].decoder_norm
    assert found.passed is not None
    torch.testing.assert_close(found.passed.direct_sum, f[:, 0] - f[:, 1], rtol=1e-3, atol=1e-3)


def test_a_feature_that_is_switched_on_joins() -> None:
    """The second reads −x + 1.2y: what moves x hides y from it, until x is given back."""
    codec = codec_of([[1, 0, 0], [-1, 1.2, 0]], [[1, 0, 0], [0, 1, 0]], [0, 0])
    clean, now = torch.tensor([[1.0, 0, 0]]), torch.tensor([[[3.0, 2, 5], [1.0, 0, 0]]])
    assert (codec.encode(now)[..., 1] == 0).all()
    held = hold_clean(codec, now, clean)
    torch.testing.assert_close(held.x, torch.tensor([[[1.0, 0, 5], [1.0, 0, 0]]]))
    assert (held.stats.features.tolist(), held.stats.rank.tolist()) == ([2], [2])
    without = codec.encode(restore_clean(codec, now, clean[:, None]))
    assert without[0, 0, 1] == pytest.approx(1.4)  # the plain sum lets it fire


def test_twins_carry_one_dimension_and_what_writes_nothing_is_free() -> None:
    codec = codec_of([[0.5, 0, 0], [0.5, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0], [0, 0, 0]], [0, 0, 0])
    held = hold_clean(codec, torch.tensor([[[4.0, 3, 2], [0.5, 1, 1]]]), torch.tensor([[2.0, 1, 1]]))
    torch.testing.assert_close(held.x, torch.tensor([[[2.0, 3, 2], [2.0, 1, 1]]]))
    assert (held.stats.features.tolist(), held.stats.rank.tolist(), held.stats.error.tolist()) == ([2], [1], [0])


def test_without_an_active_feature_nothing_is_held() -> None:
    codec = codec_of([[1, 0]], [[1, 0]], [-10])
    now = torch.tensor([[[4.0, 3], [0.5, 1]], [[11.0, 0], [0, 0]]])
    held = hold_clean(codec, now, torch.zeros(2, 2))
    torch.testing.assert_close(held.x, torch.tensor([[[4.0, 3], [0.5, 1]], [[0.0, 0], [0, 0]]]))
    assert (held.stats.features.tolist(), held.stats.rank.tolist()) == ([0, 1], [0, 1])


def test_at_the_rank_of_the_stream_the_direct_effect_is_zero_and_says_so() -> None:
    model = tiny_model("gpt2")
    tokens = torch.randint(0, 50, (5, 12), generator=torch.Generator().manual_seed(9))
    tiny = Tiny(model, tiny_saes([0, 1, 3], d_sae=160), tokens)
    slices, clean, counted = setting(tiny)
    path = [Reading(tiny.codecs[1], torch.arange(3)), Reading(tiny.codecs[3], None)]
    near, far = clamp_effects(slices, clean, 1, clamps_of(tiny), path, 0, counted)
    assert near.passed is None
    assert far.passed is not None
    assert far.passed.held.rank.tolist() == [32] * 7
    assert (far.passed.held.features > 32).all()
    assert torch.count_nonzero(far.direct) == 0
    assert torch.count_nonzero(far.passed.direct_sum) > 0
    assert far.total.abs().max() > 0.1


def test_full_rank_is_told_by_pair_of_sites() -> None:
    held = [f"held_{name}" for name in ("features", "rank", "full", "condition", "error")]
    columns = ["src_layer", "src_index", "tgt_layer", "tgt_index", *held]
    none, full, part = [float("nan")] * 5, (40, 32, 0.5, 9, 1e-6), (20, 16, 0, 5, 2e-6)
    rows = [(3, 1, 7, 0, *none), (3, 1, 11, 0, *full), (3, 1, 11, 1, *full), (3, 2, 11, 0, *part), (7, 1, 15, 0, *part)]
    facts = held_facts(pd.DataFrame(rows, columns=columns).assign(method="clamping"))
    assert facts["3->11"] == {"features": 30, "rank": 24, "share_full": 0.25, "condition": 7, "largest_error": 2e-6}
    assert sorted(facts) == ["3->11", "7->15"]
    (text,) = held_warnings(facts)
    assert text.startswith("3->11: in 25% of the samples")


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk", "gated"])
def test_every_kind_of_dictionary_is_held_with_more_features_than_fit_into_a_pattern(kind: str) -> None:
    """Encoders and decoders that point the same way, as in trained ones, and 48 features in 32 dimensions."""
    generator = torch.Generator().manual_seed(2)
    sae = tiny_saes([1], d_sae=48, kind=kind, seed=11)[1]
    with torch.no_grad():
        sae.W_dec.copy_(torch.nn.functional.normalize(sae.W_dec, dim=1))
        sae.W_enc.copy_(sae.W_dec.T + 0.02 * torch.randn(32, 48, generator=generator))
        getattr(sae, "b_mag" if kind == "gated" else "b_enc").sub_(0.5)
    codec = build_codecs(tiny_model("gpt2"), {1: sae})[1]
    clean = torch.randn(200, 32, generator=generator)
    now = clean[:, None] + torch.randn(200, 2, 32, generator=generator)
    held = hold_clean(codec, now, clean)
    with torch.no_grad():
        torch.testing.assert_close(sae.encode(held.x), sae.encode(clean)[:, None].expand(-1, 2, -1), rtol=0, atol=1e-4)
    assert (held.stats.rank < 32).any()
    started = ((codec.record(clean) > 0) | (codec.record(now) > 0).any(1)).sum(1)
    assert (held.stats.features >= started).all()
    assert (held.stats.features > started).any()


def test_sets_of_every_size_and_rank_lose_what_the_pseudo_inverse_takes() -> None:
    """Samples with two to fifty active features in 32 dimensions, some of them the same feature twice, solved together."""
    rng = np.random.default_rng(5)
    encoders, decoders = rng.normal(size=(2, 64, 32))
    encoders[1], decoders[1] = encoders[0], decoders[0]
    encoders[3], decoders[3] = 2 * encoders[2], rng.normal(size=32)  # reads the same, writes elsewhere
    codec = codec_of(encoders.tolist(), decoders.tolist(), [0.0] * 64)
    clean = torch.tensor(rng.normal(size=(48, 32))).float()
    shift = torch.as_tensor(encoders).float() @ clean.T
    change = torch.tensor(rng.normal(size=(48, 2, 32))).float()
    ranks = set()
    for bias in (-16.0, -8.0, -4.0, 0.0, 4.0):
        some = replace(codec, b_enc=torch.full((64,), bias))
        left = hold_change(some, clean, change).double().numpy()
        for k in range(48):
            on = (shift[:, k] + bias > 0).numpy()
            readers = encoders[on] / np.linalg.norm(encoders[on], axis=1, keepdims=True)
            amounts = np.linalg.pinv(readers @ decoders[on].T, rcond=1e-9) @ readers @ change[k].double().numpy().T
            ranks.add(rank := int(np.linalg.matrix_rank(readers @ decoders[on].T, tol=1e-9)) if on.any() else 0)
            expected = change[k].double().numpy() - amounts.T @ decoders[on] if rank < 32 else np.zeros((2, 32))
            np.testing.assert_allclose(left[k], expected, atol=2e-4 * max(1.0, np.abs(amounts).max(initial=0)))
    assert {min(ranks) <= 2, max(ranks) == 32, len(ranks) > 20} == {True}, sorted(ranks)
