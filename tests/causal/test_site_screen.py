"""The exhaustive path between dictionaries on components gives what the pairwise path gives, reduced to documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from feature_graph.artifacts import can_drive
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import (
    Clamps,
    ModelSlices,
    Reading,
    clean_for,
    later_mask,
    mlps_between,
    screen_site_effects,
    site_clamp_effects,
)
from feature_graph.interventions.screen import document_effects
from tests.support.component_models import TOKENS, as_hooked
from tests.support.component_sites import MODELS, SOURCES, all_codecs
from tests.support.screening import SOURCES as N_SOURCES
from tests.support.screening import by_source, compare, samples

HORIZON = 3
_MADE: dict[str, dict[str, SiteCodec]] = {}
COUNTED = torch.ones_like(TOKENS, dtype=torch.bool)
COUNTED[:, 0], COUNTED[1, 15:] = False, False


def path_of(codecs: dict[str, SiteCodec], source: str) -> list[SiteCodec]:
    """Every dictionary that a source can drive."""
    place = codecs[source].site.place
    return [codec for codec in codecs.values() if can_drive(place, codec.site.place)]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("form", "name"), MODELS, ids=[name for _, name in MODELS])
def test_screening_equals_the_pairwise_path(form: Any, name: str, source: str) -> None:
    model, codecs = all_codecs(form, name, _MADE)
    slices, site, path = ModelSlices(model), codecs[source].site, path_of(codecs, source)
    clamps, groups = samples(TOKENS, codecs[source])
    clean = clean_for(slices, TOKENS, site, [codec.site for codec in path])
    plain = site_clamp_effects(slices, clean, site, clamps, [Reading(c, None) for c in path], HORIZON, COUNTED, direct=True)
    found = screen_site_effects(slices, clean, site, clamps, groups, path, HORIZON, COUNTED)
    has_later = later_mask(clamps, HORIZON, COUNTED).any(1).numpy()
    for codec, screened, effects in zip(path, found, plain, strict=True):
        compare(screened.total, effects.total, clamps)
        compare(screened.direct, effects.direct, clamps)
        assert (screened.direct is screened.total) == (mlps_between(slices, site, codec.site) == 0)
        assert screened.later is not None
        compare(screened.later, effects.later, clamps, has_later)
        computed = effects.total - effects.copy
        for k in range(N_SOURCES):
            means = by_source(computed, clamps, k)
            np.testing.assert_allclose(screened.computed.mean[k], means.mean(0), atol=3e-6 * float(effects.total.abs().max()))
            np.testing.assert_allclose(screened.preactivation[k], by_source(effects.preactivation, clamps, k).mean(0), atol=2e-5)
            np.testing.assert_allclose(screened.total.on[k], by_source(effects.on, clamps, k).mean(0), atol=1e-5)
            targets = torch.tensor([3, 7, 20])
            for effect in ("total", "computed", "direct"):
                each = document_effects(codec, screened.rows[effect], k, targets)
                np.testing.assert_allclose(each.mean(0), getattr(screened, effect).mean[k, targets], rtol=1e-5, atol=5e-5)


def test_without_direct_and_later_effects_the_others_are_the_same() -> None:
    model, codecs = all_codecs(as_hooked, "gpt2", _MADE)
    slices, site, path = ModelSlices(model), codecs["L1.attn"].site, path_of(codecs, "L1.attn")
    clamps, groups = samples(TOKENS, codecs["L1.attn"])
    clean = clean_for(slices, TOKENS, site, [codec.site for codec in path])
    whole = screen_site_effects(slices, clean, site, clamps, groups, path, HORIZON, COUNTED)
    for one, two in zip(whole, screen_site_effects(slices, clean, site, clamps, groups, path, 0, COUNTED, direct=False), strict=True):
        assert two.later is None
        assert two.direct is two.total
        for effect in ("total", "computed"):
            torch.testing.assert_close(getattr(two, effect).mean, getattr(one, effect).mean, atol=1e-5, rtol=1e-4)


def test_equal_levels_give_exactly_zero() -> None:
    model, codecs = all_codecs(as_hooked, "gpt2", _MADE)
    slices, site, path = ModelSlices(model), codecs["L1.tc"].site, path_of(codecs, "L1.tc")
    clamps, groups = samples(TOKENS, codecs["L1.tc"])
    same = Clamps(clamps.documents, clamps.positions, clamps.directions, clamps.high, clamps.high)
    clean = clean_for(slices, TOKENS, site, [codec.site for codec in path])
    for screened in screen_site_effects(slices, clean, site, same, groups, path, 0, COUNTED):
        for moments in (screened.total, screened.computed, screened.direct):
            assert not moments.mean.any()
            assert not moments.m2.any()
