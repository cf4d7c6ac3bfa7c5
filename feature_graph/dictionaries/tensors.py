"""The tensors that dictionaries read and write, by block, from any model with hooks.

=================  ===========================================================================================================
``resid_pre``      residual stream before the block
``z``              the heads' outputs before W_O, flattened: [..., heads × d_head], which need not be d_model
``attn_out``       what attention adds to the stream: after W_O, and after a norm that follows it (Gemma 2 and 3, OLMo 2)
``resid_mid``      residual stream between attention and MLP; blocks whose two parts run in parallel (Pythia, GPT-J) have none
``mlp_stream``     residual stream that the MLP's branch begins with: ``resid_mid``, in parallel blocks ``resid_pre``
``mlp_normalized`` the same after the MLP's norm, *without* the norm's gain and bias (Gemma Scope's transcoders)
``mlp_in``         what the MLP reads: after the norm *with* its gain and bias; in OLMo 2, which normalises the output, the raw stream
``mlp_out``        what the MLP adds to the stream, after a norm that follows it
``resid_post``     residual stream after the block
=================  ===========================================================================================================

Names of hooks mislead: ``hook_mlp_in`` is ``mlp_stream`` in TransformerLens and fires only on request; ``ln2.hook_normalized`` is
``mlp_normalized``, and in OLMo 2 a part of the output; ``mlp.hook_in`` is ``mlp_in``, and a HookedTransformer has none, so that its norm's
gain is applied here. With the gain folded into the MLP's weights (``fold_ln``) there is no ``mlp_in`` any more, and it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from feature_graph.dictionaries.errors import LoadingError
from feature_graph.dictionaries.models import HookedModel

TensorName = Literal["resid_pre", "z", "attn_out", "resid_mid", "mlp_stream", "mlp_normalized", "mlp_in", "mlp_out", "resid_post"]
#: Architectures that normalise what attention and MLP give, instead of what they read.
POST_NORM = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")
_PLAIN: dict[TensorName, str] = {
    "resid_pre": "hook_resid_pre",
    "z": "attn.hook_z",
    "attn_out": "hook_attn_out",
    "resid_mid": "hook_resid_mid",
    "mlp_out": "hook_mlp_out",
    "resid_post": "hook_resid_post",
}


@dataclass(frozen=True)
class TensorHook:
    """How a tensor is read.

    Attributes:
        name: Which tensor.
        block: Of which block.
        hook: The hook that gives it.
        gain: [d_model], what the hook's value is multiplied by; None: nothing.
        bias: [d_model], what is added after that; None: nothing.
    """

    name: TensorName
    block: int
    hook: str
    gain: Tensor | None = field(default=None, compare=False, repr=False)
    bias: Tensor | None = field(default=None, compare=False, repr=False)

    def read(self, cache: Mapping[str, Tensor]) -> Tensor:
        """The tensor [n, context, width], from what ``run_with_cache`` kept."""
        x = cache[self.hook]
        x = x.flatten(2) if self.name == "z" else x
        x = x if self.gain is None else x * self.gain
        return x if self.bias is None else x + self.bias


def is_parallel(model: HookedModel) -> bool:
    """Whether attention and MLP of a block both read the stream before it."""
    return bool(model.cfg.parallel_attn_mlp)


def width_of(model: HookedModel, name: TensorName) -> int:
    """Length of a tensor's vectors."""
    return int(model.cfg.n_heads) * int(model.cfg.d_head) if name == "z" else int(model.cfg.d_model)


def tensor_hook(model: HookedModel, name: TensorName, block: int) -> TensorHook:
    """How a tensor is read from a HookedTransformer or TransformerBridge.

    Raises:
        LoadingError: If the model has no such tensor, or does not show it.
    """
    if not 0 <= block < int(model.cfg.n_layers):
        raise LoadingError(f"block {block}: the model has blocks 0 to {int(model.cfg.n_layers) - 1}")
    if name.startswith("mlp_") and bool(getattr(model.cfg, "attn_only", False)):
        raise LoadingError(f"block {block}: {name}: the model has no MLPs")
    if name == "resid_mid" and is_parallel(model):
        raise LoadingError(
            f"block {block}: resid_mid: attention and MLP of this model both read the stream before the block, none lies between them"
        )
    made = _before_mlp(model, name, block) if name in ("mlp_stream", "mlp_normalized", "mlp_in") else None
    made = made or TensorHook(name, block, f"blocks.{block}.{_PLAIN[name]}")
    if made.hook not in model.hook_dict:
        raise LoadingError(f"block {block}: {name}: {type(model).__name__} has no hook {made.hook}, so that it cannot be read")
    return made


