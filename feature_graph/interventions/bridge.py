"""Reading a TransformerBridge's weights: TransformerLens 3's successor of HookedTransformer, around a transformers model.

A bridge cannot start at a layer (it raises NotImplementedError in 3.9), but it shows its weights under the names of a HookedTransformer.
:func:`bridge_parts` gathers them, as they are at that moment (raw, or processed by its compatibility mode), in the shape that the slices
read. What a bridge leaves to the transformers module behind it (rotary tables, the scale of attention, sliding windows, activation
functions) is read there. Running a whole model, with hooks and caches, stays the bridge's: ``blocks.{L}.hook_resid_pre`` and
``hook_resid_post`` fire as they do elsewhere.

``ModelSlices.check`` then holds every point against the bridge's own ``run_with_cache``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from feature_graph.interventions.blocks import Norm
from feature_graph.interventions.errors import InterventionError

#: Architectures (transformers' names) that were compared with the bridge's own forward pass.
ARCHITECTURES = (
    "GPT2LMHeadModel",
    "GPTNeoXForCausalLM",
    "Gemma2ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
_SETTINGS = (
    "n_layers",
    "d_model",
    "n_ctx",
    "d_vocab",
    "n_heads",
    "d_head",
    "n_key_value_heads",
    "act_fn",
    "gated_mlp",
    "positional_embedding_type",
    "parallel_attn_mlp",
    "attn_only",
    "attn_scores_soft_cap",
    "output_logits_soft_cap",
    "attention_dir",
    "dtype",
    "n_devices",
    "num_experts",
)


def is_bridge(model: Any) -> bool:
    """Whether the model is a TransformerBridge."""
    return isinstance(model, TransformerBridge)


def bridge_parts(bridge: TransformerBridge) -> Any:
    """What the slices read of a HookedTransformer (``cfg``, ``blocks``, ``embed``, …), from a bridge; weights are shared.

    Raises:
        InterventionError: For an architecture that was not compared.
    """
    cfg = bridge.cfg
    architecture = str(getattr(cfg, "architecture", None))
    if architecture not in ARCHITECTURES:
        raise InterventionError(
            f"TransformerBridge: architecture {architecture} not supported; supported are {', '.join(ARCHITECTURES)}. A HookedTransformer "
            "of the same model may be"
        )
    text = bridge.original_model.config
    blocks = [_block(bridge, index, text) for index in range(int(cfg.n_layers))]
    settings = {name: getattr(cfg, name) for name in _SETTINGS}
    settings |= {
        "normalization_type": cfg.normalization_type,
        "original_architecture": None,
        "use_qk_norm": blocks[0].attn.q_norm is not None,
    }
    if bool(getattr(cfg, "post_embedding_ln", False)):
        settings["post_embedding_ln"] = True
    for block in blocks:
        block.cfg = SimpleNamespace(**settings, window_size=block.window)
        block.attn.cfg = SimpleNamespace(rotary_dim=block.attn.rotary_dim, rotary_adjacent_pairs=False)
    weight = _embedding(bridge)
    positions = SimpleNamespace(W_pos=bridge.pos_embed.W_pos) if cfg.positional_embedding_type == "standard" else None
    output, bias = bridge.unembed.W_U, bridge.unembed.b_U
    bias = torch.zeros(output.shape[1], dtype=output.dtype, device=output.device) if bias is None else bias
    return SimpleNamespace(
        cfg=SimpleNamespace(**settings),
        blocks=blocks,
        embed=SimpleNamespace(W_E=weight),
        pos_embed=positions,
        ln_final=_norm(bridge.ln_final),
        unembed=SimpleNamespace(W_U=output, b_U=bias),
    )


def _embedding(bridge: TransformerBridge) -> Tensor:
    """Rows that the residual stream begins with; Gemma scales them on the way."""
    weight = bridge.embed.W_E
    scale = getattr(bridge.original_model.get_input_embeddings(), "embed_scale", None)
    if scale is None and bridge.cfg.architecture == "Gemma2ForCausalLM":
        scale = torch.tensor(float(bridge.cfg.d_model) ** 0.5, dtype=weight.dtype)
    return weight if scale is None else weight.detach() * torch.as_tensor(scale, dtype=weight.dtype, device=weight.device)


def _block(bridge: TransformerBridge, index: int, text: Any) -> SimpleNamespace:
    block, cfg = bridge.blocks[index], bridge.cfg
    attn, theirs = block.attn, block.attn.original_component
    kv = int(cfg.n_key_value_heads or cfg.n_heads)
    zeros = torch.zeros(1, dtype=attn.W_Q.dtype, device=attn.W_Q.device)
    rotary = _rotary(bridge, theirs, attn.W_Q) if cfg.positional_embedding_type == "rotary" else {"rotary_dim": None}
    window = _window(theirs, text)
    values = {
        **{name: getattr(attn, name) for name in ("W_Q", "W_O")},
        **{f"{mark}{name}": getattr(attn, name) for name in ("W_K", "W_V") for mark in ("", "_")},
        "b_Q": _bias(attn.b_Q, zeros, (int(cfg.n_heads), int(cfg.d_head))),
        **{f"{mark}{n}": _bias(getattr(attn, n), zeros, (kv, int(cfg.d_head))) for n in ("b_K", "b_V") for mark in ("", "_")},
        "b_O": _bias(attn.b_O, zeros, (int(cfg.d_model),)),
        "attn_scale": _scale(theirs, text, index, int(cfg.d_head)),
        "attn_type": "global" if window is None else "local",
        "q_norm": _norm(getattr(attn, "q_norm", None)),
        "k_norm": _norm(getattr(attn, "k_norm", None)),
        **rotary,
    }
    mlp, gated = block.mlp, bool(cfg.gated_mlp)
    hidden = {
        "W_in": mlp.W_in,
        "W_out": mlp.W_out,
        "W_gate": mlp.W_gate if gated else None,
        "b_in": _bias(mlp.b_in, zeros, (int(mlp.W_in.shape[1]),)),
        "b_out": _bias(mlp.b_out, zeros, (int(cfg.d_model),)),
        "act_fn": _activation(mlp.original_component),
    }
    names = ("ln1", "ln1_post", "ln2", "ln2_post")
    norms = {name: _norm(getattr(block, name, None)) for name in names}
    return SimpleNamespace(attn=SimpleNamespace(**values), mlp=SimpleNamespace(**hidden), window=window, **norms)


def _bias(bias: Tensor | None, zeros: Tensor, shape: tuple[int, ...]) -> Tensor:
    return zeros.expand(shape) if bias is None else bias.reshape(shape)


def _norm(module: Any) -> Norm | None:
    """A norm's numbers, from the transformers module behind it; Gemma's weights are kept as an offset from 1."""
    if module is None:
        return None
    theirs = module.original_component
    weight, bias = theirs.weight.detach(), getattr(theirs, "bias", None)
    if getattr(module.config, "rmsnorm_uses_offset", False):
        weight = 1.0 + weight
    eps = getattr(theirs, "eps", None)
    eps = getattr(theirs, "variance_epsilon", None) if eps is None else eps
    return Norm(not module.uses_rms_norm, float(module.config.eps if eps is None else eps), weight, None if bias is None else bias.detach())


def _scale(theirs: Any, text: Any, index: int, d_head: int) -> float:
    """What scores are divided by."""
    scaling = getattr(theirs, "scaling", None)
    if scaling is not None and not hasattr(text, "scale_attn_weights"):
        return 1.0 / float(scaling)
    scale = d_head**0.5 if getattr(text, "scale_attn_weights", True) else 1.0
    return scale * (index + 1 if getattr(text, "scale_attn_by_inverse_layer_idx", False) else 1)


def _window(theirs: Any, text: Any) -> int | None:
    """Sliding window of a block, or None."""
    window = getattr(theirs, "sliding_window", None)
    if window is None and text.model_type == "mistral":
        window = text.sliding_window
    return None if window is None else int(window)


def _rotary(bridge: TransformerBridge, theirs: Any, like: Tensor) -> dict[str, Any]:
    """Sines and cosines of all positions, from the model's own rotary module."""
    module = getattr(bridge.original_model.base_model, "rotary_emb", None)
    if module is None:
        raise InterventionError(f"TransformerBridge: {type(theirs).__name__} has no rotary embedding that the slices can read")
    module = getattr(module, "original_component", module)
    positions = torch.arange(int(bridge.cfg.n_ctx), device=like.device)[None]
    cos, sin = module(like.detach()[:1, :1, :1].float(), positions)
    return {"rotary_cos": cos[0].to(like.dtype), "rotary_sin": sin[0].to(like.dtype), "rotary_dim": int(cos.shape[-1])}


def _activation(mlp: Any) -> Any:
    for name in ("act_fn", "act"):
        if hasattr(mlp, name):
            module = getattr(mlp, name)
            return getattr(module, "original_component", module)
    raise InterventionError(f"TransformerBridge: {type(mlp).__name__} has no activation function that the slices can read")
