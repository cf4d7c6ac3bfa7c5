"""Arrivals are the engine's own derivatives: with every reader they give its Jacobian, on every supported shape of model."""

from __future__ import annotations

import pytest
import torch

from feature_graph.interventions import Clamps, InterventionError, ModelSlices, Reading, arrivals, jacobian_effects
from tests.support.tiny_models import SHAPES, make_tiny


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_arrivals_read_by_a_dictionary_are_the_jacobian(shape: str, mode: str) -> None:
    tiny = make_tiny(shape)
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    documents, positions = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 3, 5, tiny.tokens.shape[1] - 1])
    rows = torch.tensor([[0, 7], [3, 1], [0, 12], [5, 5]])
    directions = tiny.codecs[0].w_dec[rows]
    found = arrivals(slices, clean, 1, documents, positions, directions, [2, 4])
    zero = torch.zeros(8)
    clamps = Clamps(documents.repeat_interleave(2), positions.repeat_interleave(2), directions.flatten(0, 1), zero, zero)
    path = [Reading(tiny.codecs[1], None), Reading(tiny.codecs[3], None)]
    counted = torch.ones_like(tiny.tokens, dtype=torch.bool)
    expected = jacobian_effects(slices, clean, 1, clamps, path, 0, counted, mode=mode)  # type: ignore[arg-type]
    for v, reading, effects in zip(found, path, expected, strict=True):
        read = v.flatten(0, 1).to(reading.codec.w_enc.dtype) @ reading.codec.w_enc
        rms = effects.preactivation.square().mean().sqrt()
        assert float((read - effects.preactivation).abs().max() / rms) < 1e-5


def test_at_the_same_point_what_arrives_is_what_was_put_in() -> None:
    tiny = make_tiny(next(iter(SHAPES)))
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [2], [])
    directions = tiny.codecs[1].w_dec[torch.tensor([[4], [9]])]
    (same,) = arrivals(slices, clean, 2, torch.tensor([0, 1]), torch.tensor([2, 3]), directions, [2])
    torch.testing.assert_close(same, directions)


def test_points_before_the_directions_are_refused() -> None:
    tiny = make_tiny(next(iter(SHAPES)))
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2], [1])
    with pytest.raises(InterventionError, match=r"got \[1\]"):
        arrivals(slices, clean, 2, torch.tensor([0]), torch.tensor([2]), tiny.codecs[1].w_dec[torch.tensor([[0]])], [1])
