"""Derivatives at the clean point: ∂f_j/∂f_i through the target's gate, in forward mode, or in reverse mode where that is cheaper.

The tangent d_i is put in at position p and carried through the same block code as a clamp, as a dual number. A target that is
off has derivative 0. The direct twin's tangent loses at every site passed what the site's active features carry
(:func:`feature_graph.interventions.holding.hold_change`).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from feature_graph.interventions.clamp import Clamps, Effects, Reading, later_mask, overlap, window_of
from feature_graph.interventions.holding import hold_change
from feature_graph.interventions.reverse import reverse_effects, reverse_is_cheaper
from feature_graph.interventions.slices import CleanRun, ModelSlices


@dataclass(frozen=True)
class Dual:
    """A value and its derivative along the source's direction, of one shape."""

    value: Tensor
    tangent: Tensor


def jacobian_effects(
    slices: ModelSlices,
    clean: CleanRun,
    point: int,
    samples: Clamps,
    path: Sequence[Reading],
    horizon: int,
    counted: Tensor,
    *,
    mode: Literal["auto", "forward", "reverse"] = "auto",
) -> list[Effects]:
    """Gated derivatives with respect to the source, in the fields of :class:`Effects` (per unit of the source; ``on`` is 0).

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and at every site of the path, and the blocks between.
        point: Point of the source's site.
        samples: Where the source is active; the levels of the clamps are not used.
        path: Every analysed site after the source's, in order.
        horizon: Later positions.
        counted: Positions that count as later ones.
        mode: Tangents carried forward, gradients carried back, or the one that needs less work; the numbers are the same.

    Returns:
        One entry per site of the path.
    """
    backward = reverse_is_cheaper(samples, path, horizon) if mode == "auto" else mode == "reverse"
    run = reverse_effects if backward else _forward_effects
    return run(slices, clean, point, samples, path, horizon, counted)


@torch.no_grad()
def _forward_effects(
    slices: ModelSlices, clean: CleanRun, point: int, clamps: Clamps, path: Sequence[Reading], horizon: int, counted: Tensor
) -> list[Effects]:
    later = later_mask(clamps, horizon, counted)
    free = start_dual(clean.residuals[point], clamps, horizon + 1)
    held, effects = _first(free), []
    for k, reading in enumerate(path):
        free = carry_dual(slices, free, point, reading.point, clean, clamps)
        held = carry_dual(slices, held, point, reading.point, clean, clamps) if k else _first(free)
        point = reading.point
        effects.append(_read(reading, free, held, clamps, later))
        if not any(r.asked for r in path[k + 1 :]):
            effects.extend(_read(r, free, held, clamps, later) for r in path[k + 1 :])
            break
        left = hold_change(reading.codec, held.value[:, 0, 0], held.tangent[:, :, 0])
        held = Dual(held.value, left.unsqueeze(2))
    return effects


def start_dual(residual: Tensor, clamps: Clamps, new: int) -> Dual:
    """Positions p..p+new-1 of each sample with the tangent d_i at p: [S, 1, new, d_model]."""
    value = window_of(residual, clamps, new).unsqueeze(1)
    tangent = torch.zeros_like(value)
    tangent[:, 0, 0] = clamps.directions
    return Dual(value, tangent)


def _first(dual: Dual) -> Dual:
    return Dual(dual.value[:, :, :1], dual.tangent[:, :, :1])


def carry_dual(slices: ModelSlices, dual: Dual, start: int, stop: int, clean: CleanRun, clamps: Clamps) -> Dual:
    """Value and tangent after blocks start..stop-1; attention carries the tangent to the later ones of the positions."""
    if start == stop:
        return dual
    load_forward_rules()
    with forward_ad.dual_level():
        x = forward_ad.make_dual(dual.value, dual.tangent)
        moved = forward_ad.unpack_dual(slices.advance(x, start, stop, clean, clamps.documents, clamps.positions))
        return Dual(moved.primal, torch.zeros_like(moved.primal) if moved.tangent is None else moved.tangent)


@cache
def load_forward_rules() -> None:
    """Load torch's forward-mode rules, which torch itself still compiles by a call that it warns about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script", category=FutureWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


def _read(reading: Reading, free: Dual, held: Dual, clamps: Clamps, later: Tensor) -> Effects:
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    w = codec.w_enc if asked is None else codec.w_enc.T[asked].T
    gate = codec.gate(codec.preactivation(free.value[:, 0].to(dtype), asked), asked).to(dtype)  # [S, new, T]
    slope = free.tangent[:, 0].to(dtype) @ w
    direct = gate[:, 0] * (held.tangent[:, 0, 0].to(dtype) @ w)
    return Effects(
        total=gate[:, 0] * slope[:, 0],
        direct=direct,
        later=(gate[:, 1:] * slope[:, 1:] * later.unsqueeze(-1)).sum(1),
        preactivation=slope[:, 0],
        on=torch.zeros_like(direct),
        copy=gate[:, 0] * overlap(reading, clamps.directions),
    )
