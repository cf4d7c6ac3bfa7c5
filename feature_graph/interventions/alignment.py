"""How much of a source's direction arrives at a target's encoder: through the Jacobian of the blocks between, or by plain cosine.

1. The source's unit direction is put in as a tangent at a position p at which it is active, and carried through the blocks between.
2. What arrives is compared with the encoder row of each target, before its non-linearity, so that targets that are off count.
3. At p itself that is one number per sample. Attention carries the tangent on to p+1..p+h too: :func:`later_jacobian_alignment` reads it
   there, for the pairs of which nothing arrives at p.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.clamp import Clamps, later_mask
from feature_graph.interventions.jacobian import carry_dual, start_dual
from feature_graph.interventions.slices import CleanRun, ModelSlices


@dataclass(frozen=True)
class BlocksBetween:
    """What lies between two sites, on one clean run.

    Attributes:
        slices: The model.
        clean: Clean run with the residual at the source's point and the keys and values of the blocks up to the target's.
        source: Dictionary of the source site.
        target: Dictionary of a later site.
    """

    slices: ModelSlices
    clean: CleanRun
    source: SiteCodec
    target: SiteCodec


@dataclass(frozen=True)
class SourceSamples:
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


@dataclass(frozen=True)
class _Arrived:
    """What arrives of some samples.

    Attributes:
        who: int64 [S], row of the source.
        clamps: The samples.
        tangent: [S, new, d_model], per unit of the source's direction.
    """

    who: Tensor
    clamps: Clamps
    tangent: Tensor


@torch.no_grad()
def source_jacobian_alignment(
    between: BlocksBetween, features: Tensor, samples: SourceSamples, targets: Tensor | None = None, rows: int = 512
) -> Alignment:
    """⟨w_enc_j, J d_i⟩ / (‖w_enc_j‖ ‖d_i‖), averaged over samples; J is the Jacobian of the blocks between at the same position.

    Args:
        between: The two sites and what lies between them.
        features: int64 [K], sources.
        samples: Where they are active; a source without samples gets NaN.
        targets: int64 [M]; None takes all.
        rows: Samples carried at a time.
    """
    w = _readers(between.target, targets)
    signed = torch.zeros(len(features), w.shape[1], dtype=torch.float64, device=w.device)
    absolute, counts = torch.zeros_like(signed), torch.zeros(len(features), dtype=torch.float64, device=w.device)
    for part in _arrivals(between, features, samples, 1, rows):
        aligned = (part.tangent[:, 0].to(w.dtype) @ w).double()
        signed.index_add_(0, part.who, aligned)
        absolute.index_add_(0, part.who, aligned.abs())
        counts.index_add_(0, part.who, torch.ones_like(part.who, dtype=torch.float64))
    n = torch.where(counts > 0, counts, torch.nan).unsqueeze(-1)
    return Alignment((signed / n).cpu().numpy(), (absolute / n).cpu().numpy(), counts.long().cpu().numpy())


@torch.no_grad()
def later_jacobian_alignment(
    between: BlocksBetween,
    features: Tensor,
    samples: SourceSamples,
    horizon: int,
    counted: Tensor,
    targets: Tensor | None = None,
    rows: int = 512,
) -> NDArray[np.float64]:
    """The same at the positions p+1..p+h: for each distance the mean magnitude over the samples that have such a position.

    It costs h + 1 times what the alignment at p costs.

    Args:
        between: The two sites and what lies between them.
        features: int64 [K], sources.
        samples: Where they are active.
        horizon: Later positions h.
        counted: bool [n_docs, context], positions that count as later ones.
        targets: int64 [M]; None takes all.
        rows: Samples × positions carried at a time.

    Returns:
        float64 [K, M], the largest over the distances; 0 for a source without a counted later position.
    """
    w = _readers(between.target, targets)
    total = torch.zeros(horizon, len(features), w.shape[1], dtype=torch.float64, device=w.device)
    counts = torch.zeros(horizon, len(features), dtype=torch.float64, device=w.device)
    for part in _arrivals(between, features, samples, horizon + 1, max(1, rows // (horizon + 1))):
        there = later_mask(part.clamps, horizon, counted).double()
        for step in range(horizon):
            aligned = (part.tangent[:, step + 1].to(w.dtype) @ w).double().abs()
            total[step].index_add_(0, part.who, aligned * there[:, step, None])
            counts[step].index_add_(0, part.who, there[:, step])
    mean = total / counts.clamp(min=1).unsqueeze(-1)
    return np.asarray((mean.amax(0) if horizon else mean.sum(0)).cpu().numpy())


@torch.no_grad()
def cosine_alignment(source: SiteCodec, target: SiteCodec, features: Tensor, targets: Tensor | None = None) -> NDArray[np.float64]:
    """Plain cosine of each source's decoder row with each target's encoder column, float64 [K, M]: no block between."""
    w = target.w_enc if targets is None else target.w_enc.T[targets].T
    d = source.w_dec[features]
    tiny = torch.finfo(w.dtype).tiny
    cosine = (d @ w) / (d.norm(dim=-1, keepdim=True) * w.norm(dim=0)).clamp(min=tiny)
    return np.asarray(cosine.double().cpu().numpy())


def _readers(target: SiteCodec, targets: Tensor | None) -> Tensor:
    """Encoder columns of norm 1, [d_model, M]."""
    w = target.w_enc if targets is None else target.w_enc.T[targets].T
    return w / w.norm(dim=0).clamp(min=torch.finfo(w.dtype).tiny)


def _arrivals(between: BlocksBetween, features: Tensor, samples: SourceSamples, new: int, rows: int) -> Iterator[_Arrived]:
    """Tangents at the target's site, ``rows`` samples at a time."""
    slices, clean, source = between.slices, between.clean, between.source
    start, stop = source.site.point, between.target.site.point
    for part in (p for p in torch.arange(len(samples.source), device=features.device).split(rows) if len(p)):
        who = samples.source[part]
        directions = source.w_dec[features[who]]
        zero = torch.zeros(len(part), device=directions.device)
        clamps = Clamps(samples.documents[part], samples.positions[part], directions.to(slices.dtype), zero, zero)
        dual = carry_dual(slices, start_dual(clean.residuals[start], clamps, new), start, stop, clean, clamps)
        length = directions.norm(dim=-1)[:, None, None].to(dual.tangent.dtype)
        yield _Arrived(who, clamps, dual.tangent[:, 0] / length)
