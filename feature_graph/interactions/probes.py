"""Clamping a block of probes (sources or placebos) and reducing their samples to documents.

A probe is a direction with two levels and samples. A placebo is a random isotropic direction that borrows levels and samples
from a real source, so that its clamp has a real clamp's norm at real positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.activations import SampleRows
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.errors import BrokenEffect
from feature_graph.interactions.plan import Plan, Source
from feature_graph.interventions import Clamps, Effects, Reading, Setting, clamp_effects, jacobian_effects, later_mask, random_directions
from feature_graph.utils import derived_seed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """A direction to clamp.

    Attributes:
        source: Whose levels and samples are used.
        direction: float [d_model], norm 1.
        number: Of the placebo; −1 for the source itself.
    """

    source: Source
    direction: Tensor
    number: int = -1

    @property
    def id(self) -> str:
        """Short id of the source, or what the placebo is called in messages."""
        return self.source.id if self.number < 0 else f"placebo {self.number} of layer {self.source.layer}"


@dataclass(frozen=True)
class Measured:
    """Effects of one probe on the targets of one site, as slopes, reduced to documents. Arrays are [T].

    Attributes:
        total: Test of the total effect over documents.
        direct: The same for the direct effect.
        later: The same for the later effect, over samples that have a later position; None if none has.
        copy: Mean over documents.
        preactivation: Mean over documents.
        on: Mean over documents of the change of activity (not per unit).
        n_later: Samples with a later position.
    """

    total: stats.MeanTest
    direct: stats.MeanTest
    later: stats.MeanTest | None
    copy: Floats
    preactivation: Floats
    on: Floats
    n_later: int


def path_of(plan: Plan, codecs: dict[int, SiteCodec], layer: int) -> list[Reading]:
    """Every analysed site after ``layer`` as far as its farthest target, with the targets asked for."""
    targets = plan.targets(layer)
    after = plan.window(layer, codecs)[1:]
    none = np.zeros(0, dtype=np.int64)
    return [Reading(codecs[n], torch.as_tensor(targets.get(n, none), device=codecs[n].device)) for n in after]


def placebos(sources: Sequence[Source], n: int, d_model: int, seed: int) -> list[Probe]:
    """``n`` random directions for one site; each borrows from a source drawn at random."""
    layer = sources[0].layer
    rng = np.random.default_rng(derived_seed(seed, "placebo hosts", layer))
    generator = torch.Generator().manual_seed(derived_seed(seed, "placebo directions", layer))
    hosts = rng.integers(0, len(sources), n)
    directions = random_directions(n, d_model, generator)
    return [Probe(sources[host], directions[k], k) for k, host in enumerate(hosts.tolist())]


def clamps_of(setting: Setting, probes: Sequence[Probe], parts: Sequence[SampleRows]) -> Clamps:
    """All samples of some probes as one batch."""
    device, dtype = setting.slices.device, setting.slices.dtype
    counts = torch.tensor([len(part) for part in parts])
    rows = setting.rows[np.concatenate([part.documents for part in parts])]
    values = np.concatenate([part.values for part in parts])
    levels = np.repeat([[p.source.high, p.source.low] for p in probes], counts.numpy(), axis=0) - values[:, None]
    high, low = torch.as_tensor(levels, dtype=dtype, device=device).unbind(1)
    directions = torch.stack([p.direction.to(device, dtype) for p in probes]).repeat_interleave(counts.to(device), dim=0)
    positions = torch.as_tensor(np.concatenate([part.positions for part in parts]), device=device)
    return Clamps(torch.as_tensor(rows, device=device), positions, directions, high, low)


def measure(setting: Setting, probes: Sequence[Probe], path: Sequence[Reading], *, derivative: bool) -> list[list[Measured]]:
    """Effects of each probe at each site of the path, on its test samples.

    Args:
        setting: What the blocks of this site share.
        probes: The block.
        path: Sites and targets.
        derivative: The gated derivative at the clean point instead of the finite difference.

    Raises:
        BrokenEffect: If effects of some probes are NaN or infinite.
    """
    parts = [p.source.test for p in probes]
    clamps = clamps_of(setting, probes, parts)
    run = jacobian_effects if derivative else clamp_effects
    point = setting.codecs[probes[0].source.layer].site.point
    found = run(setting.slices, setting.clean, point, clamps, path, setting.horizon, setting.counted)
    has_later = later_mask(clamps, setting.horizon, setting.counted).any(1).cpu().numpy()
    ends = np.cumsum([0, *(len(part) for part in parts)])
    broken = [p.id for k, p in enumerate(probes) if not all(_finite(effects, slice(ends[k], ends[k + 1])) for effects in found)]
    if broken:
        raise BrokenEffect(broken)
    units = [1.0 if derivative else p.source.high - p.source.low for p in probes]
    return [[_reduce(effects, slice(ends[k], ends[k + 1]), parts[k], units[k], has_later) for effects in found] for k in range(len(probes))]


def _finite(effects: Effects, where: slice) -> bool:
    return all(bool(torch.isfinite(getattr(effects, item.name)[where]).all()) for item in fields(effects))


def _reduce(effects: Effects, where: slice, rows: SampleRows, unit: float, has_later: NDArray[np.bool_]) -> Measured:
    def means(values: Tensor, keep: NDArray[np.bool_] | None = None) -> Floats:
        array, documents = values[where].double().cpu().numpy(), rows.documents
        return stats.document_means(array if keep is None else array[keep], documents if keep is None else documents[keep]).values

    later = has_later[where]
    return Measured(
        total=stats.mean_test(means(effects.total) / unit),
        direct=stats.mean_test(means(effects.direct) / unit),
        later=stats.mean_test(means(effects.later, later) / unit) if later.any() else None,
        copy=means(effects.copy).mean(0) / unit,
        preactivation=means(effects.preactivation).mean(0) / unit,
        on=means(effects.on).mean(0),
        n_later=int(later.sum()),
    )


def confirm(setting: Setting, probes: Sequence[Probe], path: Sequence[Reading], *, derivative: bool) -> list[list[Floats]]:
    """Total effect of each probe at each site on the confirmation documents, [T] each; NaN without samples or where it overflows."""
    parts = [p.source.confirm for p in probes]
    nothing = [[np.full(len(_features(r)), np.nan) for r in path] for _ in probes]
    if not any(len(part) for part in parts):
        return nothing
    clamps = clamps_of(setting, probes, parts)
    point = setting.codecs[probes[0].source.layer].site.point
    if derivative:
        found = jacobian_effects(setting.slices, setting.clean, point, clamps, path, 0, setting.counted)
    else:
        found = clamp_effects(setting.slices, setting.clean, point, clamps, path, 0, setting.counted, direct=False)
    ends = np.cumsum([0, *(len(part) for part in parts)])
    for k, (probe, part) in enumerate(zip(probes, parts, strict=True)):
        unit = 1.0 if derivative else probe.source.high - probe.source.low
        for site, effects in enumerate(found):
            values = effects.total[ends[k] : ends[k + 1]].double().cpu().numpy()
            if len(part) and np.isfinite(values).all():
                nothing[k][site] = stats.document_means(values, part.documents).values.mean(0) / unit
    return nothing


def _features(reading: Reading) -> Tensor:
    return torch.arange(reading.codec.d_sae) if reading.features is None else reading.features
