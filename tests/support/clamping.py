"""Clamps on a tiny model, and effects compared field by field."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import (
    MEASURES,
    Clamps,
    CleanRun,
    Effects,
    ModelSlices,
    Reading,
)
from feature_graph.interventions.check import in_float64
from tests.support.tiny_models import Tiny


def clamps_of(tiny: Tiny, n: int = 7, scale: float = 2.0, seed: int = 3) -> Clamps:
    """Random samples of random sources of layer 0, with some at the very end of the context."""
    generator = torch.Generator().manual_seed(seed)
    documents = torch.randint(0, len(tiny.tokens), (n,), generator=generator)
    positions = torch.randint(0, tiny.tokens.shape[1], (n,), generator=generator)
    positions[0], positions[1] = 0, tiny.tokens.shape[1] - 1
    sources = torch.randint(0, 40, (n,), generator=generator)
    high, low = torch.rand(2, n, generator=generator) * scale
    return Clamps(documents, positions, tiny.codecs[0].w_dec[sources], high, -low)


def in_double(codec: SiteCodec) -> SiteCodec:
    """The dictionary in float64."""
    values = {field.name: getattr(codec, field.name) for field in fields(codec)}
    return replace(codec, **{name: value.double() for name, value in values.items() if isinstance(value, torch.Tensor)})


def path_of(tiny: Tiny) -> list[Reading]:
    """All features of layer 1, every second one of layer 3."""
    return [Reading(tiny.codecs[1], None), Reading(tiny.codecs[3], torch.arange(0, 40, 2))]


def setting(tiny: Tiny, exact: bool = False) -> tuple[ModelSlices, CleanRun, torch.Tensor]:
    """Slices, clean run and counted tokens; ``exact``: in float64."""
    slices = in_float64(ModelSlices(tiny.model)) if exact else ModelSlices(tiny.model)
    counted = torch.ones_like(tiny.tokens, dtype=torch.bool)
    counted[:, 0] = False
    counted[2, 8:] = False
    return slices, slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4)), counted


def sizes(tiny: Tiny, clean: CleanRun) -> list[float]:
    """Largest clean activation at each site of the path."""
    return [float(reading.codec.encode(clean.residuals[reading.codec.site.point]).max()) for reading in path_of(tiny)]


def assert_same(a: Effects, b: Effects, size: float, tolerance: float = 2e-5) -> None:
    """Equal within the tolerance, each field by its own size.

    Effects on activations are differences of activations as large as ``size``, whose rounding they carry however small they are: four
    float32 roundings of that size are allowed besides, for processors round differently.
    """
    rounding = dict.fromkeys(("total", "direct", "later"), 4 * torch.finfo(torch.float32).eps * size)
    for name in MEASURES:
        one, two = getattr(a, name), getattr(b, name)
        assert one.shape == two.shape, name
        atol = tolerance * float(two.abs().max() + 1) + rounding.get(name, 0.0)
        torch.testing.assert_close(one, two, rtol=1e-3, atol=atol, msg=name)
