"""Derivatives of what dictionaries read along directions at what another dictionary writes: components as well as the residual stream.

As :mod:`feature_graph.interventions.tangents`, with tangents put in and read inside blocks. Beside what arrives stands what would arrive
with nothing computed between (:mod:`feature_graph.interventions.carried`). Transcoders can stand in for the MLPs between: what arrives then
is the sum over all paths through attention, their features and their skips, with the gates of each token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.dictionaries import SiteCodec, dictionary_response
from feature_graph.interventions.carried import adds_at, carried_tangents, is_carried, norm_of, stream_at
from feature_graph.interventions.errors import InterventionError
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


@dataclass(frozen=True)
class StandIn:
    """A transcoder whose derivative takes the place of that of the MLP it describes; the clean run is the model's.

    Attributes:
        codec: The transcoder.
        features: Whether what its features write goes on.
        skip: Whether what its skip connection adds goes on.

    Raises:
        InterventionError: If the dictionary is no transcoder.
    """

    codec: SiteCodec
    features: bool = True
    skip: bool = True

    def __post_init__(self) -> None:
        if self.codec.site.kind != "transcoder":
            raise InterventionError(
                f"{self.codec.site.name}: got a dictionary of kind {self.codec.site.kind}; only a transcoder stands in for an MLP"
            )

    @property
    def reads(self) -> Where:
        """What it reads."""
        return observed_at(self.codec.site)

    @property
    def writes(self) -> Where:
        """What it stands in for."""
        return clamped_at(self.codec.site)

    def along(self, x: Tensor, change: Tensor) -> Tensor:
        """What it makes of changes [n, d_in] of what it reads, which is x [n, d_in] in the clean run."""
        found = dictionary_response(self.codec, x, change)
        return (found.features * self.features + found.skip * self.skip).to(change)


@torch.no_grad()
def carry_site_directions(
    slices: ModelSlices,
    clean: CleanRun,
    source: Site,
    tokens: DirectionTokens,
    directions: Tensor,
    targets: Sequence[Site],
    stand_ins: Iterable[StandIn] = (),
) -> list[SiteArrivals]:
    """Derivatives at the same position, everything free.

    Args:
        slices: The model.
        clean: Clean run with the stream at the source's point, and the blocks up to the last target's.
        source: Where the directions are put in.
        tokens: The token of each direction.
        directions: [n, d_out], in units of what the source writes.
        targets: Sites that the source can drive.
        stand_ins: Transcoders in the place of MLPs, of which none is the source's own.

    Returns:
        One entry per target.
    """
    first, last = site_span(source, targets)
    entry, beyond = clamped_at(source), adds_at(source)
    streams = [where for site in targets if (where := stream_at(site))]
    stands = {one.writes: one for one in stand_ins if first <= one.writes[0] < last}
    wanted: list[Where] = [*map(observed_at, targets), *streams, *([beyond] if beyond else []), *(one.reads for one in stands.values())]
    x = clean.residuals[first][tokens.documents, tokens.positions]
    put_in = directions.to(x.dtype)

    def instead(where: Where, _: Tensor) -> Tensor:
        read = stands[where].reads
        return stands[where].along(values.found[read][tokens.owner], moved.found[read])

    values, moved = BlockTaps(wanted), BlockTaps(wanted, {w: partial(instead, w) for w in stands} | {entry: lambda t: t + put_in})
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
