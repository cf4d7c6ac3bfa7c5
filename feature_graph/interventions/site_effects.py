"""A clamp at any site of a model, and its effects on features of any site after it: components as well as the residual stream.

1. The blocks from that of the source's write point to that of the last target's read point are run at positions p..p+h after the clean
   prefix, high and low together.
2. At p the delta is added to the tensor that the source writes; what follows it inside the block (W_O, a norm, the MLP) is computed from
   there.
3. Every target is encoded from the tensor that it reads.

Between residual sites these are the numbers of :func:`feature_graph.interventions.clamp.clamp_effects`. Effects with the features between
held at their clean values are not among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from feature_graph.artifacts import Site, can_drive
from feature_graph.dictionaries import SiteCodec, TensorName
from feature_graph.interventions.clamp import Clamps, Reading, later_mask, windows
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.taps import BlockTaps, Where


@dataclass(frozen=True)
class SiteEffects:
    """Effects of each sample on each target of one site; all [S, T], in target units for the whole clamp.

    Attributes:
        total: f(high) − f(low) at the same position.
        later: Differences summed over the counted positions p+1..p+h.
        preactivation: As total, before the non-linearity.
        on: Active under high minus active under low: −1, 0 or 1.
    """

    total: Tensor
    later: Tensor
    preactivation: Tensor
    on: Tensor


def clean_for(slices: ModelSlices, tokens: Tensor, source: Site, targets: Sequence[Site]) -> CleanRun:
    """The clean run over ``tokens`` [n_docs, context], as far as a source and its targets need it."""
    first, last = site_span(source, targets)
    return slices.residuals(tokens, [first], range(first, last))


@torch.no_grad()
def site_activations(slices: ModelSlices, clean: CleanRun, codec: SiteCodec, documents: Tensor, positions: Tensor) -> Tensor:
    """Activations in folded units [S, d_sae] of a site's features in the clean run, TopK after the competition.

    Args:
        slices: The model.
        clean: From :func:`clean_for` with this site as source.
        codec: The site's dictionary.
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
    """
    return codec.record(read_clean(slices, clean, codec.site, documents, positions).to(codec.w_enc.dtype))


def read_clean(slices: ModelSlices, clean: CleanRun, site: Site, documents: Tensor, positions: Tensor) -> Tensor:
    """What a site's dictionary reads in the clean run, [S, d_in]; arguments as in :func:`site_activations`."""
    block, _ = where = observed_at(site)
    first = clamped_at(site)[0]
    x = windows(clean.residuals[first], documents, positions, 1)
    if site.kind == "residual":
        return x[:, 0]
    taps = BlockTaps(read=[where])
    slices.advance(x.unsqueeze(1), first, block + 1, clean, documents, positions, taps)
    return taps.found[where][:, 0, 0]


@torch.no_grad()
def site_effects(
    slices: ModelSlices, clean: CleanRun, source: Site, clamps: Clamps, targets: Sequence[Reading], horizon: int, counted: Tensor
) -> list[SiteEffects]:
    """Effects of clamps at one site on targets of other sites.

    Args:
        slices: The model.
        clean: From :func:`clean_for`.
        source: Where is clamped.
        clamps: The samples; directions in units of the tensor that the source writes, [S, d_out].
        targets: Sites and features to read.
        horizon: Later positions h.
        counted: bool [n_docs, context], positions that count as later ones.

    Returns:
        One entry per target site.

    Raises:
        InterventionError: If the source cannot drive a target: its write point does not lie before the target's read point.
    """
    for reading in targets:
        if not can_drive(source.place, reading.codec.site.place):
            raise InterventionError(
                f"{source.name} → {reading.codec.site.name}: what the source writes does not lie before what the target reads, so that it "
                "cannot drive it"
            )
    first, last = site_span(source, [reading.codec.site for reading in targets])

    def shifted(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, 0] += clamps.shift
        return x

    taps = BlockTaps([observed_at(reading.codec.site) for reading in targets], {clamped_at(source): shifted})
    x = windows(clean.residuals[first], clamps.documents, clamps.positions, horizon + 1).unsqueeze(1).repeat(1, 2, 1, 1)
    slices.advance(x, first, last, clean, clamps.documents, clamps.positions, taps)
    later = later_mask(clamps, horizon, counted)
    return [effects_at(reading, taps.found[observed_at(reading.codec.site)], later) for reading in targets]


def effects_at(reading: Reading, x: Tensor, later: Tensor) -> SiteEffects:
    """Effects on one site, of what is read there under high and low [S, 2, 1 + h, d_in]; ``later`` is bool [S, h]."""
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    pre = codec.preactivation(x.to(dtype), asked)
    f = codec.activate(pre, asked)
    change, on = f[:, 0] - f[:, 1], codec.is_active(f[:, :, 0], asked).to(dtype)
    return SiteEffects(
        total=change[:, 0],
        later=(change[:, 1:] * later.unsqueeze(-1)).sum(1),
        preactivation=pre[:, 0, 0] - pre[:, 1, 0],
        on=on[:, 0] - on[:, 1],
    )


def site_span(source: Site, targets: Sequence[Site]) -> tuple[int, int]:
    """First block to run, and the block before which to stop."""
    first = clamped_at(source)[0]
    return first, max([first, *(observed_at(target)[0] + 1 for target in targets)] + ([first + 1] if source.kind != "residual" else []))


def clamped_at(site: Site) -> Where:
    """Where a clamp of the site goes in: for the residual stream at the first tensor of the block after it."""
    return (site.point, "resid_pre") if site.kind == "residual" else (site.point, cast("TensorName", site.writes))


def observed_at(site: Site) -> Where:
    """Where an effect on the site is read: for the residual stream at the last tensor of the block before it, and no more blocks run."""
    return (site.point - 1, "resid_post") if site.kind == "residual" else (site.point, cast("TensorName", site.reads))
