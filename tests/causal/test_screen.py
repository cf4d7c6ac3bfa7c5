"""The exhaustive path gives what the pairwise path gives, reduced to documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_graph.interventions import Clamps, Effects, ModelSlices, Reading, clamp_effects, screen_effects
from feature_graph.interventions.clamp import later_mask
from feature_graph.interventions.moments import Groups, Moments, SwitchPoints, reduce_tile, reduce_tile_plain
from feature_graph.interventions.screen import document_effects
from tests.support.screening import SOURCES, by_source, compare, samples
from tests.support.tiny_models import make_tiny

HORIZON = 3


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk"])
@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2"])
def test_screening_equals_the_pairwise_path(shape: str, kind: str) -> None:
    tiny = make_tiny(shape, kind)
    clamps, groups = samples(tiny.tokens, tiny.codecs[0])
    slices, path = ModelSlices(tiny.model), [tiny.codecs[1], tiny.codecs[3]]
    counted = torch.ones_like(tiny.tokens, dtype=torch.bool)
    counted[:, 0], counted[2, 8:] = False, False
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    plain = clamp_effects(slices, clean, 1, clamps, [Reading(c, None) for c in path], HORIZON, counted)
    found = screen_effects(slices, clean, 1, clamps, groups, path, HORIZON, counted)
    has_later = later_mask(clamps, HORIZON, counted).any(1).numpy()
    assert has_later.any()
    assert not has_later.all()
    for screened, effects in zip(found, plain, strict=True):
        assert isinstance(effects, Effects)
        compare(screened.total, effects.total, clamps)
        assert screened.later is not None
        compare(screened.later, effects.later, clamps, has_later)
        for k in range(SOURCES):
            np.testing.assert_allclose(screened.preactivation[k], by_source(effects.preactivation, clamps, k).mean(0), atol=2e-5)
            np.testing.assert_allclose(screened.total.on[k], by_source(effects.on, clamps, k).mean(0), atol=1e-5)
    assert found[0].direct is found[0].total  # between neighbours the direct effect is the total one
    compare(found[1].direct, plain[1].direct, clamps)
    assert not torch.equal(found[1].direct.mean, found[1].total.mean)
    assert plain[1].passed is not None
    assert found[0].held is None
    for column, sizes in zip(found[1].held.T, (plain[1].passed.held.features, plain[1].passed.held.rank), strict=True):
        means = [by_source(sizes[:, None], clamps, k).mean() for k in range(SOURCES)]
        np.testing.assert_allclose(column, means, rtol=1e-5)


def test_effects_in_each_document_have_the_means_of_the_screen() -> None:
    tiny = make_tiny("llama")
    clamps, groups = samples(tiny.tokens, tiny.codecs[0])
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2], [1])
    counted = torch.ones_like(tiny.tokens, dtype=torch.bool)
    (found,) = screen_effects(slices, clean, 1, clamps, groups, [tiny.codecs[1]], HORIZON, counted)
    targets = torch.tensor([3, 7, 20])
    for effect, moments in (("total", found.total), ("later", found.later)):
        assert moments is not None
        for k in range(SOURCES):
            each = document_effects(tiny.codecs[1], found.rows[effect], k, targets)
            assert len(each) == found.rows[effect].groups.n_documents[k]
            np.testing.assert_allclose(each.mean(0), moments.mean[k, targets], rtol=1e-5, atol=5e-5)


def test_equal_levels_give_exactly_zero() -> None:
    tiny = make_tiny("gpt2")
    clamps, groups = samples(tiny.tokens, tiny.codecs[0])
    same = Clamps(clamps.documents, clamps.positions, clamps.directions, clamps.high, clamps.high)
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2], [1])
    found = screen_effects(slices, clean, 1, same, groups, [tiny.codecs[1]], 0, torch.ones_like(tiny.tokens, dtype=torch.bool))
    assert not found[0].total.mean.any()
    assert not found[0].total.m2.any()
    assert not found[0].preactivation.any()


def test_compiled_reduction_equals_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(1)
    source = np.repeat([0, 0, 2, 3], [3, 2, 4, 1])  # source 1 has no samples
    document = np.array([0, 0, 1, 2, 2, 0, 1, 1, 1, 5])
    groups = Groups.of(source, document)
    pre = torch.randn(len(source), 2, 70, generator=generator)
    limits = SwitchPoints(*torch.rand(3, 70, generator=generator).unbind())
    fast, plain = (Moments.empty(4, 100, pre.device) for _ in range(2))
    reduce_tile(pre, limits, groups, fast, slice(10, 80))
    reduce_tile_plain(pre, limits, groups, plain, slice(10, 80))
    for name in ("mean", "m2", "on"):
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), atol=1e-6, rtol=1e-5)
    assert not fast.mean[:, :10].any()
    assert not fast.mean[1].any()
    assert fast.mean[:, 10:80].any()


def test_effects_that_are_equal_in_every_document_have_no_spread() -> None:
    pre = torch.tensor([[[3.3], [1.1]]]).repeat(5, 1, 1)
    moments = Moments.empty(1, 1, pre.device)
    zero = torch.zeros(1)
    reduce_tile(pre, SwitchPoints(zero, zero, zero), Groups.of(np.zeros(5, np.int64), np.arange(5)), moments, slice(0, 1))
    assert moments.m2.item() == 0
    assert moments.mean.item() == pytest.approx(2.2)
