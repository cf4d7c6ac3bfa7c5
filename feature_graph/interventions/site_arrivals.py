"""Derivatives of what dictionaries read along directions at what another dictionary writes: components as well as the residual stream.

As :mod:`feature_graph.interventions.tangents`, with tangents put in and read inside blocks. Beside what arrives stands what would arrive
with nothing computed between (:mod:`feature_graph.interventions.carried`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.interventions.carried import adds_at, carried_tangents, is_carried, norm_of, stream_at
from feature_graph.interventions.site_effects import clamped_at, observed_at, site_span
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.tangents import DirectionLayout, DirectionTokens, block_derivative
from feature_graph.interventions.taps import BlockTaps, Where


@dataclass(frozen=True)
class SiteArrivals:
    """Directions at one target site, in units of what it reads per unit of the direction.

    Attributes:
        clean: What is read in the clean run at each token, [S, d_in].
        arrived: Derivative along each direction, [n, d_in].
        carried: The part of it that nothing computed, [n, d_in].
    """

    clean: Tensor
    arrived: Tensor
    carried: Tensor


@torch.no_grad()
def carry_site_directions(
    slices: ModelSlices, clean: CleanRun, source: Site, tokens: DirectionTokens, directions: Tensor, targets: Sequence[Site]
) -> list[SiteArrivals]:
    """Derivatives at the same position, everything free.

    Args:
        slices: The model.
        clean: Clean run with the stream at the source's point, and the blocks up to the last target's.
        source: Where the directions are put in.
        tokens: The token of each direction.
        directions: [n, d_out], in units of what the source writes.
        targets: Sites that the source can drive.

    Returns:
        One entry per target.
    """
    first, last = site_span(source, targets)
    entry, beyond = clamped_at(source), adds_at(source)
    streams = [where for site in targets if (where := stream_at(site))]
    wanted: list[Where] = [*map(observed_at, targets), *streams, *([beyond] if beyond else [])]
    x = clean.residuals[first][tokens.documents, tokens.positions]
    put_in = directions.to(x.dtype)
    values, moved = BlockTaps(wanted), BlockTaps(wanted, {entry: lambda t: t + put_in})
    tangent, layout = x.new_zeros(len(put_in), slices.d_model), DirectionLayout.of(tokens, clean.tokens.shape[1])
    for index in range(first, last):
        block = block_derivative(slices.block(index), x, clean.caches[index], layout, values.of(index))
        if entry == (index, "mlp_out"):  # nothing moves before it
            tangent = moved.at((index, "resid_post"), moved.at(entry, tangent))
        else:
            tangent = block.along(tangent, moved.of(index))
        x = block.after
    added = put_in if beyond is None else moved.found[beyond]
    return [_arrivals(slices, source, target, values.found, moved.found[observed_at(target)], added, tokens.owner) for target in targets]


def _arrivals(
    slices: ModelSlices, source: Site, target: Site, values: dict[Where, Tensor], arrived: Tensor, added: Tensor, owner: Tensor
) -> SiteArrivals:
    where, clean = stream_at(target), values[observed_at(target)]
    if not is_carried(source, target):
        return SiteArrivals(clean, arrived, torch.zeros_like(arrived))
    return SiteArrivals(clean, arrived, carried_tangents(None if where is None else values[where][owner], added, norm_of(slices, target)))
