"""The exhaustive path: one clamp, the effects on ALL features of the later sites, reduced to documents tile by tile.

The same estimands as :func:`feature_graph.interventions.clamp.clamp_effects`, for many sources at once:

1. The samples of a block of sources go through the blocks between in one batch, high and low together.
2. Each site's dictionary is applied in tiles of targets: one matrix product, then one pass that applies the non-linearity,
   averages within documents and keeps mean and spread (``moments.reduce_tile``). [samples, targets] is never held.
3. For the direct effect a second stream has the features of every site that it passes held at their clean values
   (:mod:`feature_graph.interventions.holding`).
4. Effects before the non-linearity are linear in x: averaged over documents first, they cost one row per source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.clamp import Clamps, later_mask, window_of
from feature_graph.interventions.holding import HeldStats, hold_clean
from feature_graph.interventions.moments import Groups, Moments, SwitchPoints, mean_over_documents, reduce_difference, reduce_tile
from feature_graph.interventions.slices import CleanRun, ModelSlices

#: Targets of one tile on a CPU: a tile of some thousand rows stays in the last cache.
TILE = 512
#: The same on a GPU, where larger products pay.
GPU_TILE = 8192


@dataclass(frozen=True)
class Arrived:
    """The residual stream that arrived at a site.

    Attributes:
        x: [R, 2, d_model], high first; for the computed effect [R, 4, d_model], then the same of the copy.
        groups: Which rows make a document and a source.
    """

    x: Tensor
    groups: Groups


@dataclass(frozen=True)
class Screened:
    """Effects of K sources on all T features of one site, and the rows that they were read from.

    Attributes:
        total: Same position.
        computed: Total minus copy, the effect if only the delta itself arrived at the site.
        direct: With the sites between held; the total where there is none between or it was not asked for.
        later: Summed over later positions; None without a horizon.
        preactivation: Mean total effect before the non-linearity, float32 [K, T], for the whole clamp.
        rows: ``total``, ``computed``, ``direct`` and (with a horizon) ``later`` → what they were read from.
        held: Mean number of features held at the sites between, and their mean rank (``holding.HeldStats``),
            float32 [K, 2]; None where ``direct`` is the total.
    """

    total: Moments
    computed: Moments
    direct: Moments
    later: Moments | None
    preactivation: Tensor
    rows: dict[str, Arrived]
    held: Tensor | None


def limits_of(codec: SiteCodec) -> SwitchPoints:
    """Bias, gate and activity of a dictionary's features."""
    zero = torch.zeros_like(codec.b_enc)
    return SwitchPoints(codec.b_enc, zero if codec.threshold is None else codec.threshold.clamp(min=0), codec.activity_threshold)


def _tiles(codec: SiteCodec, x: Tensor):  # type: ignore[no-untyped-def]
    """(columns, products without bias [n, tile]) for every tile; the buffer is used again."""
    rows = codec.w_enc.T
    wide = TILE if x.device.type == "cpu" else GPU_TILE
    buffer = torch.empty(len(x) * wide, device=x.device, dtype=x.dtype)
    for begin in range(0, codec.d_sae, wide):
        columns = slice(begin, min(begin + wide, codec.d_sae))
        width = columns.stop - begin
        product = buffer[: len(x) * width].view(len(x), width)
        torch.mm(x, rows[columns].T, out=product)
        yield columns, product


@torch.no_grad()
def screen_effects(
    slices: ModelSlices,
    clean: CleanRun,
    point: int,
    clamps: Clamps,
    groups: Groups,
    path: Sequence[SiteCodec],
    horizon: int,
    counted: Tensor,
    *,
    direct: bool = True,
) -> list[Screened]:
    """Effects of K sources on all features of every site of the path.

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and at every site of the path, and the blocks between.
        point: Point of the source's site.
        clamps: Samples of all sources, in the order of ``groups``.
        groups: How they make documents and sources.
        path: Every analysed site after the source's, in order.
        horizon: Later positions.
        counted: bool [n_docs, context], positions that count as later ones.
        direct: Whether the direct effect is wanted.
    """
    later = later_rows(clamps, groups, horizon, counted)
    free = window_of(clean.residuals[point], clamps, horizon + 1).unsqueeze(1).repeat(1, 2, 1, 1)
    free[:, :, 0] += clamps.shift
    held, found = free[:, :, :1], []
    stats: HeldStats | None = None
    for k, codec in enumerate(path):
        free = slices.advance(free, point, codec.site.point, clean, clamps.documents, clamps.positions)
        same = moved = free[:, :, 0].contiguous()
        if stats is not None:
            held = slices.advance(held, point, codec.site.point, clean, clamps.documents, clamps.positions)
            moved = held[:, :, 0].contiguous()
        point, here = codec.site.point, window_of(clean.residuals[codec.site.point], clamps, 1)
        both = torch.cat([same, here + clamps.shift], dim=1)
        total, computed = reduce_computed(codec, both, groups)
        rows = {"total": Arrived(same, groups), "computed": Arrived(both, groups), "direct": Arrived(moved, groups)}
        summed = None
        if later is not None:
            rows["later"] = Arrived(free[later.samples, :, later.steps].contiguous(), later.groups)
            summed = encode_reduce(codec, rows["later"].x, later.groups)
        bypassing = total if stats is None else encode_reduce(codec, moved, groups)
        sizes = None if stats is None else mean_over_documents(torch.stack([stats.features, stats.rank], dim=1).float(), groups)
        found.append(Screened(total, computed, bypassing, summed, mean_preactivation(codec, same, groups), rows, sizes))
        if direct and k + 1 < len(path):
            now = hold_clean(codec, moved, here[:, 0])
            held, stats = now.x.unsqueeze(2), now.stats.largest(stats)
    return found


