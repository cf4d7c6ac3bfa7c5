"""Are figures of dictionaries what they say? Dictionaries whose figures are known, and the model's own derivative by finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from feature_graph.dictionaries import SiteCodec, build_site_codecs, judge, read_tensors, tensor_hook, width_of
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.quality import (
    DIRECTIONS,
    QualityOptions,
    ResponseOptions,
    dictionary_quality,
    dictionary_response,
    response_ev,
    text,
    verdict,
)
from feature_graph.interventions import BlockTaps, ModelSlices, Where, site_tangents, stream_before, tapped_run
from tests.architectures import VOCABULARY
from tests.support.component_dictionaries import copying_sae, linear_transcoder, mlp_as_transcoder
from tests.support.component_models import as_bridge, as_hooked
from tests.support.tiny_tokenizer import tokenizer

TOKENS = torch.randint(3, VOCABULARY, (6, 24), generator=torch.Generator().manual_seed(2))
BLOCK, RELU = 1, "gpt2 relu untied"
MODELS = [(as_hooked, "gpt2"), (as_hooked, "llama head_dim"), (as_bridge, "gemma2"), (as_bridge, "olmo2 head_dim"), (as_hooked, "gpt_neox")]
OPTIONS = ResponseOptions(per_document=8, resamples=100)
QUALITY = QualityOptions(response_documents=4, response=OPTIONS)


@pytest.fixture(scope="module")
def relu() -> Any:
    return as_hooked(RELU)


def residual_and(model: Any, name: str, sae: Any) -> dict[str, SiteCodec]:
    """A copying SAE on the stream after block 0, and a dictionary."""
    return build_site_codecs(model, {"L0": copying_sae(model.cfg.d_model), name: sae}, TOKENS)


def without_features(codec: SiteCodec, **more: Any) -> SiteCodec:
    return replace(codec, w_dec=torch.zeros_like(codec.w_dec), b_dec=torch.zeros_like(codec.b_dec), **more)


def explained(codecs: dict[str, SiteCodec], model: Any, name: str) -> list[float]:
    found = response_ev(model, codecs, TOKENS, options=OPTIONS)[name].explained
    return [figure.value for kind in DIRECTIONS if (figure := found[kind]) is not None]


@torch.no_grad()
@pytest.mark.parametrize(
    ("at", "read"),
    [
        ((1, "mlp_stream"), (1, "mlp_out")),  # the MLP
        ((1, "resid_pre"), (1, "attn_out")),  # attention
        ((1, "resid_pre"), (1, "z")),
        ((0, "z"), (2, "mlp_stream")),  # carried to a later block
        ((0, "mlp_out"), (3, "mlp_in")),
    ],
)
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_derivatives_are_those_of_finite_differences(form: Any, name: str, at: Where, read: Where) -> None:
    slices = ModelSlices(form(name))
    slices.dtype = torch.float64  # blocks are then read in float64
    clean, found = tapped_run(slices, TOKENS, [at, read], range(4))
    documents, positions = torch.tensor([0, 2, 2, 5]), torch.tensor([3, 0, 9, 23])
    directions = torch.randn(4, found[at].shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    [tangent] = site_tangents(slices, clean, documents, positions, at, directions, [read])
    start = slices.embed(TOKENS)

    def moved(by: float, sample: int) -> torch.Tensor:
        change = torch.zeros_like(found[at])
        change[documents[sample], positions[sample]] = by * directions[sample]
        taps = BlockTaps([read], {at: lambda x: x + change})
        slices.run(start, 0, 4, taps=taps)
        return taps.found[read][documents[sample], positions[sample]]

    for sample in range(4):
        difference = (moved(1e-5, sample) - moved(-1e-5, sample)) / 2e-5
        assert torch.allclose(tangent.tangent[sample], difference, rtol=1e-6, atol=1e-7 * float(difference.norm() + 1))
        assert torch.allclose(tangent.value[sample], found[read][documents[sample], positions[sample]], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["transcoder", "jumprelu_skip_transcoder"])
def test_an_mlp_as_its_own_transcoder_responds_as_it_does(relu: Any, kind: str) -> None:
    skip = torch.randn(relu.cfg.d_model, relu.cfg.d_model, generator=torch.Generator().manual_seed(4)) if "skip" in kind else None
    codecs = residual_and(relu, "L1.tc", mlp_as_transcoder(relu.blocks[BLOCK], kind, skip))
    found = response_ev(relu, codecs, TOKENS, options=OPTIONS)
    assert set(found) == {"L1.tc"}  # the residual stream has no component
    one = found["L1.tc"]
    assert set(one.explained) == set(DIRECTIONS)
    assert all(figure is not None and figure.value > 1 - 1e-6 for figure in one.explained.values())
    assert one.shares_along == "arrivals"
    assert one.error_share is not None
    assert abs(one.error_share.value) < 1e-4
    assert (one.skip_share is None) == (skip is None)


def test_a_dictionary_of_zeros_explains_nothing(relu: Any) -> None:
    codecs = residual_and(relu, "L1.tc", mlp_as_transcoder(relu.blocks[BLOCK]))
    codecs["L1.tc"] = without_features(codecs["L1.tc"])
    one = response_ev(relu, codecs, TOKENS, options=OPTIONS)["L1.tc"]
    assert [figure.value for figure in one.explained.values() if figure is not None] == [0.0] * 3
    assert one.error_share is not None
    assert one.error_share.value == 1.0


@torch.no_grad()
def test_a_skip_that_is_the_derivative_of_the_mlp_explains_everything() -> None:
    model = as_hooked(RELU)
    mlp = model.blocks[BLOCK].mlp
    mlp.b_in += 100.0  # every hidden unit is on: the MLP is linear on this text
    codecs = residual_and(model, "L1.tc", mlp_as_transcoder(model.blocks[BLOCK]))
    codecs["L1.tc"] = without_features(codecs["L1.tc"], w_skip=(mlp.W_in @ mlp.W_out).T.contiguous())
    one = response_ev(model, codecs, TOKENS, options=OPTIONS)["L1.tc"]
    assert all(figure is not None and abs(figure.value - 1) < 1e-6 for figure in one.explained.values())
    assert one.skip_share is not None
    assert one.error_share is not None
    assert abs(one.skip_share.value - 1) < 1e-4
    assert abs(one.error_share.value) < 1e-4


@pytest.mark.parametrize("site", ["L1.mlp", "L1.attn", "L1.z"])
@pytest.mark.parametrize(("form", "name"), [(as_hooked, "gpt2"), (as_bridge, "gemma2"), (as_hooked, "gpt_neox")])
def test_an_orthonormal_dictionary_explains_what_it_spans(form: Any, name: str, site: str) -> None:
    model = form(name)
    width = width_of(model, "z" if site == "L1.z" else "mlp_out")
    codecs = residual_and(model, site, copying_sae(width))
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(5))).Q
    whole = replace(codecs[site], w_enc=turn @ codecs[site].w_enc, w_dec=codecs[site].w_dec @ turn.T)
    assert all(abs(value - 1) < 1e-5 for value in explained(codecs | {site: whole}, model, site))
    kept = torch.arange(width).repeat(2) < width // 2
    half = replace(whole, w_dec=whole.w_dec * kept[:, None])
    found = explained(codecs | {site: half}, model, site)
    assert len(found) == 3
    assert all(0.05 < value < 0.95 for value in found)
    rest = replace(whole, w_dec=whole.w_dec * ~kept[:, None])  # the same directions: what one half spans the other lacks
    assert np.allclose(np.add(found, explained(codecs | {site: rest}, model, site)), 1, atol=1e-4)


@torch.no_grad()
def test_the_skip_and_gates_of_a_dictionary_are_its_derivative(relu: Any) -> None:
    """Of SAELens' own transcoder, by finite differences; TopK after the competition."""
    skip = torch.randn(relu.cfg.d_model, relu.cfg.d_model, generator=torch.Generator().manual_seed(4))
    transcoder = mlp_as_transcoder(relu.blocks[BLOCK], "skip_transcoder", skip).to(torch.float64)
    hook = tensor_hook(relu, "mlp_in", BLOCK)
    x = read_tensors(relu, TOKENS, [hook])[hook].flatten(0, 1)[:32]
    change = torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    codecs = residual_and(relu, "L1.tc", mlp_as_transcoder(relu.blocks[BLOCK], "skip_transcoder", skip))
    found = dictionary_response(codecs["L1.tc"], x, change)
    step = change.double() * 1e-7
    difference = (transcoder(x.double() + step) - transcoder(x.double() - step)) / 2e-7
    assert torch.allclose((found.features + found.skip).double(), difference, rtol=1e-3, atol=1e-4 * float(difference.norm(dim=1).max()))
    topk = build_site_codecs(relu, {"L1.mlp": copying_sae(relu.cfg.d_model, "topk", k=24)}, TOKENS)["L1.mlp"]
    few = replace(topk, k=5.0)
    kept = few.record(x) > 0
    assert torch.equal(kept.sum(1), torch.full((32,), 5))
    assert torch.allclose(dictionary_response(few, x, change).features, ((change @ few.w_enc) * kept) @ few.w_dec)


