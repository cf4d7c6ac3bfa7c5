"""Where dictionaries read and write, by what they record; what cannot be told, and what writes to several layers, is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sae_lens import JumpReLUTranscoder, JumpReLUTranscoderConfig, StandardSAE, StandardSAEConfig, Transcoder, TranscoderConfig
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from sae_lens.saes.sae import SAEMetadata

from feature_graph.artifacts import SiteKind
from feature_graph.dictionaries import ID_KEY, RELEASE_KEY, LoadingError, UnsupportedSAEError
from feature_graph.dictionaries.placements import Placement, placements

D_IN, D_SAE = 8, 12


def sae(**metadata: Any) -> StandardSAE:
    return StandardSAE(StandardSAEConfig(d_in=D_IN, d_sae=D_SAE, metadata=SAEMetadata(**metadata)))


def transcoder(**metadata: Any) -> Transcoder:
    return Transcoder(TranscoderConfig(d_in=D_IN, d_out=D_IN, d_sae=D_SAE, apply_b_dec_to_input=False, metadata=SAEMetadata(**metadata)))


#: What releases of SAELens' registry record → what is read.
SAES = [
    ({"hook_name": "blocks.5.hook_resid_post"}, "residual", "resid_post"),
    ({"hook_name": "blocks.5.hook_resid_pre"}, "residual", "resid_pre"),
    ({"hook_name": "blocks.5.hook_resid_mid"}, "resid_mid", "resid_mid"),
    ({"hook_name": "blocks.5.attn.hook_z"}, "hook_z", "z"),
    ({"hook_name": "blocks.5.attn.hook_z", "hf_hook_name": "model.layers.5.self_attn.o_proj.input"}, "hook_z", "z"),
    ({"hook_name": "blocks.5.hook_attn_out"}, "attn_out", "attn_out"),
    ({"hook_name": "blocks.5.hook_mlp_out"}, "mlp_out", "mlp_out"),
    ({"hook_name": "blocks.5.hook_mlp_out", "hf_hook_name": "model.layers.5.post_feedforward_layernorm.output"}, "mlp_out", "mlp_out"),
    ({"hook_name": "blocks.5.hook_resid_post", "hf_hook_name": "model.layers.5"}, "residual", "resid_post"),
    ({"hook_name": "blocks.5.ln2.hook_normalized"}, "mlp_in", "mlp_normalized"),
    ({"hook_name": "blocks.5.mlp.hook_in"}, "mlp_in", "mlp_in"),
]
OUT = {"hook_name_out": "blocks.5.hook_mlp_out"}
GEMMA_SCOPE_2 = {
    "hook_name": "blocks.5.hook_mlp_in",
    "hf_hook_name": "model.layers.5.pre_feedforward_layernorm.output",
    "hf_hook_name_out": "model.layers.5.post_feedforward_layernorm.output",
}
TRANSCODERS = [
    ({"hook_name": "blocks.5.ln2.hook_normalized"}, ["mlp_normalized"]),  # Gemma Scope
    (GEMMA_SCOPE_2, ["mlp_in"]),
    ({"hook_name": "blocks.5.mlp.hook_in"}, ["mlp_in"]),  # Qwen3's
    ({"hook_name": "blocks.5.hook_resid_mid"}, ["mlp_stream"]),
    ({"hook_name": "blocks.5.hook_mlp_in"}, ["mlp_in", "mlp_stream"]),  # nothing tells: both are tried
    ({"hook_name": "blocks.5.mlp.hook_in", "hook_name_out": "blocks.5.mlp.hook_out"}, ["mlp_in"]),
]


@pytest.mark.parametrize(("recorded", "kind", "tensor"), SAES)
def test_an_sae_writes_what_it_reads(recorded: dict[str, str], kind: SiteKind, tensor: Any) -> None:
    assert placements(sae(**recorded), 5) == placements(sae(**recorded), 5, kind) == (Placement(kind, 5, tensor, tensor),)


@pytest.mark.parametrize(("recorded", "tensors"), TRANSCODERS)
def test_a_transcoder_reads_before_the_mlp_and_writes_its_output(recorded: dict[str, str], tensors: list[Any]) -> None:
    expected = tuple(Placement("transcoder", 5, tensor, "mlp_out") for tensor in tensors)
    assert placements(transcoder(**OUT | recorded), 5, "transcoder") == expected


def test_where_nothing_is_recorded_the_caller_says_the_kind() -> None:
    assert placements(transcoder(), 3, "transcoder") == (Placement("transcoder", 3, "mlp_in", "mlp_out"),)
    assert placements(sae(), 3, "hook_z") == (Placement("hook_z", 3, "z", "z"),)
    with pytest.raises(
        UnsupportedSAEError, match=r"layer 3: .* does not record where it reads .* kind of its site: residual, .*transcoder"
    ):
        placements(sae(), 3)


@pytest.mark.parametrize(
    ("made", "layer", "kind", "message"),
    [
        (sae(hook_name="blocks.5.hook_mlp_out"), 5, "attn_out", "of the kind attn_out, but the dictionary records that it reads mlp_out"),
        (sae(hook_name="blocks.5.hook_mlp_out"), 4, None, "writes mlp_out of block 5; a component's layer is its block"),
        (sae(hook_name="blocks.5.hook_mlp_out"), 5, "transcoder", "got a 'standard' dictionary for a site of the kind transcoder"),
        (transcoder(), 5, "mlp_out", "got a 'transcoder' dictionary for a site of the kind mlp_out"),
        (sae(hook_name="blocks.5.hook_mlp_out", hf_hook_name="model.layers.6"), 5, None, "records two places: hook_name = .* hf_hook_name"),
        (sae(hook_name="blocks.5.hook_mlp_out", hf_hook_name="model.layers.5"), 5, None, "records two places"),
        (sae(hook_name="blocks.5.hook_mlp_out", hook_name_out="blocks.5.hook_resid_post"), 5, None, "an SAE writes what it reads"),
    ],
)
def test_records_that_contradict_each_other_or_the_caller_are_refused(made: Any, layer: int, kind: Any, message: str) -> None:
    with pytest.raises(LoadingError, match=message):
        placements(made, layer, kind)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (sae(hook_name="blocks.5.attn.hook_q"), r"hook_name = 'blocks\.5\.attn\.hook_q': not a place"),
        (sae(hook_name="hook_embed"), "not a place at which this library reads dictionaries"),
        (transcoder(hook_name="blocks.5.hook_resid_post"), "reads resid_post and writes mlp_out; supported are those of an MLP"),
        (transcoder(hook_name="blocks.5.mlp.hook_in", hook_name_out="blocks.5.hook_resid_post"), "writes resid_post"),
        (transcoder(hook_name="blocks.5.mlp.hook_in", hook_name_out="blocks.7.hook_mlp_out"), "writes block 7: a cross-layer one"),
    ],
)
def test_a_reading_that_cannot_be_told_is_refused(made: Any, message: str) -> None:
    with pytest.raises(UnsupportedSAEError, match=message):
        placements(made, 5)


@pytest.mark.parametrize(
    "recorded",
    [
        {RELEASE_KEY: "mntss-gemma-2-2b-2.5m-clt-as-per-layer", ID_KEY: "5"},
        {RELEASE_KEY: "mine", ID_KEY: "clt/layer_5/width_16k"},
        {RELEASE_KEY: "google/gemma-scope-2-1b-pt", ID_KEY: "clt/width_262k_l0_medium/params_layer_5"},
        {"neuronpedia_id": "gemma-2-2b/5-clt-hp"},
        {RELEASE_KEY: "my-crosscoder-5"},
        {RELEASE_KEY: "cross-layer-transcoders"},
    ],
)
def test_a_cross_layer_transcoder_given_layer_by_layer_is_refused_by_its_name(recorded: dict[str, str]) -> None:
    made = transcoder(hook_name="blocks.5.mlp.hook_in", **OUT, **recorded)
    with pytest.raises(UnsupportedSAEError, match=r"cross-layer transcoder or crosscoder\. Its features write to several layers"):
        placements(made, 5)


def test_every_release_of_the_registry_is_told_apart() -> None:
    """Refused is the one whose loader sums decoders, and no other."""
    refused = []
    for release, entry in get_pretrained_saes_directory().items():
        sae_id = next(iter(entry.saes_map))
        names = {RELEASE_KEY: release, ID_KEY: sae_id, "neuronpedia_id": entry.neuronpedia_id.get(sae_id)}
        try:
            placements(transcoder(hook_name="blocks.5.mlp.hook_in", **names), 5)
        except UnsupportedSAEError:
            refused.append((release, entry.conversion_func))
    assert refused == [("mntss-gemma-2-2b-2.5m-clt-as-per-layer", "mntss_clt_layer_transcoder")]


def test_a_decoder_for_several_layers_is_refused_by_its_shape() -> None:
    made = JumpReLUTranscoder(JumpReLUTranscoderConfig(d_in=D_IN, d_out=D_IN, d_sae=D_SAE, apply_b_dec_to_input=False))
    made.W_dec = torch.nn.Parameter(torch.zeros(D_SAE, 3, D_IN))
    with pytest.raises(UnsupportedSAEError, match=r"W_dec has shape \(12, 3, 8\): a crosscoder or cross-layer transcoder"):
        placements(made, 5, "transcoder")
