"""The effects of one clamp in a run with dictionaries on components, as the engine tests them: :func:`site_effects` with copy and direct.

1. High and low are run from the block of the source's write point on, as in :mod:`feature_graph.interventions.site_effects`; a third,
   unchanged variant at the same position gives what is read in the clean run.
2. What arrives if nothing is computed between is taken at the same two levels through the target's own non-linearity
   (:mod:`feature_graph.interventions.carried`).
3. For the direct effect the outputs of all MLPs between are held at their clean values, at the same position: what is left went through the
   stream and through attention. No features have to be put back for it. An MLP that the source writes into is its way out, and is not held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from feature_graph.artifacts import Site, is_weight
from feature_graph.interventions.carried import adds_at, carried_clamps, is_carried, norm_of, nothing_of, stream_at
from feature_graph.interventions.clamp import Clamps, Effects, Reading, windows
from feature_graph.interventions.site_effects import SiteEffects, clamped_at, effects_at, observed_at, site_effects, site_span
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.taps import BlockTaps, Where

#: Kinds whose write point is the MLP's output, or reaches the stream only through the MLP: their own MLP is not between.
_OWN_MLP = frozenset({"mlp_out", "transcoder", "mlp_in"})


@torch.no_grad()
def site_clamp_effects(
    slices: ModelSlices,
    clean: CleanRun,
    source: Site,
    clamps: Clamps,
    path: Sequence[Reading],
    horizon: int,
    counted: Tensor,
    *,
    direct: bool,
) -> list[Effects]:
    """Effects of clamps at one site on targets of other sites.

    Args:
        slices: The model.
        clean: Clean run with the stream at the source's point, and the blocks up to the last target's.
        source: Where is clamped.
        clamps: The samples; directions in units of the tensor that the source writes, [S, d_out].
        path: Sites and features to read, each of which the source can drive.
        horizon: Later positions h.
        counted: bool [n_docs, context], positions that count as later ones.
        direct: Whether the direct effect is wanted; without, the field repeats the total.

    Returns:
        One entry per site of the path.

    Raises:
        InterventionError: If the source cannot drive a target.
    """
    found = site_effects(slices, clean, source, clamps, path, horizon, counted)
    unchanged = _Unchanged(slices, clean, source, clamps, path)
    added = unchanged.added()
    apart = _with_mlps_held(unchanged, counted) if direct else [None] * len(path)
    return [_whole(unchanged, reading, one, held, added) for reading, one, held in zip(path, found, apart, strict=True)]


class _Unchanged:
    """The clean run at the samples' own position, and changed runs of that position alone."""

    def __init__(self, slices: ModelSlices, clean: CleanRun, source: Site, clamps: Clamps, path: Sequence[Reading]) -> None:
        self.slices, self.clean, self.source, self.clamps, self.path = slices, clean, source, clamps, path
        self.first, self.last = site_span(source, [reading.codec.site for reading in path])
        targets = [reading.codec.site for reading in path]
        wanted: list[Where] = [observed_at(site) for site in targets] + [where for site in targets if (where := stream_at(site))]
        self.held = held_blocks(slices, source, self.last)
        wanted += [(block, "mlp_out") for block in self.held] + ([beyond] if (beyond := adds_at(source)) else [])
        self.values = self._run({}, wanted, variants=1)

    def at(self, where: Where) -> Tensor:
        """A tensor of the clean run [S, width]."""
        return self.values[where][:, 0, 0]

    def clamped(self, change: dict[Where, Callable[[Tensor], Tensor]], read: Sequence[Where]) -> dict[Where, Tensor]:
        """Tensors [S, 2, 1, width] with the source clamped high and low, and further changes."""

        def shifted(x: Tensor) -> Tensor:
            return x + self.clamps.shift.unsqueeze(2)

        return self._run({clamped_at(self.source): shifted} | change, read, variants=2)

    def _run(self, change: dict[Where, Callable[[Tensor], Tensor]], read: Sequence[Where], variants: int) -> dict[Where, Tensor]:
        taps, at = BlockTaps(read, change), self.clamps
        x = windows(self.clean.residuals[self.first], at.documents, at.positions, 1).unsqueeze(1).repeat(1, variants, 1, 1)
        self.slices.advance(x, self.first, self.last, self.clean, at.documents, at.positions, taps)
        return taps.found

    def added(self) -> Tensor:
        """What high and low add to the stream, [S, 2, d_model]."""
        where = adds_at(self.source)
        if where is None:
            return self.clamps.shift
        return self.clamped({}, [where])[where][:, :, 0] - self.at(where)[:, None]


def _with_mlps_held(run: _Unchanged, counted: Tensor) -> list[SiteEffects | None]:
    """Effects with the MLPs between held at their clean outputs; None for a target that has none between."""
    between = [mlps_between(run.slices, run.source, reading.codec.site) for reading in run.path]
    if not any(between):
        return [None] * len(between)
    seen: dict[Where, Tensor] = {}

    def held(where: Where) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            seen[where] = x  # what reads this MLP's output reads it before it is held
            return run.values[where].expand_as(x)

        return change

    found = run.clamped({(block, "mlp_out"): held((block, "mlp_out")) for block in run.held}, [observed_at(r.codec.site) for r in run.path])
    none = torch.zeros(len(counted), 0, dtype=torch.bool, device=counted.device)[run.clamps.documents]
    values = found | seen
    return [effects_at(r, values[observed_at(r.codec.site)], none) if n else None for r, n in zip(run.path, between, strict=True)]


def held_blocks(slices: ModelSlices, source: Site, last: int) -> range:
    """Blocks before ``last`` whose MLP lies after the source's write point."""
    first = clamped_at(source)[0]
    return range(first + (source.kind in _OWN_MLP), last if slices.block(first).mlp is not None else 0)


def mlps_between(slices: ModelSlices, source: Site, target: Site) -> int:
    """MLPs that lie between the source's write point and the target's read point: without one, the direct effect is the total one."""
    block, _ = observed_at(target)
    if is_weight(source.place, target.place):  # the MLP of a parallel block runs beside attention
        return 0
    return len(held_blocks(slices, source, block + (target.kind == "residual")))


def _whole(run: _Unchanged, reading: Reading, found: SiteEffects, held: SiteEffects | None, added: Tensor) -> Effects:
    return Effects(
        total=found.total,
        direct=found.total if held is None else held.total,
        later=found.later,
        preactivation=found.preactivation,
        on=found.on,
        copy=_carried(run, reading, added),
    )


def _carried(run: _Unchanged, reading: Reading, added: Tensor) -> Tensor:
    target = reading.codec.site
    if not is_carried(run.source, target):
        return nothing_of(reading, len(added))
    where = stream_at(target)
    stream = None if where is None else run.at(where)
    return carried_clamps(reading, run.at(observed_at(target)), stream, added, norm_of(run.slices, target))
