"""Small models of every supported shape, and SAEs for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from sae_lens.saes import GatedSAE, GatedSAEConfig, JumpReLUSAE, JumpReLUSAEConfig, StandardSAE, StandardSAEConfig, TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata
from transformer_lens import HookedTransformer, HookedTransformerConfig

from feature_graph.dictionaries.build import SiteCodec, build_codecs

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"normalization_type": "LN", "act_fn": "gelu_new"},
    "gpt2_folded": {"normalization_type": "LNPre", "act_fn": "gelu_new"},
    "pythia": {
        "normalization_type": "LN",
        "act_fn": "gelu",
        "positional_embedding_type": "rotary",
        "rotary_dim": 2,
        "parallel_attn_mlp": True,
    },
    "llama": {
        "normalization_type": "RMS",
        "act_fn": "silu",
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "n_key_value_heads": 2,
        "final_rms": True,
    },
    "gemma2": {
        "normalization_type": "RMS",
        "act_fn": "gelu_pytorch_tanh",
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "n_key_value_heads": 2,
        "use_normalization_before_and_after": True,
        "attn_scores_soft_cap": 5.0,
        "output_logits_soft_cap": 30.0,
        "use_local_attn": True,
        "window_size": 4,
        "attn_types": ["global", "local", "global", "local"],
    },
    "gptj": {"normalization_type": "LN", "act_fn": "gelu_new", "positional_embedding_type": "rotary", "rotary_adjacent_pairs": True},
    "qk_norm": {"normalization_type": "RMS", "act_fn": "silu", "positional_embedding_type": "rotary", "use_qk_norm": True},
    "attention_only": {"normalization_type": "LN", "attn_only": True, "act_fn": None},
    "no_norm": {"normalization_type": None, "act_fn": "relu"},
}


def tiny_model(shape: str, seed: int = 0, **changes: Any) -> HookedTransformer:
    """A random model of 4 blocks, width 32, 4 heads, 16 tokens."""
    values: dict[str, Any] = {
        "model_name": shape,
        "n_layers": 4,
        "d_model": 32,
        "n_ctx": 16,
        "d_head": 8,
        "n_heads": 4,
        "d_mlp": 48,
        "d_vocab": 50,
        "device": "cpu",
        "seed": seed,
        "default_prepend_bos": False,
    }
    model = HookedTransformer(HookedTransformerConfig(**(values | SHAPES[shape] | changes)))
    generator = torch.Generator().manual_seed(seed + 1)
    scale = 0.1 if model.cfg.normalization_type is None else 0.35  # without norms the stream would grow without bound
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, or their handling would go unseen
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.5 if parameter.ndim == 1 else scale))
    return model.eval()


def tiny_saes(layers: list[int], d_in: int = 32, d_sae: int = 40, kind: str = "standard", seed: int = 5) -> dict[int, Any]:
    """Random dictionaries on ``blocks.L.hook_resid_post``."""
    generator = torch.Generator().manual_seed(seed)
    saes: dict[int, Any] = {}
    for layer in layers:
        common: dict[str, Any] = {"d_in": d_in, "d_sae": d_sae, "metadata": SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post")}
        sae: Any
        if kind == "topk":
            sae = TopKSAE(TopKSAEConfig(**common, k=6))
        elif kind == "gated":
            sae = GatedSAE(GatedSAEConfig(**common))
        elif kind == "jumprelu":
            sae = JumpReLUSAE(JumpReLUSAEConfig(**common))
        else:
            sae = StandardSAE(StandardSAEConfig(**common))
        with torch.no_grad():
            for name, parameter in sae.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.4 if name.startswith("W") else 0.2))
            if kind == "jumprelu":
                sae.threshold.abs_()
        saes[layer] = sae.eval()
    return saes


@dataclass
class Tiny:
    """A small model with dictionaries and text."""

    model: HookedTransformer
    saes: dict[int, Any]
    tokens: torch.Tensor
    codecs: dict[int, SiteCodec] = field(init=False)

    def __post_init__(self) -> None:
        self.codecs = build_codecs(self.model, self.saes)


def make_tiny(shape: str, kind: str = "standard", n_docs: int = 5, **changes: Any) -> Tiny:
    """Model, dictionaries on layers 0, 1 and 3, and random text."""
    tokens = torch.randint(0, 50, (n_docs, 12), generator=torch.Generator().manual_seed(9))
    return Tiny(tiny_model(shape, **changes), tiny_saes([0, 1, 3], kind=kind), tokens)
