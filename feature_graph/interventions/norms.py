"""Normalisations, read from TransformerLens' modules or from the transformers modules inside a bridge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from feature_graph.interventions.errors import InterventionError


@dataclass(frozen=True)
class Norm:
    """A normalisation over the last axis: centre (LayerNorm only), divide by the root mean square, scale, shift."""

    centre: bool
    eps: float
    w: Tensor | None = None
    b: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise [..., length]."""
        if self.centre:  # one fused pass
            return torch.nn.functional.layer_norm(x, x.shape[-1:], self.w, self.b, self.eps)
        return self.scaled(x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())

    def bare(self, x: Tensor) -> Tensor:
        """The same without scale and shift."""
        return self.without_gain()(x)

    def without_gain(self) -> Norm:
        """The same without scale and shift."""
        return replace(self, w=None, b=None)

    def along(self, x: Tensor, direction: Tensor) -> Tensor:
        """Derivative at x along a direction: s (δ − x̂⟨x̂,δ⟩/D), centred first where the norm centres."""
        if self.centre:
            x, direction = (value - value.mean(-1, keepdim=True) for value in (x, direction))
        scale = (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        unit = x * scale
        change = (direction - unit * (unit * direction).mean(-1, keepdim=True)) * scale
        return change if self.w is None else change * self.w

    def scaled(self, x: Tensor) -> Tensor:
        """Scale and shift what :meth:`bare` gave."""
        x = x if self.w is None else x * self.w
        return x if self.b is None else x + self.b


def apply(norm: Norm | None, x: Tensor) -> Tensor:
    """The norm of x, or x itself where there is none."""
    return x if norm is None else norm(x)


def read_norm(module: nn.Module | Norm | None) -> Norm | None:
    """The normalisation of a TransformerLens module, or one that was read already; None for none.

    Raises:
        InterventionError: For a module of another kind.
    """
    if module is None or isinstance(module, nn.Identity):
        return None
    if isinstance(module, Norm):
        return module
    from transformer_lens.components import LayerNorm, LayerNormPre, RMSNorm, RMSNormPre

    if isinstance(module, LayerNorm):
        return Norm(True, float(module.eps), module.w.detach(), module.b.detach())
    if isinstance(module, LayerNormPre):
        return Norm(True, float(module.eps))
    if isinstance(module, RMSNorm):
        return Norm(False, float(module.eps), module.w.detach())
    if isinstance(module, RMSNormPre):
        return Norm(False, float(module.eps))
    raise InterventionError(f"this model cannot be run in slices: normalisation {type(module).__name__} not supported")


def bridged_norm(module: Any) -> Norm | None:
    """A bridge's norm, from the transformers module inside it; Gemma's weights are kept as an offset from 1."""
    if module is None:
        return None
    theirs = module.original_component
    weight, bias = getattr(theirs, "weight", None), getattr(theirs, "bias", None)
    if weight is not None and getattr(module.config, "rmsnorm_uses_offset", False):
        weight = 1.0 + weight
    eps = next((value for name in ("eps", "variance_epsilon") if (value := getattr(theirs, name, None)) is not None), module.config.eps)
    return Norm(
        not module.uses_rms_norm,
        float(eps),
        None if weight is None else weight.detach(),
        None if bias is None else bias.detach(),
    )
