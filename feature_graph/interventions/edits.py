"""Edits of whole runs that other parts build on: gradients at the sites, and ablation.

A dictionary on a component is edited where it writes, by what its features read: a transcoder's at the MLP's output, by the MLP's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.site_effects import clamped_at
from feature_graph.interventions.site_tangents import read_at, stream_point, write_at
from feature_graph.interventions.slices import ModelSlices
from feature_graph.interventions.taps import BlockTaps, Where

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TensorGradients:
    """Gradient of an objective with respect to tensors of the model.

    Attributes:
        values: The objective, [n].
        tensors: Block and tensor → [n, context, width].
        gradients: Block and tensor → the same shape.
    """

    values: Tensor
    tensors: dict[Where, Tensor]
    gradients: dict[Where, Tensor]


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


def tensor_gradients(
    slices: ModelSlices,
    tokens: Any,
    at: Iterable[Where],
    objective: Callable[[Tensor], Tensor],
    positions: Tensor | None = None,
    read: Iterable[Where] = (),
) -> TensorGradients:
    """Gradient of ``objective(logits).sum()`` with respect to tensors of the model, everything after each free; the weights stay fixed.

    Args:
        slices: The model.
        tokens: int64 [n, context].
        at: Tensors to differentiate by.
        objective: From logits, [n, d_vocab] at ``positions`` or [n, context, d_vocab] without, to one value per row [n].
        positions: int64 [n], the position whose logits are taken in each row.
        read: Further tensors to keep.

    Raises:
        InterventionError: If the objective does not give one value per row.
    """
    wanted = list(dict.fromkeys(at))
    taps = BlockTaps.differentiable(wanted, read)
    first = min((block for block, _ in (*wanted, *read)), default=0)
    with torch.enable_grad():
        x = slices.run(slices.embed(tokens), 0, first).detach().requires_grad_()
        values = objective(slices.logits_from(first, x, positions, taps))
        if values.shape != (len(x),):
            raise InterventionError(f"objective: gave shape {tuple(values.shape)}, expected one value per row, ({len(x)},)")
        found = torch.autograd.grad(values.sum(), [taps.found[where] for where in wanted]) if wanted else ()
    tensors = {where: x.detach() for where, x in taps.found.items()}
    return TensorGradients(values.detach(), tensors, dict(zip(wanted, found, strict=True)))


def residual_gradients(
    model: HookedModel | ModelSlices,
    tokens: Any,
    points: Iterable[int],
    objective: Callable[[Tensor], Tensor],
    positions: Tensor | None = None,
) -> ResidualGradients:
    """:func:`tensor_gradients` of the residual stream at each point.

    Args:
        model: A HookedTransformer, or its :class:`ModelSlices`.
        tokens: int64 [n, context].
        points: Points to differentiate at.
        objective: As there.
        positions: As there.
    """
    slices = model if isinstance(model, ModelSlices) else ModelSlices(model)
    stops = sorted(set(points))
    slices.check_points(stops)
    where = {point: stream_point(point, slices.n_blocks) for point in stops}
    found = tensor_gradients(slices, tokens, where.values(), objective, positions)
    return ResidualGradients(
        found.values, {p: found.tensors[at] for p, at in where.items()}, {p: found.gradients[at] for p, at in where.items()}
    )


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
    levels: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """Logits with some features set to 0, or to other levels, by a delta (level − f_k) d_k each; the reconstruction error stays.

    Sites are edited in the order of the model, each where it writes; a feature's value at a later site is the one that the earlier edits
    leave. What a skip transcoder adds beside its features stays with the error.

    Args:
        slices: The model.
        codecs: Layer → dictionary.
        tokens: int64 [n, context].
        features: Layer → indices to ablate.
        positions: int64 [n], the position whose logits are wanted; all if None.
        mask: bool [n, context], positions to edit; all if None.
        levels: Layer → level of each feature of its dictionary, [d_sae] in folded units; None: 0.

    Returns:
        [n, d_vocab], or [n, context, d_vocab] without ``positions``.
    """
    steps: dict[Where, list[Change]] = {}
    for layer in sorted(features, key=lambda layer: codecs[layer].site.place.order):
        edit = _Edit(codecs[layer], features[layer], mask, None if levels is None else levels[layer])
        steps.setdefault(read_at(edit.codec.site, slices.n_blocks), []).append(edit.read)
        steps.setdefault(write_at(edit.codec.site, slices.n_blocks), []).append(edit.write)
    taps = BlockTaps(change={where: partial(_one_after_another, changes) for where, changes in steps.items()})
    return slices.logits_from(0, slices.embed(tokens), positions, taps)


class _Edit:
    """Features of one dictionary set to levels: what changes is found where the dictionary reads, and added where it writes."""

    def __init__(self, codec: SiteCodec, features: Any, mask: Tensor | None, levels: Tensor | None) -> None:
        self.codec, self._mask = codec, mask
        self._index = torch.as_tensor(features, dtype=torch.long, device=codec.device)
        self._levels = 0.0 if levels is None else levels[self._index]
        self._change: Tensor | None = None

    def read(self, x: Tensor) -> Tensor:
        acts = self.codec.record(x.to(self.codec.w_enc.dtype))[..., self._index]
        change = (self._levels - acts) @ self.codec.w_dec[self._index]
        self._change = change if self._mask is None else change * self._mask.to(x.device).unsqueeze(-1)
        return x

    def write(self, x: Tensor) -> Tensor:
        return x if self._change is None else x + self._change.to(x.dtype)


def _one_after_another(changes: Iterable[Change], x: Tensor) -> Tensor:
    for change in changes:
        x = change(x)
    return x


def entered(site: Site, x: Tensor, change: Change) -> tuple[Tensor, BlockTaps | None]:
    """How a run from a site's point on begins if what the site writes is to be changed.

    Args:
        site: The site.
        x: The residual stream at its point.
        change: From the tensor that the site writes to what is there instead.

    Returns:
        The residual stream to begin with, and the taps of the blocks that follow.
    """
    if site.kind == "residual":
        return change(x), None
    return x, BlockTaps(change={clamped_at(site): change})
