"""The exhaustive path between dictionaries on components: one clamp, the effects on all features of later sites.

The same estimands as :func:`feature_graph.interventions.site_clamps.site_clamp_effects`, for many sources at once, reduced to documents
tile by tile as in :mod:`feature_graph.interventions.screen`. Block by block, so that only the tensors of one block are held:

1. the clean run at the samples' own position gives what each target reads there, and the MLPs' outputs;
2. the free run, high and low together, gives total and later effects;
3. the held run, from the first MLP after the write point on, has the outputs of MLPs at their clean values: the direct effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.carried import adds_at, carried_shift, is_carried, norm_of, stream_at
from feature_graph.interventions.clamp import Clamps, windows
from feature_graph.interventions.moments import Groups
from feature_graph.interventions.screen import (
    Arrived,
    LaterRows,
    Screened,
    encode_reduce,
    later_rows,
    mean_preactivation,
    reduce_computed,
)
from feature_graph.interventions.site_clamps import held_blocks, mlps_between
from feature_graph.interventions.site_effects import clamped_at, observed_at, site_span
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.taps import BlockTaps, Where

Change = Callable[[Tensor], Tensor]


@torch.no_grad()
def screen_site_effects(
    slices: ModelSlices,
    clean: CleanRun,
    source: Site,
    clamps: Clamps,
    groups: Groups,
    path: Sequence[SiteCodec],
    horizon: int,
    counted: Tensor,
    *,
    direct: bool = True,
) -> list[Screened]:
    """Effects of K sources of one site on all features of every site of the path.

    Args:
        slices: The model.
        clean: Clean run with the stream at the source's point, and the blocks up to the last target's.
        source: Where is clamped.
        clamps: Samples of all sources, in the order of ``groups``; directions in units of the tensor that the source writes.
        groups: How they make documents and sources.
        path: Dictionaries that the source can drive.
        horizon: Later positions.
        counted: bool [n_docs, context], positions that count as later ones.
        direct: Whether the direct effect is wanted.

    Returns:
        One entry per dictionary of the path. ``held`` is None: MLPs are held, no features.
    """
    first, last = site_span(source, [codec.site for codec in path])
    runs = _Runs(slices, clean, source, clamps, horizon, last if direct else first)
    later = later_rows(clamps, groups, horizon, counted)
    places: dict[int, list[int]] = {}
    for k, codec in enumerate(path):
        places.setdefault(observed_at(codec.site)[0], []).append(k)
    found: dict[int, Screened] = {}
    for block in range(first, last):
        here = places.get(block, [])
        read = runs.advance(block, [path[k].site for k in here])
        for k in here:
            found[k] = _screened(runs, read, path[k], groups, later)
    return [found[k] for k in range(len(path))]


@dataclass(frozen=True)
class _Read:
    """Tensors of one block.

    Attributes:
        calm: Of the clean run [S, 1, 1, width].
        free: Under high and low [S, 2, 1 + h, width].
        held: The same with MLPs held, [S, 2, 1, width]; empty before the first of them.
    """

    calm: dict[Where, Tensor]
    free: dict[Where, Tensor]
    held: dict[Where, Tensor]


class _Runs:
    """Three runs of the samples' positions, one block at a time.

    Attributes:
        added: What high and low add to the residual stream, [S, 2, d_model]; known after the first block.
    """

    def __init__(self, slices: ModelSlices, clean: CleanRun, source: Site, clamps: Clamps, horizon: int, last: int) -> None:
        self.slices, self.source, self.added = slices, source, clamps.shift
        self._clean, self._clamps, self._holds = clean, clamps, held_blocks(slices, source, last)
        x = windows(clean.residuals[clamped_at(source)[0]], clamps.documents, clamps.positions, horizon + 1)
        self._calm, self._free = x[:, None, :1], x.unsqueeze(1).repeat(1, 2, 1, 1)
        self._held: Tensor | None = None

    def advance(self, block: int, targets: Sequence[Site]) -> _Read:
        """Run one block more, and read what these targets need."""
        read: list[Where] = [observed_at(site) for site in targets]
        streams = [where for site in targets if (where := stream_at(site))]
        change: dict[Where, Change] = {}
        beyond = None
        if block == clamped_at(self.source)[0]:
            change, beyond = {clamped_at(self.source): self._shifted}, adds_at(self.source)
        extra = [beyond] if beyond else []
        output: Where = (block, "mlp_out")
        holds = block in self._holds
        if holds and self._held is None:
            self._held = self._free[:, :, :1]
        calm = BlockTaps([*read, *streams, *extra, *([output] if holds else [])])
        self._calm = self._run(self._calm, block, calm)
        free = BlockTaps([*read, *extra], change)
        self._free = self._run(self._free, block, free)
        if beyond:
            self.added = free.found[beyond][:, :, 0] - calm.found[beyond][:, :, 0]
        held: dict[Where, Tensor] = {}
        if self._held is not None:
            seen: dict[Where, Tensor] = {}

            def at_clean(x: Tensor) -> Tensor:
                seen[output] = x  # what reads this MLP's output reads it before it is held
                return calm.found[output].expand_as(x)

            taps = BlockTaps(read, change | ({output: at_clean} if holds else {}))
            self._held = self._run(self._held, block, taps)
            held = taps.found | seen
        return _Read(calm.found, free.found, held)

    def _shifted(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, 0] += self._clamps.shift
        return x

    def _run(self, x: Tensor, block: int, taps: BlockTaps) -> Tensor:
        return self.slices.advance(x, block, block + 1, self._clean, self._clamps.documents, self._clamps.positions, taps)


def _screened(runs: _Runs, read: _Read, codec: SiteCodec, groups: Groups, later: LaterRows | None) -> Screened:
    site = codec.site
    at, stream = observed_at(site), stream_at(site)
    free = read.free[at]
    same = free[:, :, 0].contiguous()
    rows = {"total": Arrived(same, groups)}
    if is_carried(runs.source, site):
        calm = read.calm[at][:, 0]
        moved = carried_shift(None if stream is None else read.calm[stream][:, 0, 0], runs.added, norm_of(runs.slices, site))
        rows["computed"] = Arrived(torch.cat([same, calm + moved], dim=1), groups)
        total, computed = reduce_computed(codec, rows["computed"].x, groups)
    else:
        rows["computed"] = rows["total"]
        total = computed = encode_reduce(codec, same, groups)
    rows["direct"], bypassing, summed = rows["total"], total, None
    if read.held and mlps_between(runs.slices, runs.source, site):
        rows["direct"] = Arrived(read.held[at][:, :, 0].contiguous(), groups)
        bypassing = encode_reduce(codec, rows["direct"].x, groups)
    if later is not None:
        rows["later"] = Arrived(free[later.samples, :, later.steps].contiguous(), later.groups)
        summed = encode_reduce(codec, rows["later"].x, later.groups)
    return Screened(total, computed, bypassing, summed, mean_preactivation(codec, same, groups), rows, None)