def encode_reduce(codec: SiteCodec, x: Tensor, groups: Groups) -> Moments:
    """Effects on every feature, [K, d_sae].

    Args:
        codec: The dictionary.
        x: Residual stream [R, 2, d_model], high first.
        groups: Of the rows.
    """
    moments = Moments.empty(len(groups.sources) - 1, codec.d_sae, x.device)
    flat, limits = x.flatten(0, 1).to(codec.w_enc.dtype), limits_of(codec)  # a model may be in float64, dictionaries are not
    for columns, product in _tiles(codec, flat):
        reduce_tile(product.view(len(x), 2, -1), limits.tile(columns), groups, moments, columns)
    return moments


def reduce_computed(codec: SiteCodec, x: Tensor, groups: Groups) -> tuple[Moments, Moments]:
    """Total and computed effects on every feature.

    Args:
        codec: The dictionary.
        x: Residual stream [R, 4, d_model]: high, low, then the clean stream with the delta alone, high and low.
        groups: Of the rows.

    Returns:
        Moments [K, d_sae] of total and of total minus copy.
    """
    total, computed = (Moments.empty(len(groups.sources) - 1, codec.d_sae, x.device) for _ in range(2))
    x, limits = x.to(codec.w_enc.dtype), limits_of(codec)  # a model may be in float64, dictionaries are not
    for columns, product in _tiles(codec, x.flatten(0, 1)):
        here, tile = limits.tile(columns), product.view(len(x), 4, -1)
        reduce_tile(tile[:, :2], here, groups, total, columns)
        reduce_difference(tile, here, groups, computed, columns)
    return total, computed


def mean_preactivation(codec: SiteCodec, x: Tensor, groups: Groups) -> Tensor:
    """Mean total effect before the non-linearity, [K, d_sae], of what is read under high and low [R, 2, d_in]."""
    rows = _rows_a_source(groups)
    weights = torch.as_tensor(groups.weights / np.repeat(groups.n_documents, rows), device=x.device, dtype=x.dtype)[:, None]
    source = torch.repeat_interleave(torch.as_tensor(rows, device=x.device))
    mean = torch.zeros(len(groups.sources) - 1, x.shape[-1], device=x.device, dtype=x.dtype)
    mean.index_add_(0, source, weights * (x[:, 0] - x[:, 1]))
    return mean.to(codec.w_enc.dtype) @ codec.w_enc


def _rows_a_source(groups: Groups) -> np.ndarray:
    return np.diff(groups.documents[groups.sources])


@dataclass(frozen=True)
class LaterRows:
    """Later positions that count, one row each.

    Attributes:
        samples: int64 [R], the sample of each.
        steps: int64 [R], positions after that of the clamp.
        groups: Of these rows.
    """

    samples: Tensor
    steps: Tensor
    groups: Groups


def later_rows(clamps: Clamps, groups: Groups, horizon: int, counted: Tensor) -> LaterRows | None:
    """The later positions of all samples; None without a horizon."""
    if horizon == 0:
        return None
    samples, steps = later_mask(clamps, horizon, counted).nonzero(as_tuple=True)
    n_sources = len(groups.sources) - 1
    source = np.repeat(np.arange(n_sources), _rows_a_source(groups))
    of_row = samples.cpu().numpy()
    documents = np.repeat(np.arange(len(groups.documents) - 1), np.diff(groups.documents))
    return LaterRows(samples, steps + 1, Groups.padded(source[of_row], documents[of_row], n_sources, of_row))


def document_effects(codec: SiteCodec, arrived: Arrived, source: int, targets: Tensor) -> np.ndarray:
    """Effect in each document of one source on a few targets, float64 [documents of the source, len(targets)]: for exact tests."""
    groups = arrived.groups
    bounds = groups.documents[groups.sources[source] : groups.sources[source + 1] + 1]
    rows = slice(int(bounds[0]), int(bounds[-1]))
    f = codec.encode(arrived.x[rows], targets)
    moved = f[:, 0] - f[:, 1] if f.shape[1] == 2 else f[:, 0] - f[:, 1] - (f[:, 2] - f[:, 3])
    change = moved.double().cpu().numpy() * groups.weights[rows, None]
    return np.add.reduceat(change, bounds[:-1] - bounds[0], axis=0)