@torch.no_grad()
def read_tensors(model: HookedModel, tokens: Tensor, wanted: Iterable[TensorHook]) -> dict[TensorHook, Tensor]:
    """Run the model on ``tokens`` [n, context] and give each tensor, [n, context, width].

    Raises:
        LoadingError: If a hook did not fire.
    """
    hooks = list(wanted)
    names = list(dict.fromkeys(one.hook for one in hooks))
    _, cache = model.run_with_cache(tokens.to(model.cfg.device), names_filter=lambda name: name in names, return_type=None)
    lost = [name for name in names if name not in cache]
    if lost:
        raise LoadingError(f"hooks {lost} did not fire in a forward pass of {type(model).__name__}, so that these tensors cannot be read")
    return {one: one.read(cache) for one in hooks}


def output_weights(model: HookedModel, block: int) -> Tensor:
    """W_O [heads × d_head, d_model], through which goes what is written at z; a norm after attention, where there is one, follows."""
    parts: Any = model.blocks[block]  # type: ignore[attr-defined]
    weights = parts.attn.W_O.detach().flatten(0, 1)
    by = float(getattr(getattr(parts, "original_component", None), "residual_multiplier", 1.0))  # Granite's blocks
    return weights if by == 1.0 else weights * by


def has_norm_after(model: HookedModel, hook: str, block: int) -> bool:
    """Whether what ``attn.hook_out`` or ``mlp.hook_out`` gives is normalised before it is added to the stream (Gemma 2 and 3, OLMo 2)."""
    after = "ln1_post" if hook.startswith("attn") else "ln2_post"
    return _architecture(model) in POST_NORM or getattr(model.blocks[block], after, None) is not None  # type: ignore[attr-defined]


def _before_mlp(model: HookedModel, name: TensorName, block: int) -> TensorHook:
    stream = f"blocks.{block}.hook_resid_{'pre' if is_parallel(model) else 'mid'}"
    norm = None if _architecture(model) in POST_NORM else _norm(model, block)
    if name == "mlp_stream" or (name == "mlp_in" and norm is None):
        return TensorHook(name, block, stream)
    if norm is None:
        raise LoadingError(f"block {block}: mlp_normalized: no norm stands before the MLP of this model")
    normalized = f"blocks.{block}.{norm}.hook_normalized"
    if name == "mlp_normalized":
        return TensorHook(name, block, normalized)
    module = getattr(model.blocks[block], norm)  # type: ignore[attr-defined]
    if _is_folded(model, module):
        raise LoadingError(
            f"block {block}: mlp_in: the gain of the norm before the MLP is folded into the MLP's weights (fold_ln), so that what the MLP "
            "reads with the gain is not there any more; load the model without fold_ln"
        )
    if f"blocks.{block}.mlp.hook_in" in model.hook_dict:
        return TensorHook(name, block, f"blocks.{block}.mlp.hook_in")
    bias = getattr(module, "b", None)
    return TensorHook(name, block, normalized, module.w.detach(), None if bias is None else bias.detach())


def _architecture(model: HookedModel) -> str | None:
    """Transformers' name; a bridge and a HookedTransformer keep it under names of their own."""
    return getattr(model.cfg, "original_architecture", None) or getattr(model.cfg, "architecture", None)


def _norm(model: HookedModel, block: int) -> str | None:
    """The norm before the MLP: its own, the one that it shares with attention, or none."""
    parts: Any = model.blocks[block]  # type: ignore[attr-defined]
    for name in ("ln2", "ln1") if is_parallel(model) else ("ln2",):
        module = getattr(parts, name, None)
        if module is not None:
            return None if isinstance(module, nn.Identity) else name
    return None


def _is_folded(model: HookedModel, norm: Any) -> bool:
    """Whether the norm's gain and bias went into the weights that follow it."""
    if not hasattr(norm, "original_component"):
        return not hasattr(norm, "w")  # LayerNormPre, RMSNormPre
    if not bool(getattr(model, "_weights_processed", False)):
        return False
    theirs, offset = norm.original_component, 1.0 if getattr(norm.config, "rmsnorm_uses_offset", False) else 0.0
    weight, bias = getattr(theirs, "weight", None), getattr(theirs, "bias", None)
    plain = weight is not None and bool((weight + offset == 1).all())
    return plain and (bias is None or not bool(bias.any()))
