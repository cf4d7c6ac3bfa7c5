"""The gated derivative in reverse mode: one backward pass per target serves every source that is sampled at the same place.

Forward mode (:mod:`feature_graph.interventions.jacobian`) carries one tangent a (source, sample) and reads all targets. Reverse mode runs
each distinct (document, position) once and goes back from each target; the gradient's product with a direction is then the derivative of
any source there. It is the cheaper one where many directions share few places and few targets are asked for, such as placebos of one
source. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from feature_graph.interventions.clamp import MEASURES, Clamps, Effects, Reading, later_mask, overlap, window_of
from feature_graph.interventions.holding import hold_change
from feature_graph.interventions.slices import CleanRun, ModelSlices

#: Work of a dual-number pass and of a forward pass with a backward one, in forward passes.
_DUAL, _BACKWARD = 2.5, 2.0


def reverse_is_cheaper(clamps: Clamps, path: Sequence[Reading], horizon: int) -> bool:
    """Whether reverse mode needs less work: samples × (tangents) against distinct places × targets × backward passes."""
    places = len(torch.stack([clamps.documents, clamps.positions]).unique(dim=1).T)
    targets = sum(r.codec.d_sae if r.features is None else len(r.features) for r in path)
    streams = 2 if len(path) > 1 else 1
    backward = 1 + (streams - 1) + (horizon > 0)
    forward_cost = len(clamps.documents) * _DUAL * streams
    return places * (streams + targets * backward * _BACKWARD) < forward_cost


def reverse_effects(
    slices: ModelSlices, clean: CleanRun, point: int, clamps: Clamps, path: Sequence[Reading], horizon: int, counted: Tensor
) -> list[Effects]:
    """As :func:`feature_graph.interventions.jacobian.jacobian_effects`, by backward passes."""
    places, who = torch.stack([clamps.documents, clamps.positions]).unique(dim=1, return_inverse=True)
    zeros = torch.zeros(places.shape[1], device=places.device)
    at = Clamps(places[0], places[1], zeros.new_zeros(len(zeros), 1), zeros, zeros)
    later = later_mask(at, horizon, counted)
    with torch.enable_grad():
        start = window_of(clean.residuals[point], at, 1).detach().requires_grad_()  # [P, 1, d]: only position p is moved
        rest = window_of(clean.residuals[point], at, horizon + 1)[:, 1:]
        free = torch.cat([start, rest], dim=1).unsqueeze(1)
        held, effects = free[:, :, :1], []
        wanted = max((k for k, reading in enumerate(path) if reading.asked), default=-1)
        for k, reading in enumerate(path):
            if k > wanted:
                effects.append(_nothing(reading, clamps))
                continue
            free = slices.advance(free, point, reading.point, clean, at.documents, at.positions)
            held = slices.advance(held, point, reading.point, clean, at.documents, at.positions) if k else free[:, :, :1]
            point = reading.point
            effects.append(_gradients(reading, start, free[:, 0], held[:, 0, 0], later, clamps.directions, who, first=k == 0))
            here = held[:, 0].detach()  # the value stays, the gradient loses what the active features carry
            held = (here + hold_change(reading.codec, here[:, 0], held[:, 0] - here)).unsqueeze(1)
    return effects


def _gradients(
    reading: Reading, start: Tensor, free: Tensor, held: Tensor, later: Tensor, directions: Tensor, who: Tensor, *, first: bool
) -> Effects:
    """Effects [S, T] at one site from gradients with respect to ``start``.

    Args:
        reading: The site.
        start: [P, 1, d], the leaf.
        free: [P, new, d] at the site.
        held: [P, d], the stream whose features were held at the sites passed.
        later: bool [P, h].
        directions: [S, d].
        who: int64 [S], the place of each sample.
        first: Whether no site lies between, so that direct is total.
    """
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    pre, pre_held = codec.preactivation(free.to(dtype), asked), codec.preactivation(held.to(dtype), asked)
    gate = codec.gate(pre.detach(), asked).to(dtype)  # [P, new, T]
    after = (gate[:, 1:] * pre[:, 1:] * later.unsqueeze(-1)).sum(1)
    slope = _along(pre[:, 0], start, directions, who)
    direct = slope if first else _along(pre_held, start, directions, who)
    on = gate[who, 0]
    return Effects(
        total=on * slope,
        direct=on * direct,
        later=_along(after, start, directions, who) if later.shape[1] else torch.zeros_like(slope),
        preactivation=slope,
        on=torch.zeros_like(slope),
        copy=on * overlap(reading, directions),
    )


def _nothing(reading: Reading, clamps: Clamps) -> Effects:
    """Effects on no target."""
    empty = clamps.directions.new_zeros(len(clamps.documents), 0).to(reading.codec.w_enc.dtype)
    return Effects(**dict.fromkeys(MEASURES, empty), passed=None)


def _along(values: Tensor, start: Tensor, directions: Tensor, who: Tensor) -> Tensor:
    """Derivatives of ``values`` [P, T] along each sample's direction: [S, T]."""
    columns = []
    for j in range(values.shape[1]):  # places do not touch each other, so that one backward pass serves them all
        (gradient,) = torch.autograd.grad(values[:, j].sum(), start, retain_graph=True)
        columns.append((gradient[who, 0] * directions).sum(-1))
    return torch.stack(columns, dim=1).to(values.dtype) if columns else values.new_zeros(len(who), 0)
