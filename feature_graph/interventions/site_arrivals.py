"""Derivatives of what dictionaries read along directions at what another dictionary writes: components as well as the residual stream.

As :mod:`feature_graph.interventions.arrivals`, by forward-mode differentiation of the slices: several directions at one token share its
clean run. Beside what arrives stands what would arrive with nothing computed between (:mod:`feature_graph.interventions.carried`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vmap

from feature_graph.artifacts import Site
from feature_graph.interventions.carried import adds_at, carried_tangents, is_carried, norm_of, stream_at
from feature_graph.interventions.jacobian import load_forward_rules
from feature_graph.interventions.site_effects import clamped_at, observed_at, site_span
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.taps import BlockTaps, Where


@dataclass(frozen=True)
class SiteArrivals:
    """Directions at one target site, in units of what it reads per unit of the direction.

    Attributes:
        clean: What is read in the clean run, [S, d_in].
        arrived: Derivative along each direction, [S, V, d_in].
        carried: The part of it that nothing computed, [S, V, d_in].
    """

    clean: Tensor
    arrived: Tensor
    carried: Tensor


@torch.no_grad()
def carry_site_directions(
    slices: ModelSlices,
    clean: CleanRun,
    source: Site,
    documents: Tensor,
    positions: Tensor,
    directions: Tensor,
    targets: Sequence[Site],
) -> list[SiteArrivals]:
    """Derivatives at the same position, everything free.

    Args:
        slices: The model.
        clean: Clean run with the stream at the source's point, and the blocks up to the last target's.
        source: Where the directions are put in.
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        directions: [S, V, d_out], V directions a token, in units of what the source writes.
        targets: Sites that the source can drive.

    Returns:
        One entry per target.
    """
    load_forward_rules()
    first, last = site_span(source, targets)
    reads = [observed_at(site) for site in targets]
    streams = [where for site in targets if (where := stream_at(site))]
    beyond = adds_at(source)
    wanted: list[Where] = list(dict.fromkeys([*reads, *streams, *([beyond] if beyond else [])]))
    x = clean.residuals[first][documents, positions][:, None, None]

    def downstream(change: Tensor) -> tuple[Tensor, ...]:
        taps = BlockTaps(wanted, {clamped_at(source): lambda value: value + change[:, None, None]})
        slices.advance(x, first, last, clean, documents, positions, taps)
        return tuple(taps.found[where][:, 0, 0] for where in wanted)

    nothing = torch.zeros(len(documents), directions.shape[-1], dtype=x.dtype, device=x.device)  # one for all directions of a token

    def along(direction: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        found = jvp(downstream, (nothing,), (direction,))
        return found[0], found[1]

    primal, tangent = vmap(along, out_dims=(None, 0))(  # type: ignore[arg-type]  # a part without directions, which torch.func takes
        directions.to(x.dtype).transpose(0, 1)
    )
    values = dict(zip(wanted, primal, strict=True))
    moved = {where: value.transpose(0, 1) for where, value in zip(wanted, tangent, strict=True)}
    added = directions.to(x.dtype) if beyond is None else moved[beyond]
    return [_arrivals(slices, source, target, values, moved[observed_at(target)], added) for target in targets]


def _arrivals(slices: ModelSlices, source: Site, target: Site, values: dict[Where, Tensor], arrived: Tensor, added: Tensor) -> SiteArrivals:
    where = stream_at(target)
    if not is_carried(source, target):
        return SiteArrivals(values[observed_at(target)], arrived, torch.zeros_like(arrived))
    carried = carried_tangents(None if where is None else values[where], added, norm_of(slices, target))
    return SiteArrivals(values[observed_at(target)], arrived, carried)
