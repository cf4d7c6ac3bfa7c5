"""The folded encoder against SAELens' own, for every supported kind, and its refusals."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata

from feature_graph.artifacts import Site
from feature_graph.config import Config
from feature_graph.dictionaries.build import SiteCodec, build_codecs
from feature_graph.dictionaries.codec_check import check_codec
from feature_graph.dictionaries.kinds import parse_hook
from feature_graph.dictionaries.sites import describe_sites, weights_hash
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from tests.tiny import D_MODEL, D_SAE, tiny_model

SITE = Site(2, "blocks.2.hook_resid_pre", 2, "m", "0" * 8, "r", "s", D_MODEL, D_SAE)


def randomise(sae, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sae.named_parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (0.3 if p.ndim == 2 else 0.2))
            if name == "threshold":
                p.copy_(torch.rand(p.shape, generator=g))
        if hasattr(sae, "W_dec"):
            sae.W_dec.mul_(torch.linspace(0.2, 3.0, len(sae.W_dec))[:, None])
    return sae


def make(kind, **more):
    base = {"d_in": D_MODEL, "d_sae": D_SAE, "metadata": SAEMetadata(hook_name="blocks.2.hook_resid_pre")} | more
    classes = {"standard": (StandardSAE, StandardSAEConfig), "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig), "topk": (TopKSAE, TopKSAEConfig)}
    cls, cfg = classes[kind]
    return randomise(cls(cfg(**base)))


KINDS = [
    ("standard", {}),
    ("standard", {"apply_b_dec_to_input": False}),
    ("jumprelu", {}),
    ("jumprelu", {"apply_b_dec_to_input": False}),
    ("topk", {"k": 5}),
    ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
]


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_the_codec_is_the_sae_in_units_of_the_decoder(kind, more):
    sae = make(kind, **more)
    x = torch.randn(64, D_MODEL)
    codec = SiteCodec.from_sae(sae, SITE)
    check_codec(codec, sae, x)
    theirs = sae.encode(x) * codec.shipped_scale
    assert torch.allclose(codec.record(x), theirs, atol=1e-5)
    assert torch.allclose(codec.decode(codec.record(x)), sae(x), atol=1e-4)
    assert torch.allclose(codec.w_dec.norm(dim=1), torch.ones(D_SAE), atol=1e-6)


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_subset_of_features_is_the_same_numbers(kind, more):
    codec = SiteCodec.from_sae(make(kind, **more), SITE)
    x, some = torch.randn(3, 4, D_MODEL), torch.tensor([7, 0, 31])
    assert torch.allclose(codec.preactivation(x, some), codec.preactivation(x)[..., some], atol=1e-5)
    assert torch.allclose(codec.encode(x, some), codec.encode(x)[..., some], atol=1e-5)
    assert torch.equal(codec.gate(codec.preactivation(x)[..., some], some), codec.gate(codec.preactivation(x))[..., some])


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_the_gate_is_the_derivative(kind, more):
    codec = SiteCodec.from_sae(make(kind, **more), SITE)
    pre = codec.preactivation(torch.randn(16, D_MODEL)).requires_grad_()
    codec.activate(pre).sum().backward()
    assert torch.equal(pre.grad > 0, codec.gate(pre))


def test_a_codec_of_another_sae_is_found_out():
    sae = make("jumprelu")
    codec = SiteCodec.from_sae(sae, SITE)
    other = randomise(make("jumprelu"), seed=1)
    with pytest.raises(LoadingError, match="folded encoder differs"):
        check_codec(codec, other, torch.randn(64, D_MODEL))


def test_a_feature_that_writes_nothing_has_no_direction():
    sae = make("standard")
    with torch.no_grad():
        sae.W_dec[3] = 0
    codec = SiteCodec.from_sae(sae, SITE)
    assert codec.w_dec[3].norm() == 0
    check_codec(codec, sae, torch.randn(64, D_MODEL))


def test_batchtopk_is_saved_as_jumprelu_and_folds(tmp_path):
    training = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=D_MODEL,
            d_sae=D_SAE,
            k=4,
            normalize_activations="expected_average_only_in",
            metadata=SAEMetadata(hook_name="blocks.2.hook_resid_pre"),
        )
    )
    training.topk_threshold = torch.tensor(0.7, dtype=torch.double)
    training.fold_activation_norm_scaling_factor(2.0)
    training.save_inference_model(tmp_path)
    sae = SAE.load_from_disk(tmp_path)
    assert sae.cfg.architecture() == "jumprelu"
    check_codec(SiteCodec.from_sae(sae, SITE), sae, torch.randn(64, D_MODEL))


@pytest.mark.parametrize("scaling", ["layer_norm", "constant_norm_rescale"])
def test_scaling_by_each_tokens_norm_is_refused_by_name(scaling):
    with pytest.raises(UnsupportedSAEError, match=scaling):
        SiteCodec.from_sae(make("standard", normalize_activations=scaling), SITE)


def test_other_kinds_are_refused_by_name():
    training = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(d_in=D_MODEL, d_sae=D_SAE, k=4, metadata=SAEMetadata(hook_name="blocks.1.hook_resid_pre"))
    )
    with pytest.raises(UnsupportedSAEError, match="'batchtopk' SAE; in training its features compete across the batch"):
        describe_sites(tiny_model(), {1: training})


@pytest.mark.parametrize("hook", ["blocks.1.attn.hook_z", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid", "hook_embed"])
def test_other_hooks_are_refused_by_name(hook):
    sae = make("standard", metadata=SAEMetadata(hook_name=hook))
    with pytest.raises(UnsupportedSAEError, match=hook.replace(".", r"\.")):
        describe_sites(tiny_model(), {1: sae})


def test_sites_come_from_the_dictionaries_not_from_the_configuration():
    model = tiny_model()
    saes = {
        5: make("standard", metadata=SAEMetadata(hook_name="blocks.2.hook_resid_post")),
        1: make("topk", metadata=SAEMetadata(hook_name="blocks.0.hook_resid_pre")),
    }
    sites = describe_sites(model, saes, Config(sae_release="something else"))
    assert [(s.layer, s.hook, s.point) for s in sites.values()] == [(1, "blocks.0.hook_resid_pre", 0), (5, "blocks.2.hook_resid_post", 3)]
    assert sites[5].release == f"unnamed-{weights_hash(saes[5])}"
    assert sites[5].model == "tiny"
    assert sites[5].uid(3).startswith(f"tiny@{weights_hash(model)}/unnamed-")


def test_layers_must_ascend_in_the_model():
    saes = {
        1: make("standard", metadata=SAEMetadata(hook_name="blocks.2.hook_resid_post")),
        2: make("standard", metadata=SAEMetadata(hook_name="blocks.0.hook_resid_pre")),
    }
    with pytest.raises(LoadingError, match="higher layer must lie later"):
        describe_sites(tiny_model(), saes)


def test_a_block_that_the_model_lacks_is_refused():
    sae = make("standard", metadata=SAEMetadata(hook_name="blocks.9.hook_resid_pre"))
    with pytest.raises(LoadingError, match="blocks 0 to"):
        describe_sites(tiny_model(), {9: sae})


def test_another_width_is_refused():
    sae = make("standard", d_in=D_MODEL + 1)
    with pytest.raises(LoadingError, match="not its SAE"):
        describe_sites(tiny_model(), {1: sae})


def test_the_weights_hash_follows_the_weights():
    model = tiny_model()
    before = weights_hash(model)
    assert weights_hash(model) == before
    with torch.no_grad():
        model.blocks[0].mlp.W_in[0, 0] += 1
    assert weights_hash(model) != before
    assert weights_hash(tiny_model()) == before


def test_rounding_noise_of_a_dead_feature_is_not_activity():
    model = tiny_model()
    sae = make("standard")
    codec = build_codecs(model, {2: sae})[2]
    assert (codec.activity_threshold > 0).all()
    assert not codec.is_active(codec.activity_threshold * 0.5).any()
    given = build_codecs(model, {2: sae}, Config(activity_threshold=0.25))[2]
    assert torch.equal(given.activity_threshold, torch.full((D_SAE,), 0.25))


def test_jumprelu_is_active_above_zero():
    codec = build_codecs(tiny_model(), {2: make("jumprelu")})[2]
    assert (codec.activity_threshold == 0).all()


def gated(seed=0, **corner):
    sae = randomise(GatedSAE(GatedSAEConfig(d_in=D_MODEL, d_sae=D_SAE, metadata=SAEMetadata(hook_name="blocks.2.hook_resid_pre"))), seed)
    with torch.no_grad():
        for name, value in corner.items():
            getattr(sae, name).fill_(value)
    return sae


@pytest.mark.parametrize(
    "corner",
    [
        {},
        {"b_mag": -0.8},
        {"b_mag": 0.9, "b_gate": -0.5},
        {"b_gate": 2.0},
        {"b_gate": -2.0},
        {"b_gate": 0.0, "b_mag": 0.0},
        {"r_mag": -1.5},
    ],
)
@pytest.mark.parametrize("centred", [True, False])
def test_a_gated_encoder_is_a_jumprelu(corner, centred):
    sae = gated(**corner)
    sae.cfg.apply_b_dec_to_input = centred
    x = torch.randn(512, D_MODEL, generator=torch.Generator().manual_seed(3))
    codec = SiteCodec.from_sae(sae, SITE)
    check_codec(codec, sae, x)
    theirs = sae.encode(x) * codec.shipped_scale
    sure = (codec.preactivation(x) - codec.threshold).abs() > 1e-4
    assert torch.allclose(codec.record(x)[sure], theirs[sure], atol=1e-4)
    assert (theirs > 0).any()
    assert (codec.threshold >= 0).all()
    assert torch.allclose(codec.decode(theirs), sae(x), atol=1e-4)


def test_a_gate_of_zero_is_shut():
    """At the very point where both paths are 0, where rounding is all that is left, and where only the gate's path is 0."""
    codec = SiteCodec.from_sae(gated(b_gate=0.0, b_mag=0.0), SITE, residual_norm=1.0)
    assert not codec.gate(torch.zeros(1, D_SAE)).any()
    assert not codec.is_active(codec.encode(codec.b_dec[None])).any()
    codec = SiteCodec.from_sae(gated(b_gate=0.0, b_mag=0.5), SITE)
    assert not codec.gate(codec.threshold[None]).any()
    assert codec.gate(codec.threshold[None] * 1.001).all()