@torch.no_grad()
def test_reconstruction_and_sparsity_are_those_that_a_run_publishes(relu: Any) -> None:
    sae = copying_sae(relu.cfg.d_model, "jumprelu")
    sae.threshold += 0.7
    codecs = build_site_codecs(relu, {"L1": sae}, TOKENS)
    found = dictionary_quality(relu, codecs, TOKENS, options=QUALITY)["L1"]
    valid = text.counted(ModelSlices(relu), codecs.values(), TOKENS)
    hook = tensor_hook(relu, "resid_post", 1)
    x = read_tensors(relu, TOKENS, [hook])[hook][valid]
    run = judge(codecs["L1"], sae, x)
    made = found.reconstruction
    assert made.l0 is not None
    assert made.explained_variance is not None
    assert made.explained_variance_typical is not None
    assert made.dead is not None
    assert made.l0.value == pytest.approx(run.l0)
    assert made.explained_variance_typical.value == pytest.approx(run.explained_variance, abs=1e-5)
    error, variance = (sae(x) - x).square().sum(), (x - x.mean(0)).square().sum()
    assert made.explained_variance.value == pytest.approx(float(1 - error / variance), abs=1e-5)
    assert made.dead.value == float((sae.encode(x) <= 0).all(0).float().mean())
    assert found.response is None
    for figure in (made.l0, made.explained_variance, made.explained_variance_typical):
        assert figure.ci_low is not None
        assert figure.ci_high is not None
        assert figure.ci_low <= figure.value <= figure.ci_high
        assert figure.n == len(x)


