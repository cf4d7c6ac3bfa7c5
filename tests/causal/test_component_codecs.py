"""Dictionaries on components: encoded from the tensor that they read, decoded to the one that they write, refused where they do not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sae_lens.saes.sae import SAEMetadata

from feature_graph.artifacts import SiteError
from feature_graph.dictionaries import (
    ID_KEY,
    RELEASE_KEY,
    LoadingError,
    QualityError,
    SiteCodec,
    UnsupportedSAEError,
    build_site_codecs,
    describe_sites,
    output_weights,
    read_tensors,
    tensor_hook,
    width_of,
)
from feature_graph.interventions import AnalysedModel
from tests.architectures import VOCABULARY, WIDTH
from tests.support.component_dictionaries import (
    SAE_CLASSES,
    TRANSCODER_CLASSES,
    copying_sae,
    linear_transcoder,
    mlp_as_transcoder,
    transcoder_of,
)
from tests.support.component_models import as_bridge, as_hooked

TOKENS = torch.randint(3, VOCABULARY, (6, 24), generator=torch.Generator().manual_seed(2))
BLOCK = 1
#: Site → the tensor that a copying SAE is put on.
SAE_SITES: dict[str, tuple[str, Any]] = {
    "L0": ("residual", "resid_post"),
    "L1.z": ("hook_z", "z"),
    "L1.attn": ("attn_out", "attn_out"),
    "L1.mid": ("resid_mid", "resid_mid"),
    "L1.mlpin": ("mlp_in", "mlp_in"),
    "L1.mlp": ("mlp_out", "mlp_out"),
    "L1": ("residual", "resid_post"),
}
MODELS = [
    (as_hooked, "gpt2 relu untied"),
    (as_bridge, "gpt2 relu untied"),
    (as_hooked, "llama head_dim"),
    (as_bridge, "llama head_dim"),
    (as_hooked, "gemma2"),
    (as_bridge, "gemma3"),
    (as_hooked, "olmo2 ungrouped"),
    (as_bridge, "olmo2 head_dim"),
    (as_hooked, "gpt_neox"),
    (as_bridge, "gpt_neox"),
]


def tensor(model: Any, name: Any, block: int = BLOCK) -> torch.Tensor:
    """One tensor at every token, [n, width]."""
    hook = tensor_hook(model, name, block)
    return read_tensors(model, TOKENS, [hook])[hook].flatten(0, 1)


@pytest.mark.parametrize(("form", "name"), MODELS)
def test_every_kind_of_site_reads_and_writes_its_tensor(form: Any, name: str) -> None:
    model = form(name)
    parallel = name == "gpt_neox"
    sites = {site: read for site, (_, read) in SAE_SITES.items() if not (parallel and read == "resid_mid")}
    saes = {site: copying_sae(width_of(model, read), "jumprelu") for site, read in sites.items()}
    saes["L1.tc"] = linear_transcoder(tensor(model, "mlp_in"), tensor(model, "mlp_out"))
    codecs = build_site_codecs(model, dict(reversed(saes.items())), TOKENS)
    order = ["L0", "L1.z", "L1.attn", "L1.mid", "L1.mlpin", "L1.tc", "L1.mlp", "L1"]
    assert list(codecs) == [site for site in order if site in saes]
    for site, (kind, read) in SAE_SITES.items():
        if site in codecs:
            codec, x = codecs[site], tensor(model, read, codecs[site].site.layer)
            assert (codec.site.name, codec.site.kind, codec.site.d_in) == (site, kind, x.shape[1])
            assert torch.allclose(codec.reconstruct(x), x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))
            assert torch.allclose(codec.record(x), saes[site].encode(x) * 2.0, atol=1e-5 * float(x.abs().max()))
    transcoder = codecs["L1.tc"]
    assert (transcoder.site.reads, transcoder.site.writes, transcoder.site.parallel) == ("mlp_in", "mlp_out", parallel)
    x = tensor(model, "mlp_in")
    assert torch.allclose(transcoder.reconstruct(x), saes["L1.tc"](x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("form", "name"), MODELS)
def test_directions_in_the_stream_go_through_the_output_weights(form: Any, name: str) -> None:
    model = form(name)
    saes = {site: copying_sae(width_of(model, SAE_SITES[site][1])) for site in ("L1.z", "L1.attn", "L1.mlpin")}
    codecs = build_site_codecs(model, saes, TOKENS)
    w_o = output_weights(model, BLOCK)
    assert torch.allclose(codecs["L1.z"].stream_directions(), torch.cat([w_o, -w_o]), atol=1e-6)
    assert torch.equal(codecs["L1.z"].stream_directions([3, 0]), codecs["L1.z"].stream_directions()[[3, 0]])
    assert torch.equal(codecs["L1.attn"].stream_directions(), codecs["L1.attn"].w_dec)
    assert not codecs["L1.mlpin"].stream_directions().any()  # what the MLP reads is not the stream


RELU = "gpt2 relu untied"


@pytest.mark.parametrize("kind", TRANSCODER_CLASSES)
def test_a_transcoder_of_each_class_is_the_mlp_that_it_was_made_of(kind: str) -> None:
    model = as_hooked(RELU)
    skip = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(3)) if "skip" in kind else None
    made = mlp_as_transcoder(model.blocks[BLOCK], kind, skip)
    codec = build_site_codecs(model, {"L1.tc": made}, TOKENS)["L1.tc"]
    x, written = tensor(model, "mlp_in"), tensor(model, "mlp_out")
    assert torch.allclose(codec.reconstruct(x), written, rtol=1e-3, atol=1e-4 * float(written.abs().max()))
    assert torch.allclose(codec.w_dec.norm(dim=1)[codec.writes], torch.ones(int(codec.writes.sum())), atol=1e-5)
    if skip is None:
        assert codec.w_skip is None
        assert codec.skip(x) == 0.0
    else:  # the skip belongs to no feature: what features write lacks it
        assert torch.allclose(codec.skip(x), x @ skip.T, rtol=1e-4, atol=1e-4)
        assert torch.allclose(codec.decode(codec.record(x)), written - x @ skip.T, rtol=1e-3, atol=1e-3)


def test_thresholds_and_topk_work_at_components_as_elsewhere() -> None:
    model = as_hooked(RELU)
    made = mlp_as_transcoder(model.blocks[BLOCK], "jumprelu_transcoder")
    x = tensor(model, "mlp_in")
    with torch.no_grad():
        made.threshold.fill_(0.2)
    codec = build_site_codecs(model, {"L1.tc": made}, TOKENS)["L1.tc"]
    assert torch.allclose(codec.record(x), made.encode(x) * codec.shipped_scale, atol=1e-4)
    assert (codec.activity_threshold == 0).all()
    topk = copying_sae(width_of(model, "z"), "topk", k=24)
    z = tensor(model, "z")
    found = build_site_codecs(model, {"L1.z": topk}, TOKENS)["L1.z"].record(z)
    assert torch.allclose(found, topk.encode(z) * 2.0, atol=1e-5)
    assert ((found > 0).sum(1) <= 24).all()


@pytest.mark.parametrize("kind", SAE_CLASSES)
def test_an_sae_that_lays_heads_side_by_side_itself(kind: str) -> None:
    """SAELens' setting for hook_z: such an SAE takes [..., heads, d_head]; the codec takes the flat vectors."""
    model = as_hooked("qwen3")
    made = copying_sae(64, kind, reshape_activations="hook_z", metadata={"hook_name": "blocks.1.attn.hook_z"})
    codec = build_site_codecs(model, {"L1.z": made}, TOKENS)["L1.z"]
    z = tensor(model, "z")
    assert torch.allclose(codec.record(z), made.encode(z.unflatten(1, (4, 16))) * 2.0, atol=1e-5)


