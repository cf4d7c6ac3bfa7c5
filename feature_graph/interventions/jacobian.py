"""Derivatives at the clean point, in forward mode: ∂f_j/∂f_i through the target's gate, and the alignment of pairs.

The tangent d_i is put in at position p and carried through the same block code as a clamp, as a dual number. A target that is
off has derivative 0. The direct twin replaces the residual stream at every site passed by x − Σ_k d_k (f_k − stopgrad f_k):
the tangent loses what the site's active features carry.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from feature_graph.interventions.clamp import Clamps, Effects, Reading, later_mask, overlap, window_of
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.loading.encoders import SiteCodec


@dataclass(frozen=True)
class Dual:
    """A value and its derivative along the source's direction, of one shape."""

    value: Tensor
    tangent: Tensor


@torch.no_grad()
def jacobian_effects(
    slices: ModelSlices, clean: CleanRun, point: int, clamps: Clamps, path: Sequence[Reading], horizon: int, counted: Tensor
) -> list[Effects]:
    """Gated derivatives with respect to the source, in the fields of :class:`Effects` (per unit of the source; ``on`` is 0).

    Arguments as :func:`feature_graph.interventions.clamp.clamp_effects`; the levels of the clamps are not used.
    """
    later = later_mask(clamps, horizon, counted)
    free = _start(clean.residuals[point], clamps, horizon + 1)
    held, effects = _first(free), []
    for k, reading in enumerate(path):
        free = _carry(slices, free, point, reading.point, clean, clamps)
        held = _carry(slices, held, point, reading.point, clean, clamps) if k else _first(free)
        point = reading.point
        effects.append(_read(reading, free, held, clamps, later))
        if not any(r.asked for r in path[k + 1 :]):
            effects.extend(_read(r, free, held, clamps, later) for r in path[k + 1 :])
            break
        held = _put_back(reading.codec, held)
    return effects


def _start(residual: Tensor, clamps: Clamps, new: int) -> Dual:
    value = window_of(residual, clamps, new).unsqueeze(1)
    tangent = torch.zeros_like(value)
    tangent[:, 0, 0] = clamps.directions
    return Dual(value, tangent)


def _first(dual: Dual) -> Dual:
    return Dual(dual.value[:, :, :1], dual.tangent[:, :, :1])


def _carry(slices: ModelSlices, dual: Dual, start: int, stop: int, clean: CleanRun, clamps: Clamps) -> Dual:
    if start == stop:
        return dual
    _load_forward_rules()
    with forward_ad.dual_level():
        x = forward_ad.make_dual(dual.value, dual.tangent)
        moved = forward_ad.unpack_dual(slices.advance(x, start, stop, clean, clamps.documents, clamps.positions))
        return Dual(moved.primal, torch.zeros_like(moved.primal) if moved.tangent is None else moved.tangent)


@cache
def _load_forward_rules() -> None:
    """Load torch's forward-mode rules, which torch itself still compiles by a call that it warns about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script", category=FutureWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


def _put_back(codec: SiteCodec, dual: Dual) -> Dual:
    dtype = codec.w_enc.dtype
    gate = (codec.record(dual.value.to(dtype)) > 0).to(dtype)
    carried = (gate * (dual.tangent.to(dtype) @ codec.w_enc)) @ codec.w_dec
    return Dual(dual.value, dual.tangent - carried.to(dual.tangent.dtype))


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


@dataclass(frozen=True)
class Samples:
    """Where sources are active.

    Attributes:
        source: int64 [S], row of the source in the list of features.
        documents: int64 [S], row of the clean run.
        positions: int64 [S].
    """

    source: Tensor
    documents: Tensor
    positions: Tensor


@dataclass(frozen=True)
class Alignment:
    """Mean alignment of (source, target) pairs over the source's samples.

    Attributes:
        signed: float64 [K, M].
        absolute: float64 [K, M], mean of the magnitudes.
        n_samples: int64 [K].
    """

    signed: NDArray[np.float64]
    absolute: NDArray[np.float64]
    n_samples: NDArray[np.int64]


@torch.no_grad()
def source_jacobian_alignment(
    slices: ModelSlices,
    clean: CleanRun,
    source: SiteCodec,
    target: SiteCodec,
    features: Tensor,
    samples: Samples,
    targets: Tensor | None = None,
    rows: int = 512,
) -> Alignment:
    """⟨w_enc_j, J d_i⟩ / (‖w_enc_j‖ ‖d_i‖), averaged over samples; J is the Jacobian of the blocks between at the same position.

    The target is taken before its non-linearity, so that targets that are off count.

    Args:
        slices: The model.
        clean: Clean run with the residual at the source's point and the keys and values of the blocks up to the target's.
        source: Dictionary of the source site.
        target: Dictionary of a later site.
        features: int64 [K], sources.
        samples: Where they are active; a source without samples gets NaN.
        targets: int64 [M]; None takes all.
        rows: Samples carried at a time.
    """
    reading = Reading(target, targets)
    w = target.w_enc if targets is None else target.w_enc.T[targets].T
    w = w / w.norm(dim=0).clamp(min=torch.finfo(w.dtype).tiny)
    signed = torch.zeros(len(features), w.shape[1], dtype=torch.float64, device=w.device)
    absolute, counts = torch.zeros_like(signed), torch.zeros(len(features), dtype=torch.float64, device=w.device)
    for part in (p for p in torch.arange(len(samples.source), device=w.device).split(rows) if len(p)):
        who = samples.source[part]
        directions = source.w_dec[features[who]]
        zero = torch.zeros(len(part), device=w.device)
        clamps = Clamps(samples.documents[part], samples.positions[part], directions.to(slices.dtype), zero, zero)
        dual = _carry(slices, _start(clean.residuals[source.site.point], clamps, 1), source.site.point, reading.point, clean, clamps)
        aligned = ((dual.tangent[:, 0, 0].to(w.dtype) @ w) / directions.norm(dim=-1, keepdim=True)).double()
        signed.index_add_(0, who, aligned)
        absolute.index_add_(0, who, aligned.abs())
        counts.index_add_(0, who, torch.ones_like(who, dtype=torch.float64))
    n = torch.where(counts > 0, counts, torch.nan).unsqueeze(-1)
    return Alignment((signed / n).cpu().numpy(), (absolute / n).cpu().numpy(), counts.long().cpu().numpy())


@torch.no_grad()
def cosine_alignment(source: SiteCodec, target: SiteCodec, features: Tensor, targets: Tensor | None = None) -> NDArray[np.float64]:
    """Plain cosine of each source's decoder row with each target's encoder column, float64 [K, M]: no block between."""
    w = target.w_enc if targets is None else target.w_enc.T[targets].T
    d = source.w_dec[features]
    tiny = torch.finfo(w.dtype).tiny
    cosine = (d @ w) / (d.norm(dim=-1, keepdim=True) * w.norm(dim=0)).clamp(min=tiny)
    return np.asarray(cosine.double().cpu().numpy())
