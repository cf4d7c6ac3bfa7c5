"""Edits of whole runs that other parts build on: gradients at the sites, and ablation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.slices import ModelSlices


@dataclass(frozen=True)
class ResidualGradients:
    """Gradient of an objective with respect to the residual stream.

    Attributes:
        values: The objective, [n].
        residuals: Point → [n, context, d_model].
        gradients: Point → [n, context, d_model].
    """

    values: Tensor
    residuals: dict[int, Tensor]
    gradients: dict[int, Tensor]


def residual_gradients(
    model: HookedModel | ModelSlices,
    tokens: Any,
    points: Iterable[int],
    objective: Callable[[Tensor], Tensor],
    positions: Tensor | None = None,
) -> ResidualGradients:
    """Gradient of ``objective(logits).sum()`` with respect to the residual stream at each point; the weights stay fixed.

    Args:
        model: A HookedTransformer, or its :class:`ModelSlices`.
        tokens: int64 [n, context].
        points: Points to differentiate at.
        objective: From logits, [n, d_vocab] at ``positions`` or [n, context, d_vocab] without, to one value per row [n].
        positions: int64 [n], the position whose logits are taken in each row.
    """
    slices = model if isinstance(model, ModelSlices) else ModelSlices(model)
    stops = sorted(set(points))
    slices.check_points(stops)
    with torch.enable_grad():
        x, point = slices.embed(tokens), 0
        kept: dict[int, Tensor] = {}
        for stop in stops:
            x, point = slices.run(x, point, stop), stop
            if not kept:
                x = x.detach().requires_grad_()
            kept[stop] = x
        logits = slices.logits_from(point, x, positions)
        values = objective(logits)
        if values.shape != (len(x),):
            raise InterventionError(f"objective: gave shape {tuple(values.shape)}, expected one value per row, ({len(x)},)")
        found = torch.autograd.grad(values.sum(), list(kept.values())) if kept else ()
    return ResidualGradients(values.detach(), {p: r.detach() for p, r in kept.items()}, dict(zip(kept, found, strict=True)))


def next_token_loss(tokens: Tensor, counted: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """An objective for :func:`residual_gradients`: cross-entropy of the next token in nats, summed over each row.

    Args:
        tokens: int64 [n, context].
        counted: bool [n, context]; a prediction counts where the predicted token does. None counts all.

    The objective raises InterventionError for a model whose outputs are fewer than the tokens it reads.
    """

    def loss(logits: Tensor) -> Tensor:
        if tokens.numel() and int(tokens.max()) >= logits.shape[-1]:
            raise InterventionError(
                f"next_token_loss: token {int(tokens.max())} is none of the model's {logits.shape[-1]} outputs; it does not predict tokens"
            )
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:].to(logits.device), reduction="none")
        return each.sum(1) if counted is None else (each * counted[:, 1:].to(each)).sum(1)

    return loss


@torch.no_grad()
def ablate(
    slices: ModelSlices,
    codecs: Mapping[int, SiteCodec],
    tokens: Any,
    features: Mapping[int, Any],
    positions: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Logits with some features set to 0 by a delta, −f_k d_k each; the reconstruction error stays.

    Sites are edited from low to high; a feature's value at a later site is the one that the earlier edits leave.

    Args:
        slices: The model.
        codecs: Layer → dictionary.
        tokens: int64 [n, context].
        features: Layer → indices to ablate.
        positions: int64 [n], the position whose logits are wanted; all if None.
        mask: bool [n, context], positions to edit; all if None.

    Returns:
        [n, d_vocab], or [n, context, d_vocab] without ``positions``.
    """
    x, point = slices.embed(tokens), 0
    for codec, chosen in sorted(((codecs[layer], chosen) for layer, chosen in features.items()), key=lambda pair: pair[0].site.point):
        index = torch.as_tensor(chosen, dtype=torch.long, device=slices.device)
        x, point = slices.run(x, point, codec.site.point), codec.site.point
        change = codec.record(x.to(codec.w_enc.dtype))[..., index] @ codec.w_dec[index]
        if mask is not None:
            change = change * mask.to(x.device).unsqueeze(-1)
        x = x - change.to(x.dtype)
    return slices.logits_from(point, x, positions)
