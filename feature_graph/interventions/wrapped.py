"""What a TransformerBridge leaves to the transformers model inside it: positions, windows, scales, activation functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.rotary import Rotary, RotaryTable


def embedding(bridge: Any) -> Tensor:
    """Rows that the residual stream begins with; Gemma and Granite scale them on the way."""
    weight = bridge.embed.W_E
    scale = getattr(bridge.original_model.get_input_embeddings(), "embed_scale", None)
    if scale is None and bridge.cfg.architecture == "Gemma2ForCausalLM":
        scale = torch.tensor(float(bridge.cfg.d_model) ** 0.5, dtype=weight.dtype)
    if scale is None:
        scale = getattr(bridge.original_model.config.get_text_config(), "embedding_multiplier", None)
    return weight if scale is None else weight.detach() * torch.as_tensor(scale, dtype=weight.dtype, device=weight.device)


def is_parallel(cfg: Any, text: Any) -> bool:
    """Whether attention and MLP read the same stream; StableLM's bridge does not say it."""
    return bool(cfg.parallel_attn_mlp) or (text.model_type == "stablelm" and bool(text.use_parallel_residual))


def scale(theirs: Any, text: Any, index: int, d_head: int) -> float:
    """What scores are divided by."""
    scaling = getattr(theirs, "scaling", None)
    if scaling is not None and not hasattr(text, "scale_attn_weights"):
        return 1.0 / float(scaling)
    divisor = d_head**0.5 if getattr(text, "scale_attn_weights", True) else 1.0
    return divisor * (index + 1 if getattr(text, "scale_attn_by_inverse_layer_idx", False) else 1)


def window(theirs: Any, text: Any, index: int) -> int | None:
    """Sliding window of a block, or None."""
    kinds = getattr(text, "layer_types", None)
    if kinds is not None and kinds[index] == "full_attention":
        return None
    size = theirs.sliding_window if hasattr(theirs, "sliding_window") else getattr(text, "sliding_window", None)
    return None if size is None else int(size)


def rotary(bridge: Any, theirs: Any, text: Any, index: int) -> Rotary | None:
    """A block's sines and cosines at all positions, from the model's own rotary module; None for a block without (NoPE).

    Raises:
        InterventionError: If there is no such module.
    """
    if not getattr(theirs, "use_rope", True):
        return None
    module = getattr(bridge.original_model.base_model, "rotary_emb", None)
    if module is None:
        raise InterventionError(f"TransformerBridge: {type(theirs).__name__} has no rotary embedding that the slices can read")
    module = getattr(module, "original_component", module)
    kinds = isinstance(getattr(module, "rope_type", None), dict)  # a table for each kind of layer
    kind = text.layer_types[index] if kinds else None
    values = text.rope_parameters[kind] if kind is not None else (getattr(text, "rope_parameters", None) or {})
    like, n_ctx = _some_weight(bridge, index), int(bridge.cfg.n_ctx)
    whole = _table(module, like, n_ctx, kind)
    limit = values.get("original_max_position_embeddings") if values.get("rope_type") == "longrope" else None
    dim = int(whole.cos.shape[-1])
    if limit is None or int(limit) >= n_ctx:
        return Rotary(whole, dim)
    return Rotary(_table(module, like, int(limit), kind), dim, limit=int(limit), beyond=whole)


def _some_weight(bridge: Any, index: int) -> Tensor:
    """Some weight of a block's attention, for its type and device."""
    weight: Tensor = bridge.blocks[index].attn.W_Q
    return weight.detach()


@torch.no_grad()
def _table(module: Any, like: Tensor, length: int, kind: str | None) -> RotaryTable:
    positions = torch.arange(length, device=like.device)[None]
    cos, sin = module(like[:1, :1, :1].float(), positions, **({} if kind is None else {"layer_type": kind}))
    return RotaryTable(sin[0].to(like.dtype), cos[0].to(like.dtype))


def activation(mlp: Any, text: Any) -> Any:
    """The MLP's own activation function, or the one that the configuration names."""
    from transformers.activations import ACT2FN

    for name in ("act_fn", "act", "activation_fn"):
        if hasattr(mlp, name):
            module = getattr(mlp, name)
            return getattr(module, "original_component", module)
    named = next((v for n in ("hidden_act", "hidden_activation", "activation_function") if (v := getattr(text, n, None))), None)
    if named is None:
        raise InterventionError(f"TransformerBridge: {type(mlp).__name__} has no activation function that the slices can read")
    return ACT2FN[named]
