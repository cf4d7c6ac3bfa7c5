"""Directions along which an MLP's derivative is learned and judged, and that derivative.

A direction δ of the stream, of length 1, reaches the MLP through the norm before it: for an RMS norm dx̂ = s (δ − x̂⟨x̂,δ⟩/D), s its scale at
the token; a LayerNorm also centres δ. Three kinds:

- *decoders*: what features of earlier dictionaries write, put in at any token as it is;
- *arrivals*: what becomes of that on its way to this block, at tokens where the feature is active (:mod:`scripts.band.arrivals`);
- *random*: isotropic.

Every fifth feature's direction is held out: it trains nothing, and the figures are taken from these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from feature_graph.interventions.jacobian import load_forward_rules

KINDS = ("decoders", "arrivals", "random")
_EVERY = 5
_TOGETHER = 4_096


def is_held_out(features: Tensor) -> Tensor:
    """Whether the directions of features, by index, train nothing."""
    return features % _EVERY == 0


def decoder_rows(decoders: list[Tensor], *, evaluation: bool) -> Tensor:
    """Rows [n, d_model] of length 1 of several decoders [d_sae, d_model], without those that write nothing."""
    kept = []
    for rows in decoders:
        norm = rows.float().norm(dim=1)
        chosen = (norm > 1e-8) & (is_held_out(torch.arange(len(rows))) == evaluation)
        kept.append(rows.float()[chosen] / norm[chosen, None])
    return torch.cat(kept)


def through_norm(x: Tensor, s: Tensor, directions: Tensor, *, centred: bool = False) -> Tensor:
    """Derivative of the normalised stream along directions of the stream.

    Args:
        x: Normalised stream [n, D], without gain.
        s: [n], the norm's scale.
        directions: [n, D], residual units.
        centred: Whether the norm is a LayerNorm.
    """
    d = directions - directions.mean(1, keepdim=True) if centred else directions
    return s[:, None] * (d - x * (d * x).mean(1, keepdim=True))


@dataclass(frozen=True)
class MlpDerivative:
    """An MLP from the normalised stream on, and its derivative.

    Attributes:
        run: Normalised stream, without gain, [n, 1, D] → what the MLP adds to the stream.
        centred: Whether the norm before it centres.
    """

    run: Callable[[Tensor], Tensor]
    centred: bool

    @classmethod
    def of(cls, model: Any, block: int) -> MlpDerivative:
        """The MLP of one block of a HookedTransformer."""
        parts = model.blocks[block]
        gain, bias = parts.ln2.w.detach(), getattr(parts.ln2, "b", None)

        def run(x: Tensor) -> Tensor:
            return parts.mlp(x * gain if bias is None else x * gain + bias.detach())

        return cls(run, centred="LN" in str(model.cfg.normalization_type))

    @torch.no_grad()
    def along(self, x: Tensor, dx: Tensor) -> Tensor:
        """[n, D], derivative of the output along changes ``dx`` of the normalised stream at ``x``."""
        load_forward_rules()
        parts = zip(x[:, None].split(_TOGETHER), dx[:, None].split(_TOGETHER), strict=True)
        return torch.cat([torch.func.jvp(self.run, (at,), (along,))[1][:, 0].float() for at, along in parts])


@dataclass(frozen=True)
class ResponseSamples:
    """Derivatives of an MLP.

    Attributes:
        x: [n, D], normalised streams.
        dx: [n, D], their changes per unit of the direction of the stream.
        dy: [n, D], the MLP's derivatives along them.
    """

    x: Tensor
    dx: Tensor
    dy: Tensor

    @classmethod
    def of(cls, mlp: MlpDerivative, x: Tensor, s: Tensor, directions: Tensor) -> ResponseSamples:
        """The derivatives at tokens [n, D] along directions of the stream [n, D], which are brought to length 1."""
        unit = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        dx = through_norm(x, s, unit, centred=mlp.centred)
        return cls(x, dx, mlp.along(x, dx))


def chosen(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` of the rows at random, with repetition."""
    return rows[torch.randint(len(rows), (n,), generator=generator)]
