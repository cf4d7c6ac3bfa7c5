"""Transcoders, and SAEs on components, in the files of their families: read as their own formula says, folded, and refused by runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.dictionaries.codec_check import check_codec
from feature_graph.dictionaries.placements import Placement, placements
from feature_graph.loading import LoadingError, UnsupportedSAEError
from feature_graph.loading.families import find_dictionaries, read_dictionary
from feature_graph.loading.saes import load_saes
from tests.support.component_dictionaries import TRANSCODER_CLASSES, transcoder_of

D_IN, D_OUT, D_SAE, K = 8, 6, 20, 5
SITE = Site(3, "blocks.3.mlp.hook_in", 3, "m", "0" * 8, "r", "s", D_IN, D_SAE, kind="transcoder", reads="mlp_in", writes="mlp_out")


def weights() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "W_enc": torch.randn(D_IN, D_SAE, generator=g),
        "b_enc": torch.randn(D_SAE, generator=g) * 0.3,
        "W_dec": torch.randn(D_SAE, D_OUT, generator=g) * torch.linspace(0.2, 2.0, D_SAE)[:, None],
        "b_dec": torch.randn(D_OUT, generator=g),
        "W_skip": torch.randn(D_OUT, D_IN, generator=g),
        "threshold": torch.rand(D_SAE, generator=g),
    }


def vectors() -> Tensor:
    return torch.randn(64, D_IN, generator=torch.Generator().manual_seed(1))


def by_hand(w: dict[str, Tensor], kind: str) -> tuple[Tensor, Tensor]:
    """Activations and output of the formula."""
    x = vectors()
    pre = x @ w["W_enc"] + w["b_enc"]
    acts = pre.relu()
    if "jumprelu" in kind:
        acts = acts * (pre > w["threshold"])
    if "topk" in kind:
        kept = pre.topk(K, dim=-1)
        acts = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
    return acts, acts @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if "skip" in kind else 0.0)


def same(transcoder: Any, w: dict[str, Tensor], kind: str) -> None:
    """What was read computes the formula, and folds."""
    acts, out = by_hand(w, kind)
    assert transcoder.cfg.architecture() == kind
    assert torch.allclose(transcoder.encode(vectors()), acts, atol=1e-5)
    assert torch.allclose(transcoder(vectors()), out, atol=1e-4)
    codec = SiteCodec.from_sae(transcoder, SITE)
    check_codec(codec, transcoder, vectors())
    assert torch.allclose(codec.reconstruct(vectors()), out, atol=1e-4)


# --- SAELens


@pytest.mark.parametrize("kind", TRANSCODER_CLASSES)
def test_each_class_of_saelens_is_read_from_the_files_that_it_saves(kind: str, tmp_path: Path) -> None:
    w = weights()
    skip = w["W_skip"] if "skip" in kind else None
    made = transcoder_of(
        kind, w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"], skip, hook_name="blocks.3.mlp.hook_in", hook_name_out="blocks.3.hook_mlp_out"
    )
    if "jumprelu" in kind:
        made.threshold.data.copy_(w["threshold"])
    made.save_model(tmp_path / "blocks.3.transcoder")
    assert find_dictionaries(tmp_path) == {"blocks.3.transcoder"}
    read = read_dictionary(tmp_path / "blocks.3.transcoder", "cpu")
    assert type(read) is type(made)
    same(read, w, kind)
    assert placements(read, 3) == (Placement("transcoder", 3, "mlp_in", "mlp_out"),)


def test_a_transcoder_whose_files_contradict_each_other_is_refused(tmp_path: Path) -> None:
    w = weights()
    made = transcoder_of("transcoder", w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"])
    made.cfg.d_out = 5
    made.save_model(tmp_path / "a")
    with pytest.raises(LoadingError, match=r"d_out = 5, but W_enc is 8 × 20 and W_dec gives 6"):
        read_dictionary(tmp_path / "a", "cpu")


# --- circuit-tracer


def folder(root: Path, kind: str, config: dict[str, Any] | None = None, drop: tuple[str, ...] = (), **tensors: Tensor) -> Path:
    """A set of two transcoders as circuit-tracer's users publish it."""
    root.mkdir(parents=True, exist_ok=True)
    w = weights()
    kept = {"W_enc": w["W_enc"].T.contiguous(), **{key: w[key] for key in ("b_enc", "W_dec", "b_dec")}}
    kept |= {"activation_function.threshold": w["threshold"]} if "jumprelu" in kind else {}
    kept |= {"W_skip": w["W_skip"]} if "skip" in kind else {}
    for layer in (0, 3):
        save_file({key: value for key, value in (kept | tensors).items() if key not in drop}, root / f"layer_{layer}.safetensors")
    said = {
        "model_name": "Qwen/Qwen3-4B",
        "model_kind": "transcoder_set",
        "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "hook_mlp_out",
    }
    said |= config or {}
    (root / "config.yaml").write_text(yaml.safe_dump({key: value for key, value in said.items() if value is not None}))
    return root


