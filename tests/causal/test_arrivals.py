"""Arrivals are the engine's own derivatives: with every reader they give its Jacobian, on every supported shape of model."""

from __future__ import annotations

import pytest
import torch

from feature_graph.interventions import (
    Clamps,
    DirectionTokens,
    InterventionError,
    ModelSlices,
    Reading,
    arrivals,
    carry_directions,
    jacobian_effects,
)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_written_out_are_those_of_the_reference(shape: str, dtype: torch.dtype) -> None:
    tiny = make_tiny(shape)
    slices = ModelSlices(tiny.model.to(dtype))
    clean = slices.residuals(tiny.tokens, [1], range(1, 4))
    generator = torch.Generator().manual_seed(3)
    documents = torch.randint(0, len(tiny.tokens), (60,), generator=generator)  # more than one row of some documents
    positions = torch.randint(0, tiny.tokens.shape[1], (60,), generator=generator)
    directions = torch.randn(60, slices.d_model, generator=generator, dtype=dtype)
    tokens = DirectionTokens.distinct(documents, positions)
    assert len(tokens.documents) < 60  # some tokens carry several directions
    found = carry_directions(slices, clean, 1, tokens, directions, [1, 2, 4])
    expected = arrivals(slices, clean, 1, documents, positions, directions[:, None], [1, 2, 4])
    for fast, reference in zip(found, expected, strict=True):
        error = (fast - reference[:, 0]).abs().max() / reference.square().mean().sqrt()
        assert float(error) < (1e-5 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_read_by_a_dictionary_are_the_engines_jacobian(shape: str) -> None:
    tiny = make_tiny(shape)
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    documents, positions = torch.tensor([0, 1, 1, 1, 4]), torch.tensor([0, 5, 5, 3, tiny.tokens.shape[1] - 1])
    directions = tiny.codecs[0].w_dec[torch.tensor([0, 7, 3, 1, 12])]
    zero = torch.zeros(5)
    path = [Reading(tiny.codecs[1], None), Reading(tiny.codecs[3], None)]
    counted = torch.ones_like(tiny.tokens, dtype=torch.bool)
    expected = jacobian_effects(slices, clean, 1, Clamps(documents, positions, directions, zero, zero), path, 0, counted)
    found = carry_directions(slices, clean, 1, DirectionTokens.distinct(documents, positions), directions, [2, 4])
    for v, reading, effects in zip(found, path, expected, strict=True):
        error = (v.to(reading.codec.w_enc.dtype) @ reading.codec.w_enc - effects.preactivation).abs().max()
        assert float(error / effects.preactivation.square().mean().sqrt()) < 1e-5
