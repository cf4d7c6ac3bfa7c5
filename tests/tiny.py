"""A tiny random transformer without tokenizer, for tests that need shapes and hooks but no language."""

from __future__ import annotations

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

D_MODEL, D_SAE, N_LAYERS, D_VOCAB = 16, 48, 4, 64


def tiny_model(seed: int = 0, *, d_vocab: int = D_VOCAB, n_ctx: int = 32) -> HookedTransformer:
    """Four blocks, 16 dimensions, 64 tokens, float32; the same seed gives the same weights."""
    torch.manual_seed(seed)
    cfg = HookedTransformerConfig(
        model_name="tiny",
        n_layers=N_LAYERS,
        d_model=D_MODEL,
        d_head=8,
        n_heads=2,
        d_mlp=32,
        d_vocab=d_vocab,
        n_ctx=n_ctx,
        act_fn="gelu",
        seed=seed,
    )
    return HookedTransformer(cfg).eval()
