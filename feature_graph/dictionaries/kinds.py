"""Which dictionaries are analysed: SAEs and transcoders whose encoder is one affine map and one element-wise step."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from feature_graph.dictionaries.errors import UnsupportedSAEError
from feature_graph.dictionaries.hook_names import module_hook

#: SAELens' architecture names -> the non-linearity after the affine map.
SUPPORTED = {"standard": "relu", "jumprelu": "jumprelu", "topk": "topk", "gated": "jumprelu"}
#: The same for transcoders.
TRANSCODERS = {
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
    "topk_transcoder": "topk",
    "topk_skip_transcoder": "topk",
}
_BATCH = (
    "in training its features compete across the batch; load its folder through this library, which makes the JumpReLU form of it, "
    "or save it with save_inference_model() and load that"
)
#: Architecture → why it is not analysed.
WHY_NOT = {
    "batchtopk": _BATCH,
    "matryoshka_batchtopk": _BATCH,
    "abstopk": "its features may be negative",
    "temporal": "a feature depends on several positions",
    "matching_pursuit": "its encoder is an iteration",
    **dict.fromkeys(TRANSCODERS, "it reads one place and writes another"),
}
_NOT_FOLDED = {
    "expected_average_only_in": "fold_activation_norm_scaling_factor(factor)",
    "covariance_whitening": "fold_activation_whitening(mean, matrix, inverse_matrix)",
}
_RESIDUAL = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")


@dataclass(frozen=True)
class ResidualHook:
    """A residual-stream hook.

    Attributes:
        name: Such as ``blocks.6.hook_resid_pre``.
        point: Blocks run before this residual exists.
    """

    name: str
    point: int


def parse_hook(name: str, layer: int) -> ResidualHook:
    """Read a hook's name: TransformerLens' own, or that of a whole block of a transformers model (``model.layers.5``), whose output it is.

    Raises:
        UnsupportedSAEError: If it is not the residual stream before or after a block.
    """
    name = module_hook(name) or name
    match = _RESIDUAL.fullmatch(name)
    if match is None:
        raise UnsupportedSAEError(
            f"layer {layer}: the SAE reads {name!r}; only SAEs on the residual stream before or after a block "
            "(blocks.N.hook_resid_pre, blocks.N.hook_resid_post) are taken so; name one on attention or MLP under sites, with its kind"
        )
    return ResidualHook(name, int(match[1]) + (match[2] == "post"))


def non_linearity(sae: Any, layer: int, *, components: bool = False) -> str:
    """``relu``, ``jumprelu`` or ``topk``.

    Args:
        sae: An SAELens SAE or transcoder.
        layer: The caller's number for it.
        components: Whether transcoders, and SAEs that lay heads side by side, are taken as well.

    Raises:
        UnsupportedSAEError: Naming the kind and why it is not analysed.
    """
    name = sae.cfg.architecture()
    taken = SUPPORTED | TRANSCODERS if components else SUPPORTED
    if name not in taken:
        why = WHY_NOT.get(name, "its encoder is not known to this library")
        hint = "; name a transcoder under sites, with kind: transcoder" if name in TRANSCODERS else ""
        raise UnsupportedSAEError(f"layer {layer}: got a {name!r} SAE; {why}. Supported: {', '.join(taken)} (BatchTopK as JumpReLU){hint}")
    if getattr(sae.cfg, "reshape_activations", "none") != "none" and not components:
        raise UnsupportedSAEError(
            f"layer {layer}: the SAE reshapes its input ({sae.cfg.reshape_activations}), as hook_z SAEs do; not supported"
        )
    head = sae.cfg.metadata.get("hook_head_index")
    if head is not None:
        raise UnsupportedSAEError(f"layer {layer}: the SAE reads one attention head (hook_head_index = {head}); not supported")
    scaling = sae.cfg.normalize_activations
    if scaling in ("layer_norm", "constant_norm_rescale"):
        raise UnsupportedSAEError(
            f"layer {layer}: normalize_activations={scaling!r} divides by each token's own norm, so a feature has no one "
            "direction in the residual stream; not supported"
        )
    if scaling in _NOT_FOLDED:
        raise UnsupportedSAEError(
            f"layer {layer}: normalize_activations={scaling!r}: the scaling of the SAE's input is not folded into its weights; "
            f"call sae.{_NOT_FOLDED[scaling]}, or, if it is folded, set the field to 'none'"
        )
    if scaling != "none":
        raise UnsupportedSAEError(f"layer {layer}: normalize_activations={scaling!r} is not known to this library")
    return taken[name]
