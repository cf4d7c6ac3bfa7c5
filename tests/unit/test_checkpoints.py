"""Weights that are missing, left out, of another shape or not numbers: said before a dictionary is put on the model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from feature_graph.activations import collect_activations
from feature_graph.config import Config
from feature_graph.interventions import InterventionError
from feature_graph.loading import LoadingError, load_model_and_saes
from feature_graph.loading.models import load_model
from tests.architectures import random_model, write
from tests.support.tiny_models import tiny_model, tiny_saes

Weights = dict[str, torch.Tensor]


def load(folder: Path) -> Any:
    return load_model(Config(model_name=str(folder), layers=[0, 1], context_length=32))


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path, metadata={"format": "pt"})


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new): value for name, value in weights.items()}


def with_more(**more: torch.Tensor) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name.replace("__", "."): value for name, value in more.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("q_proj.weight", "q_proj.base_layer.weight"), r"4 weights of .* are missing \(model.layers.0.self_attn.q_proj.w.*LoRA"),
        (renamed("model.", "_orig_mod.model."), r"weights of .* are missing .*_orig_mod.*torch.compile"),
        (renamed("model.layers", "module.model.layers"), r"are missing .* DataParallel"),
        (lambda w: {k: v for k, v in w.items() if "layers.2.mlp" not in k}, r"3 weights of .* are missing .* would be random; config.json"),
        (lambda w: {k: v for k, v in w.items() if k != "lm_head.weight"}, r"1 weights of .* are missing \(lm_head.weight\)"),
        (lambda w: w | {"model.layers.1.mlp.up_proj.weight": torch.zeros(40, 32)}, r"another shape .* \(40, 32\) in the file, \(48, 32\)"),
        (with_more(model__layers__0__self_attn__q_proj__bias=torch.ones(32)), r"1 weights that its config.json leaves out .*q_proj.bias"),
        (with_more(model__layers__0__self_attn__q_proj__lora_A__weight=torch.ones(4, 32)), r"leaves out .*lora_A.*: an unmerged LoRA"),
        (lambda w: w | {"model.norm.weight": torch.full((32,), torch.nan)}, r"NaN or infinite \(model.norm.weight\)"),
        (lambda w: w | {"model.norm.weight": torch.full((32,), torch.inf)}, r"NaN or infinite \(model.norm.weight\)"),
        (lambda w: w | {"model.layers.1.mlp.down_proj.weight": torch.full((32, 48), 3e38)}, r"model itself gives NaN or infinity .*k 2"),
    ],
)  # fmt: skip
def test_weights_that_are_not_the_model_s_are_refused(change: Callable[[Weights], Weights], message: str, tmp_path: Path) -> None:
    write("llama", tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(LoadingError, match=message) as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


def test_what_old_files_hold_besides_is_said_and_not_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = write("gpt2", tmp_path)
    rewrite(tmp_path, with_more(transformer__h__0__attn__old_bias=torch.ones(1, 1, 8, 8), mtp__head__weight=torch.ones(3)))
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        model = load(tmp_path)
    assert [r.message for r in caplog.records if "2 weights of the files are not part of the model" in r.message]
    with torch.no_grad():
        assert torch.allclose(model(torch.arange(9)[None]), theirs(torch.arange(9)[None]).logits, atol=1e-4)


def test_a_model_without_its_head_loads_where_the_head_is_the_embedding(tmp_path: Path) -> None:
    whole = random_model("gpt2")
    whole.transformer.save_pretrained(tmp_path)
    assert torch.equal(load(tmp_path).W_E, whole.transformer.wte.weight)


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    write("llama", tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(LoadingError, match=r"holds adapter_config.json, an adapter that is not merged"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").write_text("{"), "transformers cannot load .*: "),
        (lambda f: (f / "config.json").write_text(json.dumps({"model_type": "no_such"})), "transformers cannot load .*no_such"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:900]), "transformers cannot load .*: "),
        (lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"), "transformers cannot load .*: "),
        (lambda f: (f / "model.safetensors").unlink(), "transformers cannot load .*: "),
    ],
)
def test_files_that_cannot_be_read_are_one_sentence(damage: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    write("gpt2", tmp_path)
    damage(tmp_path)
    with pytest.raises(LoadingError, match=message) as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("quality", ["stop", "warn", "off"])
def test_a_model_of_nan_is_said_before_any_dictionary_is_blamed(quality: str, tmp_path: Path) -> None:
    write("gpt2", tmp_path / "model")
    rewrite(tmp_path / "model", lambda w: w | {"transformer.h.1.mlp.c_proj.weight": torch.full((128, 32), torch.nan)})
    for layer, sae in tiny_saes([0, 1]).items():
        sae.save_model(tmp_path / "saes" / f"blocks.{layer}.hook_resid_post")
    cfg = Config(model_name=str(tmp_path / "model"), sae_release=str(tmp_path / "saes"), layers=[0, 1], sae_quality=quality)  # type: ignore[arg-type]
    with pytest.raises(LoadingError, match=r"weights of .*model are NaN or infinite \(transformer.h.1.mlp.c_proj.weight\)"):
        load_model_and_saes(cfg)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_by_the_api_the_model_is_blamed_too(value: float, tmp_path: Path) -> None:
    model, tokens = tiny_model("gpt2"), torch.randint(0, 50, (12, 12))
    with torch.no_grad():
        model.blocks[1].mlp.W_out[0, 0] = value
    cfg = Config(layers=[0, 1, 3], context_length=12, position_horizon=2, sae_quality="stop")
    with pytest.raises(InterventionError, match=r"the model gives NaN or infinity at blocks.2.hook_resid_pre"):
        collect_activations(model, tiny_saes([0, 1, 3]), cfg, tokens, path=tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_a_dictionary_of_nan_is_blamed_by_layer_and_file(tmp_path: Path) -> None:
    saes = tiny_saes([0, 1])
    with torch.no_grad():
        saes[1].W_dec[4, 2] = torch.nan
    saes[1].cfg.metadata["feature_graph_release"], saes[1].cfg.metadata["feature_graph_sae_id"] = "mine", "second"
    cfg = Config(layers=[0, 1], context_length=12, position_horizon=2, sae_quality="stop")
    with pytest.raises(LoadingError, match=r"layer 1: weights of 1 feature are NaN or infinite \(L1_F4\); the file of second in mine is"):
        collect_activations(tiny_model("gpt2"), saes, cfg, torch.randint(0, 50, (12, 12)), path=tmp_path / "a.h5")


def test_gpt2_as_its_own_class_saves_it_has_no_n_ctx_and_loads(tmp_path: Path) -> None:
    theirs = write("gpt2", tmp_path)
    assert isinstance(theirs, GPT2LMHeadModel)
    assert "n_ctx" not in json.loads((tmp_path / "config.json").read_text())
    assert load(tmp_path).cfg.n_ctx == 128
