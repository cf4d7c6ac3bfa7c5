"""The moderated t test against random directions: calibrated for independent and for correlated targets, and no p from rounding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from feature_graph.stats import moderated_t

Floats = NDArray[np.float64]
B = 16


def linear_targets(rng: np.random.Generator, n: int, d: int, shared: float) -> Floats:
    """Gradients of n targets [n, d] of very different sizes; ``shared`` of their variance is one direction's."""
    own = rng.standard_normal((n, d))
    common = rng.standard_normal(d)
    return (np.sqrt(1 - shared) * own + np.sqrt(shared) * common) * rng.lognormal(0, 1.5, n)[:, None]


def unit(rng: np.random.Generator, n: int, d: int) -> Floats:
    rows = rng.standard_normal((n, d))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("targets", "d", "shared"), [(200, 576, 0.0), (200, 64, 0.0), (200, 576, 0.5), (3, 64, 0.0), (1, 64, 0.0), (80, 64, 1.0)]
)
def test_random_directions_pass_at_the_level(targets: int, d: int, shared: float) -> None:
    rng = np.random.default_rng(3)
    rates = {0.05: [], 0.01: []}
    for _ in range(400):
        gradients = linear_targets(rng, targets, d, shared)
        found = moderated_t(gradients @ unit(rng, 1, d)[0], (gradients @ unit(rng, B, d).T).T)
        for level, seen in rates.items():
            seen.append(float((found.p < level).mean()))
    for level, seen in rates.items():
        error = np.std(seen) / np.sqrt(len(seen))
        assert np.mean(seen) == pytest.approx(level, abs=3 * error + 0.15 * level)


def test_shrinking_gains_degrees_of_freedom_only_from_targets_that_differ() -> None:
    rng = np.random.default_rng(4)
    directions = unit(rng, B, 64).T
    alone = moderated_t(np.ones(1), (linear_targets(rng, 1, 64, 0.0) @ directions).T)
    assert alone.freedom == B
    same = moderated_t(np.ones(50), (linear_targets(rng, 50, 64, 1.0) @ directions).T, unit=1.0)
    assert same.freedom == pytest.approx(B, rel=0.1)
    alike = np.random.default_rng(5).standard_normal((50, 64))
    assert moderated_t(np.ones(50), (alike @ directions).T).freedom > 3 * B


def test_a_specific_effect_is_found_and_the_scale_is_the_root_mean_square() -> None:
    rng = np.random.default_rng(6)
    gradients = rng.standard_normal((100, 576))
    random = (gradients @ unit(rng, B, 576).T).T
    effects = gradients @ unit(rng, 1, 576)[0]
    effects[7] = 8 * np.linalg.norm(gradients[7]) / np.sqrt(576)
    found = moderated_t(effects, random)
    assert found.p[7] < 1e-4
    assert found.p.argmin() == 7
    np.testing.assert_allclose(found.scale, np.linalg.norm(gradients, axis=1) / np.sqrt(576), rtol=0.35)


def test_the_variance_is_shrunk_in_the_units_given() -> None:
    """Targets that are rarely on have small effects of any direction; told so, the test gains power and stays calibrated."""
    rng = np.random.default_rng(7)
    gates = rng.uniform(0.02, 1.0, 300)
    freedom, rates = [], []
    for _ in range(100):
        gradients = rng.standard_normal((300, 128)) * gates[:, None]
        effects, random = gradients @ unit(rng, 1, 128)[0], (gradients @ unit(rng, B, 128).T).T
        found = moderated_t(effects, random, gates)
        freedom.append((found.freedom, moderated_t(effects, random).freedom))
        rates.append([(found.p[part] < 0.05).mean() for part in (gates < 0.3, gates > 0.7)])
    assert np.mean([a > 2 * b for a, b in freedom]) > 0.9
    np.testing.assert_allclose(np.mean(rates, axis=0), 0.05, atol=0.012)


def test_what_is_never_on_and_what_is_rounding_are_not_specific() -> None:
    rng = np.random.default_rng(8)
    random = rng.standard_normal((B, 3)) * [0.0, 1e-9, 1.0]
    found = moderated_t([0.0, 1e-8, 0.5], random, [0.0, 1.0, 1.0], [0.0, 1e-6, 1e-6])
    assert found.p[0] == 1
    assert found.p[1] > 0.9  # rounding is larger than both
    assert moderated_t(np.zeros(0), np.zeros((B, 0))).p.shape == (0,)
    assert moderated_t(np.zeros(2), np.zeros((B, 2))).p.tolist() == [1, 1]