@pytest.mark.parametrize("reads", ["mlp_in", "mlp_stream"])
def test_of_two_readings_the_one_that_reconstructs_is_taken(reads: Any) -> None:
    """``hook_mlp_in`` means what the MLP reads to some, and the stream before the norm to others."""
    model = as_hooked("llama")
    made = linear_transcoder(tensor(model, reads), tensor(model, "mlp_out"), hook_name="blocks.1.hook_mlp_in")
    codec = build_site_codecs(model, {"L1.tc": made}, TOKENS)["L1.tc"]
    assert (codec.site.reads, codec.site.writes) == (reads, "mlp_out")


def test_a_dictionary_that_explains_less_than_the_mean_stops_naming_what_was_tried() -> None:
    model = as_hooked(RELU)
    good = mlp_as_transcoder(model.blocks[BLOCK])
    bad = mlp_as_transcoder(model.blocks[BLOCK], hook_name="blocks.1.hook_resid_mid")
    with torch.no_grad():
        bad.W_enc.mul_(10)  # of a stream longer than what the MLP reads this makes nonsense
    assert build_site_codecs(model, {"L1.tc": good}, TOKENS)
    with pytest.raises(QualityError) as refused:
        build_site_codecs(model, {"L1.tc": bad}, TOKENS)
    said = str(refused.value)
    assert said.startswith("L1.tc: the dictionary reconstructs mlp_out of block 1 no better than its mean over these tokens")
    assert "reading mlp_stream;" in said
    assert "reading mlp_in, which it does not record" in said
    assert "reading mlp_normalized, which it does not record" in said
    flipped = copying_sae(WIDTH)
    with torch.no_grad():
        flipped.W_dec.mul_(-1)
    with pytest.raises(QualityError, match=r"L1\.attn: .* reconstructs attn_out of block 1 .*variance: -\S+ reading attn_out\. It"):
        build_site_codecs(model, {"L1.attn": flipped}, TOKENS)