@pytest.mark.parametrize("kind", ["W_enc", "b_gate", "b_mag", "r_mag"])
def test_a_gated_dictionary_with_nan_is_refused(kind):
    sae = gated()
    with torch.no_grad():
        getattr(sae, kind)[..., 7] = float("nan")
    with pytest.raises(LoadingError, match="L2_F7"):
        SiteCodec.from_sae(sae, SITE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_dictionary_in_half_precision_is_computed_in_float32(kind, more, dtype, caplog):
    sae = make(kind, **more).to(dtype)
    with caplog.at_level(logging.INFO, logger="feature_graph"):
        codec = build_codecs(tiny_model(), {2: sae})[2]
    assert f"the SAE's weights are {str(dtype).removeprefix('torch.')}; everything is computed with them in float32" in caplog.text
    assert sae.W_enc.dtype == dtype
    assert codec.w_enc.dtype == torch.float32
    x = torch.randn(64, D_MODEL)
    exact = copy.deepcopy(sae).to(torch.float32)
    assert torch.allclose(codec.record(x), exact.encode(x) * codec.shipped_scale, atol=1e-5)


def test_hooks_of_transformers_name_the_stream_after_a_block():
    for name in ("model.layers.1", "transformer.h.1", "gpt_neox.layers.1", "model.layers.1.output"):
        assert parse_hook(name, 1) == parse_hook("blocks.1.hook_resid_post", 1)
    with pytest.raises(UnsupportedSAEError, match=r"model\.layers\.1\.mlp"):
        parse_hook("model.layers.1.mlp", 1)