FOLDERS = [
    ("transcoder", {}, {}),
    ("transcoder", {"activation": "relu"}, {}),
    ("skip_transcoder", {}, {}),
    ("jumprelu_transcoder", {}, {}),
    ("jumprelu_skip_transcoder", {}, {}),
    ("topk_transcoder", {"activation": "topk", "k": K}, {}),
    ("topk_skip_transcoder", {"activation": "topk", "k": K}, {}),
    ("topk_transcoder", {}, {"k": torch.tensor(K)}),
]


@pytest.mark.parametrize(("kind", "config", "tensors"), FOLDERS)
def test_circuit_tracers_files_are_its_formula(kind: str, config: dict[str, Any], tensors: dict[str, Tensor], tmp_path: Path) -> None:
    root = folder(tmp_path / "set", kind, config, **tensors)
    assert find_dictionaries(root) == {"layer_0.safetensors", "layer_3.safetensors"}
    read = read_dictionary(root / "layer_3.safetensors", "cpu")
    same(read, weights(), kind)
    assert placements(read, 3) == (Placement("transcoder", 3, "mlp_in", "mlp_out"),)
    assert read.cfg.metadata.model_name == "Qwen/Qwen3-4B"


@pytest.mark.parametrize(
    ("config", "tensors", "drop", "message"),
    [
        ({"model_kind": "cross_layer_transcoder"}, {}, (), "model_kind 'cross_layer_transcoder': its features write to several layers"),
        ({"feature_input_hook": None}, {}, (), "feature_input_hook and feature_output_hook must say"),
        ({"activation": "gelu"}, {}, (), "activation 'gelu': only relu, topk and jumprelu are read"),
        ({"activation": "jumprelu"}, {}, (), r"holds no activation_function\.threshold"),
        ({"activation": "topk"}, {}, (), "k = None, expected the features per token"),
        ({}, {}, ("b_dec",), "has no b_dec, which a 'transcoder' dictionary needs"),
        ({}, {"b_dec": torch.zeros(D_IN)}, (), r"b_dec has shape \(8,\), expected \(6,\)"),
        ({}, {"b_enc": torch.full((D_SAE,), torch.nan)}, (), "NaN or infinite values in b_enc"),
    ],
)
def test_what_circuit_tracers_files_do_not_say_or_say_wrongly_is_refused(
    config: dict[str, Any], tensors: dict[str, Tensor], drop: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    root = folder(tmp_path / "set", "transcoder", config, drop, **tensors)
    with pytest.raises(LoadingError, match=message):
        read_dictionary(root / "layer_3.safetensors", "cpu")


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", "transcoder")
    for text, message in (("a: [", "is not YAML"), ("- a\n- b\n", "got a YAML list, expected a mapping"), ("", "is empty")):
        (root / "config.yaml").write_text(text)
        with pytest.raises(LoadingError, match=rf"config\.yaml.*{message}"):
            read_dictionary(root / "layer_3.safetensors", "cpu")


# --- Gemma Scope


def gemma(root: Path, place: str, config: dict[str, str] | None = None, *, affine: bool = False) -> Path:
    """A folder of Gemma Scope; of Gemma Scope 2 with a configuration (empty: without the file)."""
    w, at = weights(), root / place
    at.mkdir(parents=True)
    w |= {
        "W_dec": torch.cat([w["W_dec"], w["W_dec"][:, :2]], dim=1),
        "b_dec": torch.cat([w["b_dec"], w["b_dec"][:2]]),
    }  # as wide as what is read
    kept = {key: w[key] for key in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
    if config is None:
        np.savez(at / "params.npz", **{key: value.numpy() for key, value in kept.items()})
        return at
    kept = {f"w_{key[2:]}" if key.startswith("W_") else key: value.contiguous() for key, value in kept.items()}
    kept |= {"affine_skip_connection": torch.eye(D_IN) * 2.0} if affine else {}
    save_file(kept, at / "params.safetensors")
    if config:
        (at / "config.json").write_text(json.dumps({"architecture": "jump_relu"} | config))
    return at


IN, OUT = "model.layers.3.pre_feedforward_layernorm.output", "model.layers.3.post_feedforward_layernorm.output"
Z = "model.layers.3.self_attn.o_proj.input"
GEMMA: list[tuple[str, dict[str, str] | None, tuple[str, str, str]]] = [
    ("gemma-scope-2b-pt-att/layer_3/width_16k/average_l0_9", None, ("hook_z", "z", "z")),
    ("gemma-scope-2b-pt-mlp/layer_3/width_16k/average_l0_9", None, ("mlp_out", "mlp_out", "mlp_out")),
    ("gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_9", None, ("transcoder", "mlp_normalized", "mlp_out")),
    ("gemma-scope-2-1b-pt/attn_out/layer_3_width_16k", {"hf_hook_point_in": Z}, ("hook_z", "z", "z")),
    ("gemma-scope-2-1b-pt/mlp_out/layer_3_width_16k", {"hf_hook_point_in": OUT}, ("mlp_out", "mlp_out", "mlp_out")),
    ("gemma-scope-2-1b-pt/x/layer_3_width_16k", {"hf_hook_point_in": IN, "hf_hook_point_out": OUT}, ("transcoder", "mlp_in", "mlp_out")),
    ("gemma-scope-2-1b-pt/transcoder/layer_3_width_16k", {}, ("transcoder", "mlp_in", "mlp_out")),
    ("gemma-scope-2-1b-pt/attn_out/layer_3_width_16k", {}, ("hook_z", "z", "z")),
]


@pytest.mark.parametrize(("place", "config", "expected"), GEMMA)
def test_gemma_scope_names_what_it_reads_and_writes(place: str, config: Any, expected: tuple[Any, Any, Any], tmp_path: Path) -> None:
    """With the norm's gain in Gemma Scope 2, without it in Gemma Scope; attention means the heads' outputs."""
    read = read_dictionary(gemma(tmp_path, place, config), "cpu")
    kind, reads, writes = expected
    assert placements(read, 3) == (Placement(kind, 3, reads, writes),)
    assert read.cfg.architecture() == ("jumprelu_transcoder" if kind == "transcoder" else "jumprelu")
    w = weights()
    pre = vectors() @ w["W_enc"] + w["b_enc"]
    assert torch.allclose(read.encode(vectors()), pre.relu() * (pre > w["threshold"]), atol=1e-5)


def test_the_affine_transcoders_of_gemma_scope_2_have_a_skip_connection(tmp_path: Path) -> None:
    at = gemma(
        tmp_path, "gemma-scope-2-1b-pt/transcoder/layer_3_width_16k_affine", {"hf_hook_point_in": IN, "hf_hook_point_out": OUT}, affine=True
    )
    read = read_dictionary(at, "cpu")
    assert read.cfg.architecture() == "jumprelu_skip_transcoder"
    assert torch.allclose(read(vectors()), read.decode(read.encode(vectors())) + 2.0 * vectors(), atol=1e-5)


# --- sparsify


@pytest.mark.parametrize("skip", [True, False])
def test_transcoders_of_sparsify_do_not_take_the_decoder_bias_off(skip: bool, tmp_path: Path) -> None:
    w, at = weights(), tmp_path / "layers.3.mlp"
    at.mkdir()
    kept = {"encoder.weight": w["W_enc"].T.contiguous(), "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    save_file(kept | ({"W_skip": w["W_skip"]} if skip else {}), at / "sae.safetensors")
    (at / "cfg.json").write_text(json.dumps({"k": K, "d_in": D_IN, "num_latents": D_SAE, "transcode": True, "skip_connection": skip}))
    read = read_dictionary(at, "cpu")
    same(read, w, f"topk_{'skip_' if skip else ''}transcoder")
    assert placements(read, 3) == (Placement("transcoder", 3, "mlp_in", "mlp_out"),)


# --- runs


@pytest.mark.parametrize("kind", ["transcoder", "topk_skip_transcoder"])
def test_runs_refuse_them_in_one_sentence(kind: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "set", kind, {"activation": "topk", "k": K} if "topk" in kind else None)
    cfg = Config(sae_release=str(root), sae_id_template="layer_{layer}.safetensors", layers=[0, 3])
    with pytest.raises(
        UnsupportedSAEError, match=rf"^layer 0: got a '{kind}' SAE; it reads one place and writes another\. Supported: standard"
    ) as told:
        load_saes(cfg, "cpu")
    assert "\n" not in str(told.value)
