"""Tiny random models of the architectures people bring, in transformers' own classes: every weight random, gains and biases too.

Heads times head size differs from the width where the architecture allows it, and each setting that a conversion may forget has its line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as T
from torch import nn

VOCABULARY, WIDTH, CONTEXT = 80, 32, 128

LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WIDE = LLAMA | {"head_dim": 16}
PLAIN = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"}
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def rope(kind: str, **values: Any) -> dict[str, Any]:
    """Rotary settings of a configuration."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **values}}


LLAMA3 = rope("llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=32)
LONGROPE = rope(
    "longrope", factor=4.0, original_max_position_embeddings=32, short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[2.0, 3.0, 4.0, 5.0]
)
DYNAMIC = rope("dynamic", factor=4.0, original_max_position_embeddings=32)
NEO: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_layers": 4,
    "num_heads": 4,
    "max_position_embeddings": CONTEXT,
    "window_size": 8,
    "attention_types": [[["global", "local"], 2]],
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "ffn_dim": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "word_embed_proj_dim": WIDTH,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GEMMA2 = WIDE | {"query_pre_attn_scalar": 8, "sliding_window": 8}
GEMMA3 = WIDE | {"query_pre_attn_scalar": 8, "sliding_window": 8, "layer_types": MIXED}

#: Name → the model, with weights as its class makes them.
MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2)),
    "gpt2 n_inner": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2, n_inner=48)),
    "gpt2 inverse layers": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True)),
    "gpt2 unscaled": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2, scale_attn_weights=False)),
    "gpt2 relu untied": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2, activation_function="relu", tie_word_embeddings=False)),
    "gpt2 quick_gelu": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2, activation_function="quick_gelu")),
    "gpt2 eps": lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2, layer_norm_epsilon=0.1)),
    "gpt_neo": lambda: T.GPTNeoForCausalLM(T.GPTNeoConfig(**NEO)),
    "gpt_neo intermediate": lambda: T.GPTNeoForCausalLM(T.GPTNeoConfig(**NEO, intermediate_size=48)),
    "gptj": lambda: T.GPTJForCausalLM(T.GPTJConfig(**GPT2, rotary_dim=4)),
    "gptj n_inner": lambda: T.GPTJForCausalLM(T.GPTJConfig(**GPT2, rotary_dim=4, n_inner=48)),
    "gpt_neox": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**PLAIN)),
    "gpt_neox serial": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**PLAIN, use_parallel_residual=False)),
    "gpt_neox partial": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**PLAIN, rotary_pct=0.5)),
    "gpt_neox base": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**PLAIN, rotary_emb_base=500.0)),
    "gpt_neox no bias": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**PLAIN, attention_bias=False)),
    "gpt_neox tied": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**PLAIN, tie_word_embeddings=True)),
    "opt": lambda: T.OPTForCausalLM(T.OPTConfig(**OPT)),
    "opt post norm": lambda: T.OPTForCausalLM(T.OPTConfig(**OPT, do_layer_norm_before=False)),
    "opt projection": lambda: T.OPTForCausalLM(T.OPTConfig(**OPT | {"word_embed_proj_dim": 16})),
    "opt no bias": lambda: T.OPTForCausalLM(T.OPTConfig(**OPT, enable_bias=False)),
    "llama": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA)),
    "llama tied": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "llama head_dim": lambda: T.LlamaForCausalLM(T.LlamaConfig(**WIDE)),
    "llama theta": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 500.0})),
    "llama llama3": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, **LLAMA3)),
    "llama linear": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, **rope("linear", factor=4.0))),
    "llama dynamic": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, **DYNAMIC)),
    "llama yarn": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, **YARN)),
    "llama longrope": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, **LONGROPE)),
    "llama attention_bias": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, attention_bias=True)),
    "llama mlp_bias": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, mlp_bias=True)),
    "llama gelu": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, hidden_act="gelu")),
    "llama relu2": lambda: T.LlamaForCausalLM(T.LlamaConfig(**LLAMA, hidden_act="relu2")),
    "mistral": lambda: T.MistralForCausalLM(T.MistralConfig(**LLAMA, sliding_window=None)),
    "mistral window": lambda: T.MistralForCausalLM(T.MistralConfig(**WIDE, sliding_window=8)),
    "mistral linear": lambda: T.MistralForCausalLM(T.MistralConfig(**LLAMA, sliding_window=None, **rope("linear", factor=4.0))),
    "mixtral": lambda: T.MixtralForCausalLM(T.MixtralConfig(**LLAMA, num_local_experts=2, num_experts_per_tok=1)),
    "qwen2": lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**LLAMA)),
    "qwen2 theta": lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
    "qwen2 window": lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=8, max_window_layers=2)),
    "qwen2 yarn": lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**LLAMA, **YARN)),
    "qwen3": lambda: T.Qwen3ForCausalLM(T.Qwen3Config(**WIDE)),
    "qwen3 bias": lambda: T.Qwen3ForCausalLM(T.Qwen3Config(**WIDE, attention_bias=True)),
    "qwen3 window": lambda: T.Qwen3ForCausalLM(T.Qwen3Config(**WIDE, use_sliding_window=True, sliding_window=8, max_window_layers=2)),
    "gemma": lambda: T.GemmaForCausalLM(T.GemmaConfig(**WIDE)),
    "gemma2": lambda: T.Gemma2ForCausalLM(T.Gemma2Config(**GEMMA2)),
    "gemma2 no caps": lambda: T.Gemma2ForCausalLM(T.Gemma2Config(**GEMMA2, attn_logit_softcapping=None, final_logit_softcapping=None)),
    "gemma3": lambda: T.Gemma3ForCausalLM(T.Gemma3TextConfig(**GEMMA3)),
    "gemma3 bases": lambda: T.Gemma3ForCausalLM(
        T.Gemma3TextConfig(
            **GEMMA3,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        )
    ),
    "phi": lambda: T.PhiForCausalLM(T.PhiConfig(**PLAIN)),
    "phi qk norm": lambda: T.PhiForCausalLM(T.PhiConfig(**PLAIN, qk_layernorm=True)),
    "phi grouped": lambda: T.PhiForCausalLM(T.PhiConfig(**LLAMA)),
    "phi3": lambda: T.Phi3ForCausalLM(T.Phi3Config(**LLAMA)),
    "phi3 window": lambda: T.Phi3ForCausalLM(T.Phi3Config(**LLAMA, sliding_window=8)),
    "phi3 longrope": lambda: T.Phi3ForCausalLM(T.Phi3Config(**LLAMA, original_max_position_embeddings=32, **LONGROPE)),
    "olmo": lambda: T.OlmoForCausalLM(T.OlmoConfig(**LLAMA)),
    "olmo clip": lambda: T.OlmoForCausalLM(T.OlmoConfig(**LLAMA, clip_qkv=0.5)),
    "olmo2": lambda: T.Olmo2ForCausalLM(T.Olmo2Config(**LLAMA)),
    "olmo3": lambda: T.Olmo3ForCausalLM(T.Olmo3Config(**LLAMA, sliding_window=8, layer_types=MIXED)),
    "stablelm": lambda: T.StableLmForCausalLM(T.StableLmConfig(**LLAMA)),
    "stablelm bias": lambda: T.StableLmForCausalLM(T.StableLmConfig(**LLAMA, use_qkv_bias=True)),
    "stablelm parallel": lambda: T.StableLmForCausalLM(T.StableLmConfig(**LLAMA, use_parallel_residual=True)),
    "bloom": lambda: T.BloomForCausalLM(T.BloomConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, n_layer=4, n_head=4, seq_length=CONTEXT)),
    "falcon": lambda: T.FalconForCausalLM(T.FalconConfig(**PLAIN, multi_query=True)),
    "falcon alibi": lambda: T.FalconForCausalLM(T.FalconConfig(**PLAIN, alibi=True)),
    "granite": lambda: T.GraniteForCausalLM(
        T.GraniteConfig(**LLAMA, embedding_multiplier=3.0, residual_multiplier=0.5, attention_multiplier=0.2, logits_scaling=4.0)
    ),
    "cohere": lambda: T.CohereForCausalLM(T.CohereConfig(**LLAMA)),
    "starcoder2": lambda: T.Starcoder2ForCausalLM(T.Starcoder2Config(**LLAMA)),
    "smollm3": lambda: T.SmolLM3ForCausalLM(T.SmolLM3Config(**LLAMA)),
    "gpt_bigcode": lambda: T.GPTBigCodeForCausalLM(T.GPTBigCodeConfig(**GPT2)),
    "nemotron": lambda: T.NemotronForCausalLM(T.NemotronConfig(**LLAMA)),
    "glm4": lambda: T.Glm4ForCausalLM(T.Glm4Config(**LLAMA)),
    "ministral": lambda: T.MinistralForCausalLM(T.MinistralConfig(**WIDE, sliding_window=8, layer_types=MIXED)),
}


def random_model(name: str, seed: int = 0) -> Any:
    """A model of :data:`MODELS` with every parameter random: gains around 1 (0 where the class adds 1), biases, and matrices."""
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    randomise(model, seed)
    return model


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> None:
    """Draw every parameter anew: matrices as they would be in a trained model's scale, gains and biases unlike 1 and 0."""
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim >= 2:
            parameter.copy_(noise * 1.5 / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.3 * noise)


def write(name: str, folder: Path, seed: int = 0) -> Any:
    """Save the model in transformers' format and return it."""
    model = random_model(name, seed)
    model.save_pretrained(folder)
    return model