def test_what_does_not_fit_is_refused() -> None:
    llama, neox = as_hooked("llama head_dim"), as_bridge("gpt_neox")
    with pytest.raises(LoadingError, match=r"L1\.z: the dictionary has vectors of 32 dimensions for z, the model of 64"):
        build_site_codecs(llama, {"L1.z": copying_sae(WIDTH)}, TOKENS)
    with pytest.raises(LoadingError, match="resid_mid: attention and MLP of this model both read the stream before the block"):
        build_site_codecs(neox, {"L1.mid": copying_sae(WIDTH)}, TOKENS)
    with pytest.raises(LoadingError, match="mlp_in: the gain of the norm before the MLP is folded"):
        build_site_codecs(as_hooked("llama", fold_ln=True), {"L1.mlpin": copying_sae(WIDTH)}, TOKENS)
    with pytest.raises(SiteError, match=r"got 'L1\.mlps'; expected a layer with the kind of site"):
        build_site_codecs(llama, {"L1.mlps": copying_sae(WIDTH)}, TOKENS)
    for part in ("mlp", "attn"):
        bare = copying_sae(WIDTH, metadata={"hook_name": f"blocks.1.{part}.hook_out"})
        assert build_site_codecs(llama, {f"L1.{part}": bare}, TOKENS)
        for form, name in ((as_hooked, "gemma2"), (as_bridge, "gemma3"), (as_hooked, "olmo2 ungrouped"), (as_bridge, "olmo2 head_dim")):
            with pytest.raises(UnsupportedSAEError, match=rf"before the norm that follows it in this model \({part}\.hook_out\)"):
                build_site_codecs(form(name), {f"L1.{part}": bare}, TOKENS)
    summed = transcoder_of("transcoder", torch.eye(WIDTH), torch.zeros(WIDTH), torch.eye(WIDTH), torch.zeros(WIDTH))
    summed.cfg.metadata = SAEMetadata(**{RELEASE_KEY: "mntss-gemma-2-2b-2.5m-clt-as-per-layer", ID_KEY: "1"})
    with pytest.raises(UnsupportedSAEError, match="cross-layer transcoder or crosscoder"):
        build_site_codecs(llama, {"L1.tc": summed}, TOKENS)


def test_a_fold_that_differs_from_the_dictionary_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = as_hooked(RELU)
    skip = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(3))
    made = mlp_as_transcoder(model.blocks[BLOCK], "skip_transcoder", skip)
    fold = SiteCodec.from_sae

    def forgetful(*args: Any, **kwargs: Any) -> SiteCodec:
        codec = fold(*args, **kwargs)
        return replace(codec, w_skip=codec.w_skip * 0.5)

    monkeypatch.setattr(SiteCodec, "from_sae", forgetful)
    with pytest.raises(LoadingError, match="the folded skip differs from the SAE's own"):
        build_site_codecs(model, {"L1.tc": made}, TOKENS)


def test_runs_go_on_refusing_what_they_cannot_analyse_yet() -> None:
    model = as_hooked(RELU)
    made = mlp_as_transcoder(model.blocks[BLOCK], hook_name="blocks.1.mlp.hook_in")
    for call in (describe_sites, AnalysedModel.of):
        with pytest.raises(UnsupportedSAEError, match="layer 1: got a 'transcoder' SAE; it reads one place and writes another"):
            call(model, {1: made})
        with pytest.raises(UnsupportedSAEError, match="only SAEs on the residual stream before or after a block"):
            call(model, {1: copying_sae(WIDTH, metadata={"hook_name": "blocks.1.hook_mlp_out"})})
