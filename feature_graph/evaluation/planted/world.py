"""The vectors of a planted world: directions, places, and what each token writes along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from feature_graph.evaluation.planted.wiring import Wiring

Floats = NDArray[np.float64]
Normalization = Literal["RMS", "LN"] | None
#: As TransformerLens adds to the variance.
EPS = 1e-5


@dataclass(frozen=True)
class World:
    """Vectors in float64; directions have norm 1.

    Attributes:
        directions: [n, d_model], one row per name of the wiring. Orthonormal unless directions overlap.
        places: [context, d_model], one per position, orthogonal to each other and to every direction.
        values: [n_vocab, n], what each token writes along each direction; token 0 (BOS) writes nothing.
        normalization: Of the blocks' inputs.
        gain: By how much a block's input is typically multiplied by its normalisation; wires are divided by it.
    """

    directions: Floats
    places: Floats
    values: Floats
    normalization: Normalization
    gain: float


def make_world(
    plan: Wiring, rng: np.random.Generator, d_model: int, context: int, normalization: Normalization, overlap: float, n_vocab: int = 400
) -> World:
    """Draw a world.

    Args:
        plan: What is planted.
        rng: Source of every draw.
        d_model: Width.
        context: Positions.
        normalization: Of the blocks' inputs.
        overlap: |cosine| of each direction with one other one, drawn at random, of either sign.
        n_vocab: Tokens.
    """
    n = len(plan.names)
    basis = np.linalg.qr(rng.standard_normal((d_model, n + context)))[0].T
    directions = basis[:n]
    values = token_values(plan, rng, n_vocab)
    if overlap:
        directions = lean(directions, overlap, rng)
    norms = np.sqrt(((values @ directions) ** 2).sum(1) + 1)
    gain = 1.0 if normalization is None else float(np.sqrt(d_model) / np.median(norms[1:]))
    return World(directions, basis[n:], values, normalization, gain)


def lean(directions: Floats, overlap: float, rng: np.random.Generator) -> Floats:
    """Tilt the second of each random pair of orthonormal directions towards the first, or away from it, to a cosine of ±overlap."""
    order = rng.permutation(len(directions))
    tilted = directions.copy()
    for first, second in zip(order[::2], order[1::2], strict=False):
        sign = rng.choice([-1.0, 1.0])
        tilted[second] = sign * overlap * directions[first] + np.sqrt(1 - overlap**2) * directions[second]
    return tilted


def token_values(plan: Wiring, rng: np.random.Generator, n_vocab: int) -> Floats:
    """What each token writes, [n_vocab, names]: every driven direction at about a sixth of the tokens, with an activation of 1 to 3."""
    values = {}
    for name in plan.driven:
        value = rng.uniform(1, 3, n_vocab) * (rng.random(n_vocab) < 1 / 6)
        if name.startswith("dense"):
            value = rng.uniform(0.5, 1.5, n_vocab)
        values[name] = value
    for source, target in plan.decoys:  # active at the very same tokens
        values[target] = values[source] * rng.uniform(0.5, 1.0, n_vocab)
    for first, second in ((g.first, g.second) for g in plan.gates):  # often both, or the gate would never open
        values[second] = np.where(rng.random(n_vocab) < 0.7, (values[first] > 0) * rng.uniform(1, 3, n_vocab), values[second])
    for name in plan.together[1:]:
        values[name] = (values[plan.together[0]] > 0) * rng.uniform(1, 3, n_vocab)
    rows = np.stack([values.get(name, np.zeros(n_vocab)) for name in plan.names], axis=1)
    rows[0] = 0
    return rows
