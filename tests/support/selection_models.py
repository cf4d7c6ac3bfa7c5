"""Tiny random transformers and dictionaries of every supported kind, for the tests of activations, attribution and candidates."""

from __future__ import annotations

from typing import Any

import torch
from sae_lens import SAE
from sae_lens.saes import JumpReLUSAE, JumpReLUSAEConfig, StandardSAE, StandardSAEConfig, TopKSAE, TopKSAEConfig
from transformer_lens import HookedTransformer, HookedTransformerConfig

D_MODEL, D_VOCAB, N_CTX = 16, 50, 12


def tiny_model(n_layers: int = 3, seed: int = 0) -> HookedTransformer:
    """A random transformer without a tokenizer."""
    cfg = HookedTransformerConfig(
        n_layers=n_layers, d_model=D_MODEL, d_head=8, n_heads=2, d_mlp=32, n_ctx=N_CTX, d_vocab=D_VOCAB, act_fn="gelu",
        normalization_type="LNPre", seed=seed, device="cpu", model_name="tiny",
    )  # fmt: skip
    model = HookedTransformer(cfg)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.6 if parameter.ndim > 1 else 0.1)
    return model.eval()


def tiny_sae(hook: str, kind: str = "standard", d_sae: int = 40, seed: int = 0, d_in: int = D_MODEL) -> SAE[Any]:
    """A random dictionary with a sparse-ish code and decoder rows of different norms; feature 0 never fires."""
    common: dict[str, Any] = {"d_in": d_in, "d_sae": d_sae, "device": "cpu", "dtype": "float32"}
    made: SAE[Any]
    if kind == "topk":
        made = TopKSAE(TopKSAEConfig(**common, k=5))
    elif kind == "jumprelu":
        made = JumpReLUSAE(JumpReLUSAEConfig(**common))
    else:
        made = StandardSAE(StandardSAEConfig(**common))
    made.cfg.metadata.hook_name = hook
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(d_sae, d_in, generator=generator)
    decoder = decoder / decoder.norm(dim=1, keepdim=True) * torch.linspace(0.5, 2.0, d_sae)[:, None]
    made.W_dec.data = decoder
    made.W_enc.data = decoder.T.clone() / decoder.norm(dim=1) ** 2
    made.b_enc.data = torch.full((d_sae,), -0.6)
    made.b_enc.data[0] = -1e6
    made.b_dec.data = 0.1 * torch.randn(d_in, generator=generator)
    if kind == "jumprelu":
        made.threshold.data = torch.full((d_sae,), 0.2)
    return made.eval()


def tiny_saes(layers: tuple[int, ...] = (0, 1, 2), kind: str = "standard", d_sae: int = 40) -> dict[int, SAE[Any]]:
    """One dictionary behind each of these blocks."""
    return {layer: tiny_sae(f"blocks.{layer}.hook_resid_post", kind, d_sae, seed=layer) for layer in layers}


def random_tokens(n_docs: int = 30, context: int = 10, seed: int = 0) -> torch.Tensor:
    """int64 [n_docs, context]."""
    return torch.randint(0, D_VOCAB, (n_docs, context), generator=torch.Generator().manual_seed(seed))