HOOKS = {
    "L1": "blocks.1.hook_resid_post",
    "L1.mlp": "blocks.1.hook_mlp_out",
    "L1.z": "blocks.1.attn.hook_z",
    "L3": "blocks.3.hook_resid_post",
}


@torch.no_grad()
@pytest.mark.parametrize("site", HOOKS)
def test_cross_entropy_is_that_of_the_model_with_its_tensor_replaced(site: str) -> None:
    """By TransformerLens' own hooks on the whole model."""
    model = as_hooked("gpt2")
    sae = copying_sae(width_of(model, "z" if site == "L1.z" else "resid_post"), "jumprelu")
    _, cache = model.run_with_cache(TOKENS, names_filter=[HOOKS[site]])
    sae.threshold += 0.2 * float(cache[HOOKS[site]].square().mean().sqrt())
    codecs = build_site_codecs(model, {site: sae}, TOKENS)
    found = dictionary_quality(model, codecs, TOKENS, options=QUALITY)[site].recovered
    valid = text.counted(ModelSlices(model), codecs.values(), TOKENS)
    mean = cache[HOOKS[site]][valid].mean(0)

    def loss(new: Any) -> float:
        def put(x: torch.Tensor, hook: Any) -> torch.Tensor:
            return torch.where(valid.view(*valid.shape, *[1] * (x.ndim - 2)), new(x), x)

        logits = model.run_with_hooks(TOKENS, fwd_hooks=[(HOOKS[site], put)]).double()
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), TOKENS[:, 1:], reduction="none")
        return float(each[valid[:, 1:] & valid[:, :-1]].sum())

    clean, rebuilt = loss(lambda x: x), loss(lambda x: sae(x.flatten(2)).view_as(x))
    for figure, ablated in ((found.zero, loss(torch.zeros_like)), (found.mean, loss(lambda x: mean.expand_as(x)))):
        if ablated <= clean:
            assert figure is None  # nothing is lost that could be recovered
        else:
            assert figure is not None
            assert figure.value == pytest.approx((ablated - rebuilt) / (ablated - clean), rel=1e-3)


