"""TransformerBridge, the successor of HookedTransformer: the same numbers from the same weights, through every stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights, convert_llama_weights
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, InteractionSet
from feature_graph.candidates import identify_candidates
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.dictionaries.build import build_codecs
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import (
    Clamps,
    InterventionError,
    ModelSlices,
    Reading,
    clamp_effects,
    jacobian_effects,
    mediated_effects,
    plain_effects,
)
from tests.support.interaction_stage import config
from tests.support.tiny_models import tiny_saes
from tests.support.tiny_tokenizer import tokenizer

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 50,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
GPT2: dict[str, Any] = {
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 16,
    "vocab_size": 50,
    "n_inner": 48,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "gpt2_inverse_layers": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "pythia": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GROUPED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**GROUPED, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=8, sliding_window=4, query_pre_attn_scalar=8)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=4)),
}


def transformers_model(name: str) -> Any:
    """Random weights, biases and norms included."""
    model = MODELS[name]().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.5 if parameter.ndim == 1 else 0.3))
    return model


def boot(name: str) -> TransformerBridge:
    return TransformerBridge.boot_transformers(f"tiny-{name}", hf_model=transformers_model(name), tokenizer=tokenizer(), device="cpu")


def hooked(name: str) -> HookedTransformer:
    """The same weights, converted by TransformerLens itself."""
    common: dict[str, Any] = {
        "n_layers": 4,
        "d_model": 32,
        "n_ctx": 16,
        "d_head": 8,
        "n_heads": 4,
        "d_mlp": 48,
        "d_vocab": 50,
        "device": "cpu",
    }
    common |= {"model_name": f"tiny-{name}", "default_prepend_bos": False}
    if name == "gpt2":
        cfg = HookedTransformerConfig(**common, act_fn="gelu_new", normalization_type="LN", eps=1e-5)
        state = convert_gpt2_weights(transformers_model(name), cfg)
    else:
        cfg = HookedTransformerConfig(
            **common, act_fn="silu", normalization_type="RMS", eps=1e-6, gated_mlp=True, positional_embedding_type="rotary",
            n_key_value_heads=2, rotary_dim=8, final_rms=True, original_architecture="LlamaForCausalLM",
        )  # fmt: skip
        state = convert_llama_weights(transformers_model(name), cfg)
    model = HookedTransformer(cfg)
    model.load_state_dict({k: v for k, v in state.items() if v is not None}, strict=False)
    model.set_tokenizer(tokenizer())
    return model.eval()


TOKENS = torch.randint(1, 50, (50, 12), generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_slices_of_a_bridge_agree_with_its_own_forward_pass(name: str, compatible: bool) -> None:
    bridge = boot(name)
    if compatible:
        bridge.enable_compatibility_mode(disable_warnings=True)
    slices = ModelSlices(bridge)
    assert slices.check(TOKENS[:3]) < 1e-5
    with torch.no_grad():
        logits = bridge(TOKENS[:3])
    torch.testing.assert_close(slices.logits_from(0, slices.embed(TOKENS[:3])), logits, rtol=1e-4, atol=1e-4)


def run(model: Any, folder: Path, method: str = "both") -> tuple[ActivationStore, InteractionSet]:
    """Every stage that runs the model: collecting, importance, alignment, measuring."""
    cfg = config(interaction_method=method, top_k_features=10, min_coactivation=0, min_decoder_alignment=0.0)
    saes = tiny_saes([0, 1, 3])
    store = collect_activations(model, saes, cfg, tokens=TOKENS, path=folder / "a.h5")
    candidates = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=model)
    return store, measure_interactions(model, saes, candidates, cfg, progress=False)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_bridge_and_a_hooked_transformer_give_the_same_results(name: str, tmp_path: Path) -> None:
    for kind in ("bridge", "hooked"):
        (tmp_path / kind).mkdir()
    one_store, one = run(boot(name), tmp_path / "bridge")
    two_store, two = run(hooked(name), tmp_path / "hooked")
    for layer in (0, 1, 3):
        gap = abs(one_store.activations[layer] - two_store.activations[layer])
        assert gap.max() < 1e-4
    keys = ["src_id", "tgt_id", "method"]
    pd.testing.assert_frame_equal(one.frame[keys], two.frame[keys])
    assert len(one) > 100
    for column in ("mean_strength", "direct_strength", "later_strength", "strength_jacobian", "copy_strength", "confirm_strength"):
        a, b = one.frame[column].to_numpy(float), two.frame[column].to_numpy(float)
        rms = np.sqrt(np.nanmean(b**2))
        assert rms > 0.01
        assert np.nanmax(np.abs(a - b)) < 1e-4 * rms, column
        assert (np.isnan(a) == np.isnan(b)).all()


def test_clamps_on_a_bridge_equal_its_hooks_and_parts_add_up() -> None:
    bridge = boot("gemma2")
    codecs = build_codecs(bridge, tiny_saes([0, 1, 3]))
    slices, tokens = ModelSlices(bridge), TOKENS[:5]
    clean = slices.residuals(tokens, [1, 2, 4], range(1, 4))
    documents, positions, sources = torch.tensor([0, 1, 4]), torch.tensor([0, 5, 11]), torch.tensor([3, 9, 20])
    clamps = Clamps(documents, positions, codecs[0].w_dec[sources], torch.tensor([2.0, 1.0, 3.0]), torch.tensor([-1.0, 0.0, 0.5]))
    path, counted = [Reading(codecs[1], None), Reading(codecs[3], None)], torch.ones_like(tokens, dtype=torch.bool)
    fast = clamp_effects(slices, clean, 1, clamps, path, 2, counted)
    plain = plain_effects(bridge, tokens, codecs[0].site, clamps, path, 2, counted)
    for a, b in zip(fast, plain, strict=True):
        for name in ("total", "direct", "later", "preactivation", "copy"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-3, atol=2e-4)
    slopes = jacobian_effects(slices, clean, 1, clamps, path, 2, counted)
    for site, effect in enumerate(mediated_effects(slices, clean, 1, clamps, path, derivative=True)):
        torch.testing.assert_close(sum(effect.parts.values()), slopes[site].total, rtol=1e-4, atol=1e-4)  # type: ignore[arg-type]


def test_architectures_that_were_not_compared_are_refused_by_name() -> None:
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "vocab_size": 50,
        "word_embed_proj_dim": 32,
    }
    model = OPTForCausalLM(OPTConfig(**small, max_position_embeddings=16)).eval()
    bridge = TransformerBridge.boot_transformers("tiny-opt", hf_model=model, tokenizer=tokenizer(), device="cpu")
    with pytest.raises(InterventionError, match="architecture OPTForCausalLM not supported; supported are GPT2LMHeadModel"):
        ModelSlices(bridge)
