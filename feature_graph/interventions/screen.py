"""The exhaustive path: one clamp, the effects on ALL features of the later sites, reduced to documents tile by tile.

The same estimands as :func:`feature_graph.interventions.clamp.clamp_effects`, for many sources at once:

1. The samples of a block of sources go through the blocks between in one batch, high and low together.
2. Each site's dictionary is applied in tiles of targets: one matrix product, then one pass that applies the non-linearity,
   averages within documents and keeps mean and spread (``moments.reduce_tile``). [samples, targets] is never held.
3. For the direct effect the same tile, activated, goes back through the decoder at once: features are restored to their clean
   values by x + reconstruction(clean) − reconstruction(now). The clean reconstructions are computed once per position.
4. Effects before the non-linearity are linear in x: averaged over documents first, they cost one row per source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.clamp import Clamps, later_mask, restore_clean, window_of
from feature_graph.interventions.moments import Groups, Moments, SwitchPoints, activate_tile, reduce_difference, reduce_tile
from feature_graph.interventions.slices import CleanRun, ModelSlices

#: Targets of one tile on a CPU: a tile of some thousand rows stays in the last cache.
TILE = 512
#: The same on a GPU, where larger products pay.
GPU_TILE = 8192
#: Rows of one product at most; more of them go in several.
ROWS = 4096


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
        direct: With the sites between restored; the total where there is none between or it was not asked for.
        later: Summed over later positions; None without a horizon.
        preactivation: Mean total effect before the non-linearity, float32 [K, T], for the whole clamp.
        rows: ``total``, ``computed``, ``direct`` and (with a horizon) ``later`` → what they were read from.
    """

    total: Moments
    computed: Moments
    direct: Moments
    later: Moments | None
    preactivation: Tensor
    rows: dict[str, Arrived]


class CleanReconstruction:
    """What a site's dictionary makes of the clean residual stream at some positions, computed once.

    Args:
        codec: The dictionary.
        residual: Clean residual stream [n_docs, context, d_model].
        documents: int64 [n], rows of ``residual``.
        positions: int64 [n].
    """

    def __init__(self, codec: SiteCodec, residual: Tensor, documents: Tensor, positions: Tensor) -> None:
        self._context = residual.shape[1]
        keys = (documents * self._context + positions).unique()
        self._row = torch.full((residual.shape[0] * self._context,), -1, dtype=torch.long, device=residual.device)
        self._row[keys] = torch.arange(len(keys), device=residual.device)
        flat = residual.flatten(0, 1)
        self._values = torch.empty(len(keys), residual.shape[2], device=residual.device)
        for part in torch.arange(len(keys), device=residual.device).split(ROWS):
            x = flat[keys[part]].to(codec.w_enc.dtype)
            self._values[part] = codec.record(x) @ codec.w_dec if codec.k is not None else _through(codec, x)

    def at(self, documents: Tensor, positions: Tensor) -> Tensor:
        """[n, d_model], without the decoder's bias."""
        return self._values[self._row[documents * self._context + positions]]


def _through(codec: SiteCodec, x: Tensor) -> Tensor:
    """Encode and decode rows [n, d_model] tile by tile."""
    out = torch.zeros_like(x)
    for columns, product in _tiles(codec, x):
        out.addmm_(activate_tile(product, limits_of(codec).tile(columns)), codec.w_dec[columns])
    return out


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
    reconstructions: Sequence[CleanReconstruction],
    horizon: int,
    counted: Tensor,
) -> list[Screened]:
    """Effects of K sources on all features of every site of the path.

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and at every site of the path, and the blocks between.
        point: Point of the source's site.
        clamps: Samples of all sources, in the order of ``groups``.
        groups: How they make documents and sources.
        path: Every analysed site after the source's, in order.
        reconstructions: One per site that is passed (all but the last of the path); empty if no direct effect is wanted.
        horizon: Later positions.
        counted: bool [n_docs, context], positions that count as later ones.
    """
    later = _later_rows(clamps, groups, horizon, counted)
    free = window_of(clean.residuals[point], clamps, horizon + 1).unsqueeze(1).repeat(1, 2, 1, 1)
    free[:, :, 0] += clamps.shift
    held, found = free[:, :, :1], []
    for k, codec in enumerate(path):
        free = slices.advance(free, point, codec.site.point, clean, clamps.documents, clamps.positions)
        same = free[:, :, 0].contiguous()
        wants_direct = k > 0 and len(reconstructions) > 0
        if wants_direct:
            held = slices.advance(held, point, codec.site.point, clean, clamps.documents, clamps.positions)
        moved = held[:, :, 0].contiguous() if wants_direct else same
        back = k < len(reconstructions)
        copied = window_of(clean.residuals[codec.site.point], clamps, 1) + clamps.shift
        both = torch.cat([same, copied], dim=1)
        total, computed, decoded = reduce_computed(codec, both, groups, decode=back and not wants_direct)
        direct = total
        if wants_direct:
            direct, decoded = encode_reduce(codec, moved, groups, decode=back)
        rows = {"total": Arrived(same, groups), "computed": Arrived(both, groups), "direct": Arrived(moved, groups)}
        summed = None
        if later is not None:
            rows["later"] = Arrived(free[later.samples, :, later.steps].contiguous(), later.groups)
            summed, _ = encode_reduce(codec, rows["later"].x, later.groups, decode=False)
        found.append(Screened(total, computed, direct, summed, _preactivation(codec, same, groups), rows))
        if back:
            held = _restored(codec, moved, decoded, clean, clamps, reconstructions[k]).unsqueeze(2)
        point = codec.site.point
    return found


