"""Clamping a block of probes (sources or placebos) and reducing their samples to documents.

A probe is a direction with two levels and samples. A placebo is a random isotropic direction that borrows levels and samples
from a real source, so that its clamp has a real clamp's norm at real positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.activations import SampleRows
from feature_graph.artifacts import key_of_site
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.errors import BrokenEffect
from feature_graph.interactions.plan import Plan, Source
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interventions import (
    MEASURES,
    Clamps,
    Effects,
    Reading,
    Setting,
    clamp_effects,
    jacobian_effects,
    later_mask,
    random_directions,
    site_clamp_effects,
)
from feature_graph.utils import derived_seed

Floats = NDArray[np.float64]
NONE_TOO_SMALL = SmallestEffect()
#: Samples of one pass through the model at most.
BATCH_SAMPLES = 480
#: Rounding of a difference of two float32 numbers, as a share of their magnitudes.
ROUNDING = 8 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Probe:
    """A direction to clamp.

    Attributes:
        source: Whose levels and samples are used.
        direction: float [d_model], norm 1; as long as what the site's dictionary writes.
        number: Of the placebo; −1 for the source itself.
    """

    source: Source
    direction: Tensor
    number: int = -1

    @property
    def id(self) -> str:
        """Short id of the source, or what the placebo is called in messages."""
        return self.source.id if self.number < 0 else f"placebo {self.number} of {self.source.id.partition('_F')[0]}"


@dataclass(frozen=True)
class Bypass:
    """Of one probe: how the features of the sites between were held for its direct effect on the targets of one site.

    Attributes:
        direct_sum: Direct effect by the plain sum, as a slope, mean over documents [T].
        features: Mean number of features held, over documents.
        rank: Mean rank of what they carry, over documents.
        full: Mean share of samples in which they carry the whole change, so that the direct effect is 0.
        condition: Median condition number.
        error: Largest |re-encoded − clean| of a feature, activation units.
    """

    direct_sum: Floats
    features: float
    rank: float
    full: float
    condition: float
    error: float


@dataclass(frozen=True)
class Measured:
    """Effects of one probe on the targets of one site, as slopes, reduced to documents. Arrays are [T].

    Attributes:
        total: Test of the total effect over documents.
        computed: The same for total minus copy.
        direct: The same for the direct effect.
        later: The same for the later effect, over samples that have a later position; None if none has.
        copy: Mean over documents.
        preactivation: Mean over documents.
        on: Mean over documents of the change of activity (not per unit).
        n_later: Samples with a later position.
        bypass: How the sites between were passed; None where there is none, and for derivatives.
    """

    total: stats.MeanTest
    computed: stats.MeanTest
    direct: stats.MeanTest
    later: stats.MeanTest | None
    copy: Floats
    preactivation: Floats
    on: Floats
    n_later: int
    bypass: Bypass | None


def path_of(plan: Plan, codecs: dict[int, SiteCodec], layer: int) -> list[Reading]:
    """Every analysed site after ``layer`` as far as its farthest target, with the targets asked for; sites of targets alone where there are
    dictionaries on components."""
    targets = plan.targets(layer)
    after = plan.window(layer, codecs)[1:]
    none = np.zeros(0, dtype=np.int64)
    return [Reading(codecs[n], torch.as_tensor(targets.get(n, none), device=codecs[n].device)) for n in after]


def placebos(sources: Sequence[Source], n: int, width: int, seed: int) -> list[Probe]:
    """``n`` random directions for one site, of the tensor that it writes, ``width`` long; each borrows from a source drawn at random."""
    layer = sources[0].layer
    rng = np.random.default_rng(derived_seed(seed, "placebo hosts", layer))
    generator = torch.Generator().manual_seed(derived_seed(seed, "placebo directions", layer))
    hosts = rng.integers(0, len(sources), n)
    directions = random_directions(n, width, generator)
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


def measure(
    setting: Setting,
    probes: Sequence[Probe],
    path: Sequence[Reading],
    *,
    derivative: bool,
    smallest: SmallestEffect = NONE_TOO_SMALL,
) -> list[list[Measured]]:
    """Effects of each probe at each site of the path, on its test samples.

    Args:
        setting: What the blocks of this site share.
        probes: The block.
        path: Sites and targets.
        derivative: The gated derivative at the clean point instead of the finite difference.
        smallest: δ of the null hypothesis that an effect is at most δ.

    Raises:
        BrokenEffect: If effects of some probes are NaN or infinite.
    """
    parts = [p.source.test for p in probes]
    clamps = clamps_of(setting, probes, parts)
    run = _engine(setting, probes[0].source.layer, path, derivative=derivative)
    found = _joined([run(some, setting.horizon) for some in _pieces(clamps, BATCH_SAMPLES)])
    has_later = later_mask(clamps, setting.horizon, setting.counted).any(1).cpu().numpy()
    ends = np.cumsum([0, *(len(part) for part in parts)])
    broken = [p.id for k, p in enumerate(probes) if not all(_finite(effects, slice(ends[k], ends[k + 1])) for effects in found)]
    if broken:
        raise BrokenEffect(broken)
    rows = [slice(ends[k], ends[k + 1]) for k in range(len(probes))]
    sites = list(zip(path, found, strict=True))
    return [
        [_reduce(_Part(effects, where, probe, has_later, derivative), _delta(smallest, reading, probe)) for reading, effects in sites]
        for probe, where in zip(probes, rows, strict=True)
    ]


#: Effects of clamps up to a horizon, one per site of a path.
Engine = Callable[[Clamps, int], list[Effects]]


def _engine(setting: Setting, layer: int, path: Sequence[Reading], *, derivative: bool, direct: bool = True) -> Engine:
    """What measures the sources of a site."""
    slices, clean, counted, site = setting.slices, setting.clean, setting.counted, setting.codecs[layer].site
    if setting.model.has_components:
        return lambda clamps, horizon: site_clamp_effects(slices, clean, site, clamps, path, horizon, counted, direct=direct)
    if derivative:
        return lambda clamps, horizon: jacobian_effects(slices, clean, site.point, clamps, path, horizon, counted)
    return lambda clamps, horizon: clamp_effects(slices, clean, site.point, clamps, path, horizon, counted, direct=direct)


def _pieces(clamps: Clamps, n: int) -> list[Clamps]:
    """The samples of a batch, at most ``n`` at a time."""
    if len(clamps.documents) <= n:
        return [clamps]
    parts = zip(*(getattr(clamps, item.name).split(n) for item in fields(clamps)), strict=True)
    return [Clamps(*some) for some in parts]


def _joined(found: Sequence[Sequence[Effects]]) -> list[Effects]:
    """Effects of all pieces, per site."""
    return [Effects.joined(site) for site in zip(*found, strict=True)]


def _delta(smallest: SmallestEffect, reading: Reading, probe: Probe) -> Floats:
    return smallest.on(
        key_of_site(reading.codec.site, probe.source.layer), _features(reading).cpu().numpy(), probe.source.high - probe.source.low
    )


def _finite(effects: Effects, where: slice) -> bool:
    return all(bool(torch.isfinite(getattr(effects, name)[where]).all()) for name in MEASURES)


@dataclass(frozen=True)
class _Part:
    """Samples of one probe at one site of a batch."""

    effects: Effects
    where: slice
    probe: Probe
    has_later: NDArray[np.bool_]
    derivative: bool

    @property
    def unit(self) -> float:
        """What an effect is divided by to be a slope."""
        return 1.0 if self.derivative else self.probe.source.high - self.probe.source.low

    def means(self, values: Tensor, keep: NDArray[np.bool_] | None = None) -> Floats:
        """Means within documents, float64 [n_documents, T]."""
        array, documents = values[self.where].double().cpu().numpy(), self.probe.source.test.documents
        return stats.document_means(array if keep is None else array[keep], documents if keep is None else documents[keep]).values


def _reduce(part: _Part, smallest: Floats) -> Measured:
    effects, later = part.effects, part.has_later[part.where]
    total, copy, direct = (part.means(values) / part.unit for values in (effects.total, effects.copy, effects.direct))
    # What a pure copy leaves is the rounding of two numbers that cancel.
    rounding = ROUNDING * (np.abs(total) + np.abs(copy)).mean(axis=0)
    return Measured(
        total=stats.mean_test(total, smallest=smallest),
        computed=stats.mean_test(total - copy, smallest=smallest + rounding),
        direct=stats.mean_test(direct, smallest=smallest),
        later=stats.mean_test(part.means(effects.later, later) / part.unit, smallest=smallest) if later.any() else None,
        copy=copy.mean(0),
        preactivation=part.means(effects.preactivation).mean(0) / part.unit,
        on=part.means(effects.on).mean(0),
        n_later=int(later.sum()),
        bypass=_bypass(part),
    )


def _bypass(part: _Part) -> Bypass | None:
    passed = part.effects.passed
    if passed is None:
        return None
    held, width = passed.held, part.probe.direction.shape[-1]

    def mean(values: Tensor) -> float:
        return float(part.means(values[:, None]).mean())

    return Bypass(
        direct_sum=part.means(passed.direct_sum).mean(0) / part.unit,
        features=mean(held.features),
        rank=mean(held.rank),
        full=mean(held.rank == width),
        condition=float(held.condition[part.where].median()),
        error=float(held.error[part.where].max()),
    )


@dataclass(frozen=True)
class Confirmed:
    """Strengths of one probe on the confirmation documents, on the targets of one site; NaN without samples or where it overflows.

    Attributes:
        total: float64 [T].
        computed: float64 [T].
    """

    total: Floats
    computed: Floats


def confirm(setting: Setting, probes: Sequence[Probe], path: Sequence[Reading], *, derivative: bool) -> list[list[Confirmed]]:
    """Total and computed effect of each probe at each site on the confirmation documents."""
    parts = [p.source.confirm for p in probes]
    if not any(len(part) for part in parts):
        return [[_unconfirmed(r) for r in path] for _ in probes]
    clamps = clamps_of(setting, probes, parts)
    run = _engine(setting, probes[0].source.layer, path, derivative=derivative, direct=False)
    found = _joined([run(some, 0) for some in _pieces(clamps, BATCH_SAMPLES)])
    ends = np.cumsum([0, *(len(part) for part in parts)])

    def of(k: int, reading: Reading, effects: Effects) -> Confirmed:
        total, copy = (values[ends[k] : ends[k + 1]].double().cpu().numpy() for values in (effects.total, effects.copy))
        if not len(total) or not (np.isfinite(total).all() and np.isfinite(copy).all()):
            return _unconfirmed(reading)
        unit = 1.0 if derivative else probes[k].source.high - probes[k].source.low
        total, copy = (stats.document_means(values, parts[k].documents).values.mean(0) / unit for values in (total, copy))
        return Confirmed(total, total - copy)

    return [[of(k, reading, effects) for reading, effects in zip(path, found, strict=True)] for k in range(len(probes))]


def _unconfirmed(reading: Reading) -> Confirmed:
    nothing = np.full(len(_features(reading)), np.nan)
    return Confirmed(nothing, nothing)


def _features(reading: Reading) -> Tensor:
    return torch.arange(reading.codec.d_sae) if reading.features is None else reading.features
