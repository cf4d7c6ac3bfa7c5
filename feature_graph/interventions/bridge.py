"""Reading a TransformerBridge's weights: TransformerLens 3's successor of HookedTransformer, around a transformers model.

A bridge cannot start at a layer (it raises NotImplementedError in 3.9), but it shows its weights under the names of a HookedTransformer.
:func:`bridge_parts` gathers them, as they are at that moment (raw, or processed by its compatibility mode), in the shape that the slices
read. What a bridge leaves to the transformers module that it wraps (rotary tables, sliding windows, activation functions …) is read by
:mod:`feature_graph.interventions.wrapped`. Running a whole model, with hooks and caches, stays the bridge's:
``blocks.{L}.hook_resid_pre`` and ``hook_resid_post`` fire as they do elsewhere.

``ModelSlices.check`` then compares every point with the bridge's own ``run_with_cache``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from feature_graph.interventions import wrapped
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.norms import bridged_norm

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

#: Architectures (transformers' names) that were compared with the bridge's own forward pass.
ARCHITECTURES = (
    "GPT2LMHeadModel",
    "GPTBigCodeForCausalLM",
    "GPTNeoXForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "GraniteForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "OlmoForCausalLM",
    "Olmo2ForCausalLM",
    "Olmo3ForCausalLM",
    "PhiForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
    "StableLmForCausalLM",
    "Starcoder2ForCausalLM",
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
    from transformer_lens.model_bridge import TransformerBridge

    return isinstance(model, TransformerBridge)


def bridge_parts(bridge: TransformerBridge) -> Any:
    """What the slices read of a HookedTransformer (``cfg``, ``blocks``, ``embed``, …), from a bridge; weights are shared.

    Raises:
        InterventionError: For an architecture that was not compared.
    """
    cfg, architecture = bridge.cfg, str(getattr(bridge.cfg, "architecture", None))
    if architecture not in ARCHITECTURES:
        raise InterventionError(
            f"TransformerBridge: architecture {architecture} not supported; supported are {', '.join(ARCHITECTURES)}. A HookedTransformer "
            "of the same model may be"
        )
    text = bridge.original_model.config.get_text_config()
    settings = _settings(bridge, text)
    blocks = []
    for index in range(int(cfg.n_layers)):
        block = _block(bridge, index, text)
        block.cfg = SimpleNamespace(**settings, window_size=block.window)
        blocks.append(block)
    positions = SimpleNamespace(W_pos=bridge.pos_embed.W_pos) if cfg.positional_embedding_type == "standard" else None
    output, bias = bridge.unembed.W_U, bridge.unembed.b_U
    bias = torch.zeros(output.shape[1], dtype=output.dtype, device=output.device) if bias is None else bias
    return SimpleNamespace(
        cfg=SimpleNamespace(**settings),
        blocks=blocks,
        embed=SimpleNamespace(W_E=wrapped.embedding(bridge)),
        pos_embed=positions,
        ln_final=bridged_norm(bridge.ln_final),
        unembed=SimpleNamespace(W_U=output, b_U=bias),
        logit_scale=1.0 / float(getattr(text, "logits_scaling", None) or 1.0),
    )


def _settings(bridge: TransformerBridge, text: Any) -> dict[str, Any]:
    cfg = bridge.cfg
    settings = {name: getattr(cfg, name) for name in _SETTINGS}
    settings |= {
        "normalization_type": cfg.normalization_type,
        "original_architecture": str(cfg.architecture),
        "parallel_attn_mlp": wrapped.is_parallel(cfg, text),
        "clip_qkv": getattr(text, "clip_qkv", None),
    }
    if bool(getattr(cfg, "post_embedding_ln", False)):
        settings["post_embedding_ln"] = True
    return settings


def _block(bridge: TransformerBridge, index: int, text: Any) -> SimpleNamespace:
    block, cfg = bridge.blocks[index], bridge.cfg
    theirs = block.attn.original_component
    window = wrapped.window(theirs, text, index)
    outer = float(getattr(block.original_component, "residual_multiplier", 1.0))
    values = {
        **_projections(block.attn, cfg, outer),
        "attn_scale": wrapped.scale(theirs, text, index, int(cfg.d_head)),
        "attn_type": "global" if window is None else "local",
        "q_norm": bridged_norm(getattr(block.attn, "q_norm", None)),
        "k_norm": bridged_norm(getattr(block.attn, "k_norm", None)),
        "rotary": wrapped.rotary(bridge, theirs, text, index) if cfg.positional_embedding_type == "rotary" else None,
    }
    norms = {name: bridged_norm(getattr(block, name, None)) for name in ("ln1", "ln1_post", "ln2", "ln2_post")}
    if norms["ln2"] is None and wrapped.is_parallel(cfg, text):
        norms["ln2"] = norms["ln1"]  # attention and MLP read one norm
    mlp = SimpleNamespace(**_mlp(block.mlp, bool(cfg.gated_mlp), int(cfg.d_model), outer, text))
    return SimpleNamespace(attn=SimpleNamespace(**values), mlp=mlp, window=window, **norms)


def _projections(attn: Any, cfg: Any, outer: float) -> dict[str, Tensor]:
    kv = int(cfg.n_key_value_heads or cfg.n_heads)
    zeros = torch.zeros(1, dtype=attn.W_Q.dtype, device=attn.W_Q.device)
    return {
        "W_Q": attn.W_Q,
        "W_O": _scaled(attn.W_O, outer),
        **{f"{mark}{name}": getattr(attn, name) for name in ("W_K", "W_V") for mark in ("", "_")},
        "b_Q": _bias(attn.b_Q, zeros, (int(cfg.n_heads), int(cfg.d_head))),
        **{f"{mark}{n}": _bias(getattr(attn, n), zeros, (kv, int(cfg.d_head))) for n in ("b_K", "b_V") for mark in ("", "_")},
        "b_O": _scaled(_bias(attn.b_O, zeros, (int(cfg.d_model),)), outer),
    }


def _mlp(mlp: Any, gated: bool, d_model: int, outer: float, text: Any) -> dict[str, Any]:
    w_in, zeros = mlp.W_in, torch.zeros(1, dtype=mlp.W_in.dtype, device=mlp.W_in.device)
    gate = {"W_gate": mlp.W_gate, "b_gate": mlp.gate.bias, "b_up": mlp.b_in} if gated else {}
    return {
        "W_in": w_in,
        "b_in": _bias(None if gated else mlp.b_in, zeros, (int(w_in.shape[1]),)),
        "W_out": _scaled(mlp.W_out, outer),
        "b_out": _scaled(_bias(mlp.b_out, zeros, (d_model,)), outer),
        "act_fn": wrapped.activation(mlp.original_component, text),
        **gate,
    }


def _bias(bias: Tensor | None, zeros: Tensor, shape: tuple[int, ...]) -> Tensor:
    return zeros.expand(shape) if bias is None else bias.reshape(shape)


def _scaled(weight: Tensor, by: float) -> Tensor:
    """The weight itself, or a scaled copy where the block multiplies what it adds to the stream (Granite)."""
    return weight if by == 1.0 else weight.detach() * by