def encode_reduce(codec: SiteCodec, x: Tensor, groups: Groups, *, decode: bool) -> tuple[Moments, Tensor | None]:
    """Effects on every feature, and what the features write back.

    Args:
        codec: The dictionary.
        x: Residual stream [R, 2, d_model], high first.
        groups: Of the rows.
        decode: Whether the second result is wanted (dictionaries with a competition: never; see :func:`restore_clean`).

    Returns:
        Moments [K, d_sae], and activations × decoder [R, 2, d_model] or None.
    """
    moments = Moments.empty(len(groups.sources) - 1, codec.d_sae, x.device)
    flat, limits = x.flatten(0, 1).to(codec.w_enc.dtype), limits_of(codec)  # a model may be in float64, dictionaries are not
    written = torch.zeros_like(flat) if decode and codec.k is None else None
    for columns, product in _tiles(codec, flat):
        here = limits.tile(columns)
        reduce_tile(product.view(len(x), 2, -1), here, groups, moments, columns)
        if written is not None:
            written.addmm_(activate_tile(product, here), codec.w_dec[columns])
    return moments, None if written is None else written.view_as(x)


def reduce_computed(codec: SiteCodec, x: Tensor, groups: Groups, *, decode: bool) -> tuple[Moments, Moments, Tensor | None]:
    """Total and computed effects on every feature, and what the features write back.

    Args:
        codec: The dictionary.
        x: Residual stream [R, 4, d_model]: high, low, then the clean stream with the delta alone, high and low.
        groups: Of the rows.
        decode: As in :func:`encode_reduce`.

    Returns:
        Moments [K, d_sae] of total and of total minus copy, and activations × decoder [R, 2, d_model] or None.
    """
    total, computed = (Moments.empty(len(groups.sources) - 1, codec.d_sae, x.device) for _ in range(2))
    x, limits = x.to(codec.w_enc.dtype), limits_of(codec)  # a model may be in float64, dictionaries are not
    flat, moved = x.flatten(0, 1), x[:, :2].flatten(0, 1)
    written = torch.zeros_like(moved) if decode and codec.k is None else None
    for columns, product in _tiles(codec, flat):
        here, tile = limits.tile(columns), product.view(len(x), 4, -1)
        reduce_tile(tile[:, :2], here, groups, total, columns)
        reduce_difference(tile, here, groups, computed, columns)
        if written is not None:
            written.addmm_(activate_tile(tile[:, :2].reshape(len(moved), -1), here), codec.w_dec[columns])
    return total, computed, None if written is None else written.view(len(x), 2, -1)


def _restored(
    codec: SiteCodec, moved: Tensor, decoded: Tensor | None, clean: CleanRun, clamps: Clamps, reconstruction: CleanReconstruction
) -> Tensor:
    """[R, 2, d_model] with the site's features at their clean values; the error runs free."""
    if decoded is None:  # a competition needs all features at once
        here = window_of(clean.residuals[codec.site.point], clamps, 1)
        return restore_clean(codec, moved, here)
    return moved + (reconstruction.at(clamps.documents, clamps.positions).unsqueeze(1) - decoded)


def _preactivation(codec: SiteCodec, x: Tensor, groups: Groups) -> Tensor:
    rows = _rows_a_source(groups)
    weights = torch.as_tensor(groups.weights / np.repeat(groups.n_documents, rows), device=x.device, dtype=x.dtype)[:, None]
    source = torch.repeat_interleave(torch.as_tensor(rows, device=x.device))
    mean = torch.zeros(len(groups.sources) - 1, x.shape[-1], device=x.device, dtype=x.dtype)
    mean.index_add_(0, source, weights * (x[:, 0] - x[:, 1]))
    return mean.to(codec.w_enc.dtype) @ codec.w_enc


def _rows_a_source(groups: Groups) -> np.ndarray:
    return np.diff(groups.documents[groups.sources])


@dataclass(frozen=True)
class _Later:
    samples: Tensor
    steps: Tensor
    groups: Groups


def _later_rows(clamps: Clamps, groups: Groups, horizon: int, counted: Tensor) -> _Later | None:
    if horizon == 0:
        return None
    samples, steps = later_mask(clamps, horizon, counted).nonzero(as_tuple=True)
    n_sources = len(groups.sources) - 1
    source = np.repeat(np.arange(n_sources), _rows_a_source(groups))
    of_row = samples.cpu().numpy()
    documents = np.repeat(np.arange(len(groups.documents) - 1), np.diff(groups.documents))
    return _Later(samples, steps + 1, Groups.padded(source[of_row], documents[of_row], n_sources, of_row))


def document_effects(codec: SiteCodec, arrived: Arrived, source: int, targets: Tensor) -> np.ndarray:
    """Effect in each document of one source on a few targets, float64 [documents of the source, len(targets)]: for exact tests."""
    groups = arrived.groups
    bounds = groups.documents[groups.sources[source] : groups.sources[source + 1] + 1]
    rows = slice(int(bounds[0]), int(bounds[-1]))
    f = codec.encode(arrived.x[rows], targets)
    moved = f[:, 0] - f[:, 1] if f.shape[1] == 2 else f[:, 0] - f[:, 1] - (f[:, 2] - f[:, 3])
    change = moved.double().cpu().numpy() * groups.weights[rows, None]
    return np.add.reduceat(change, bounds[:-1] - bounds[0], axis=0)