def test_the_figures_depend_on_the_seed_and_not_on_what_is_run_together(relu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mlp_sae = copying_sae(relu.cfg.d_model, "jumprelu")
    with torch.no_grad():
        mlp_sae.threshold += 0.3
    codecs = residual_and(relu, "L1.mlp", mlp_sae)

    def figures(seed: int = 0) -> dict[str, Any]:
        options = QualityOptions(loss_tokens=60, response_documents=6, response=replace(OPTIONS, seed=seed))
        return {name: one.to_dict() for name, one in dictionary_quality(relu, codecs, TOKENS, options=options).items()}

    first = figures()
    assert figures() == first
    monkeypatch.setattr(text, "_BYTES", 1)
    alone = figures()
    for name, one in first.items():
        assert flat(alone[name]) == pytest.approx(flat(one), rel=1e-4)
    other = figures(seed=1)
    assert other["L1.mlp"]["response_ev"] != first["L1.mlp"]["response_ev"]
    assert other["L1.mlp"]["l0"]["value"] == first["L1.mlp"]["l0"]["value"]


def flat(one: dict[str, Any]) -> list[float]:
    figures = [one["l0"], one["dead"], one["explained_variance"], *one["response_ev"].values(), one["error_share"]]
    return [value for figure in figures if figure is not None for value in figure.values()]


def test_what_is_not_defined_is_none_and_every_dictionary_gets_its_sentence(relu: Any) -> None:
    hooks = {name: tensor_hook(relu, name, BLOCK) for name in ("mlp_in", "mlp_out")}
    values = {name: read_tensors(relu, TOKENS, [hook])[hook].flatten(0, 1) for name, hook in hooks.items()}
    saes = {f"L1{site}": copying_sae(relu.cfg.d_model) for site in ("", ".mid", ".mlpin", ".mlp", ".attn")}
    saes |= {"L1.z": copying_sae(width_of(relu, "z")), "L1.tc": linear_transcoder(values["mlp_in"], values["mlp_out"])}
    codecs = build_site_codecs(relu, saes, TOKENS)
    found = {name: one.to_dict() for name, one in dictionary_quality(relu, codecs, TOKENS, options=QUALITY).items()}
    assert set(found) == set(saes)
    for name in ("L1", "L1.mid", "L1.mlpin"):
        assert (found[name]["skip_share"], found[name]["error_share"]) == (None, None)
        assert found[name]["response_ev"] == dict.fromkeys(DIRECTIONS)
    for name in ("L1.attn", "L1.z"):  # nothing is earlier
        assert (found[name]["response_ev"]["decoders"], found[name]["response_ev"]["arrivals"]) == (None, None)
        assert found[name]["shares_along"] == "random"
        assert found[name]["response_ev"]["random"]["value"] == pytest.approx(1, abs=1e-5)
    for name in ("L1.mlp", "L1.tc"):  # attention and the middle of the stream are
        assert found[name]["shares_along"] == "arrivals"
        assert all(figure["n"] > 0 for figure in found[name]["response_ev"].values())
    sentences = [verdict(codecs[name].site.kind, one) for name, one in dictionary_quality(relu, codecs, TOKENS, options=QUALITY).items()]
    assert all(sentence.endswith(".") and sentence.count(". ") == 0 for sentence in sentences)


def test_a_text_in_which_nothing_counts_is_refused() -> None:
    model = as_hooked("gpt2")
    model.set_tokenizer(tokenizer())
    nothing = torch.full((3, 8), model.tokenizer.eos_token_id)
    codecs = build_site_codecs(model, {"L1": copying_sae(model.cfg.d_model)}, TOKENS % 50)
    with pytest.raises(EvaluationError, match="the text of 3 contexts has no token that counts"):
        dictionary_quality(model, codecs, nothing, options=QUALITY)


def test_the_stream_before_a_component() -> None:
    model = as_hooked("gpt2")
    saes = {f"L1{site}": copying_sae(model.cfg.d_model) for site in ("", ".mid", ".mlpin", ".mlp", ".attn")}
    found = {name: stream_before(codec.site) for name, codec in build_site_codecs(model, saes, TOKENS).items()}
    assert found == {"L1": None, "L1.mid": None, "L1.mlpin": None, "L1.mlp": (1, "mlp_stream"), "L1.attn": (1, "resid_pre")}
