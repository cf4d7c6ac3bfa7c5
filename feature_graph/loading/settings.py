"""Settings of a model's config.json: which of them change the numbers, and from which length on."""

from __future__ import annotations

from typing import Any

#: Settings that change what a model computes and that a conversion may forget.
_BEHAVIOUR = (
    "rope_parameters", "rope_scaling", "partial_rotary_factor", "rotary_pct", "no_rope_layers",
    "attention_bias", "mlp_bias", "use_bias", "use_qkv_bias", "qkv_bias", "bias", "enable_bias", "lm_head_bias", "add_qkv_bias",
    "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "attention_types", "window_size",
    "hidden_act", "hidden_activation", "activation_function", "head_dim", "n_inner",
    "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "query_pre_attn_scalar", "attention_multiplier", "embedding_multiplier",
    "residual_multiplier", "logits_scaling", "logit_scale", "attn_logit_softcapping", "final_logit_softcapping", "qk_layernorm",
    "use_qk_norm", "clip_qkv", "do_layer_norm_before", "word_embed_proj_dim", "alibi", "parallel_attn", "use_parallel_residual",
    "new_decoder_architecture", "tie_word_embeddings", "layer_norm_epsilon", "layer_norm_eps", "layer_norm_elementwise_affine",
    "rms_norm_eps", "norm_eps", "_remove_final_layer_norm",
)  # fmt: skip
_EXTRA_TOKENS = 16


def unusual(config: Any, hooked: Any = None) -> list[str]:
    """Settings that differ from their architecture's defaults and change the numbers, as ``name = value``.

    Args:
        config: Of transformers.
        hooked: A HookedTransformer's configuration; what it carries is left out.
    """
    text = config.get_text_config()
    values, usual = text.to_dict(), type(text)().to_dict()
    changed = [name for name in _BEHAVIOUR if name in values and values[name] != usual.get(name) and not _is_plain(text, name)]
    return [f"{name} = {values[name]!r}" for name in changed if not _carries(text, hooked, name)]


def _is_plain(text: Any, name: str) -> bool:
    value = getattr(text, name, None)
    if name in ("rope_parameters", "rope_scaling"):
        flat = value or {}
        return set(flat) <= {"rope_type", "rope_theta"} and flat.get("rope_type", "default") == "default" and flat.get("rope_theta") == 1e4
    if name == "head_dim":
        return bool(value is None or value * text.num_attention_heads == text.hidden_size)
    if name == "layer_types":
        return len(set(value or [])) < 2
    return value is None


def _carries(text: Any, hooked: Any, name: str) -> bool:
    """Whether a HookedTransformer of this configuration computes with the setting."""
    if hooked is None:
        return False
    value = getattr(text, name, None)
    if name in ("rope_parameters", "rope_scaling"):
        kind = (value or {}).get("rope_type", "default")
        same_base = float((value or {}).get("rope_theta", hooked.rotary_base)) == float(hooked.rotary_base)
        return same_base and (kind == "default" or (kind == "llama3" and bool(hooked.use_NTK_by_parts_rope)))
    same = {
        "sliding_window": hooked.window_size if hooked.use_local_attn else None,
        "hidden_act": hooked.act_fn,
        "activation_function": hooked.act_fn,
        "intermediate_size": hooked.d_mlp,
        "n_inner": hooked.d_mlp,
        "head_dim": hooked.d_head,
        "layer_norm_epsilon": hooked.eps,
        "layer_norm_eps": hooked.eps,
        "rms_norm_eps": hooked.eps,
        "scale_attn_weights": hooked.use_attn_scale,
        "scale_attn_by_inverse_layer_idx": hooked.scale_attn_by_inverse_layer_idx,
        "use_parallel_residual": hooked.parallel_attn_mlp,
        "attn_logit_softcapping": hooked.attn_scores_soft_cap,
        "final_logit_softcapping": hooked.output_logits_soft_cap,
    }
    return name == "tie_word_embeddings" or (name in same and same[name] == value)


def lengths(config: Any) -> dict[str, int]:
    """Settings that act only on contexts longer than their value: windows, chunks, lengths before scaling."""
    return {name: value for name, value in _flat(config.get_text_config().to_dict()) if _is_length(name, value)}


def _is_length(name: str, value: Any) -> bool:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return False
    return name.endswith(("sliding_window", "window_size", "original_max_position_embeddings", "chunk_size", "floor_scale"))


def _flat(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", value)]
    return rows


def compared_length(config: Any, context_length: int, at_least: int) -> int:
    """Tokens on which every length-dependent setting that the run can reach acts."""
    acting = [value for value in lengths(config).values() if value < context_length]
    return max(at_least, min(context_length, max(acting, default=0) + _EXTRA_TOKENS))
