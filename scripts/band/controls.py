"""Controls without features: the best linear map for outputs, for derivatives (a mean derivative, by the directions), and for both.

What a skip transcoder explains of an MLP's derivative beyond these is what its features and their gates add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.band.directions import ResponseSamples
from scripts.band.linear import linear_map
from scripts.band.recording import MlpTokens
from scripts.band.responses import explained, explained_variance

#: Name → whether outputs count, and the weight of derivatives.
CONTROLS = {"outputs": (True, 0.0), "derivatives": (False, 1.0), "both": (True, 1.0)}


@dataclass(frozen=True)
class LinearFigures:
    """One linear map on held-out tokens and directions.

    Attributes:
        explained_variance: Of outputs.
        responses: Kind of direction → response EV.
    """

    explained_variance: float
    responses: dict[str, float]


def linear_controls(
    tokens: MlpTokens, samples: Mapping[str, ResponseSamples], held_tokens: MlpTokens, held_samples: Mapping[str, ResponseSamples]
) -> dict[str, LinearFigures]:
    """Fit each control on tokens and derivatives, and judge it on others."""
    found = {}
    for name, (with_outputs, weight) in CONTROLS.items():
        n = len(tokens) if with_outputs else 0
        w, b = linear_map(tokens.x[:n], tokens.y[:n], list(samples.values()) if weight else [], weight)
        variance = explained_variance(held_tokens.x @ w + b, held_tokens.y)
        found[name] = LinearFigures(variance, {kind: explained(one.dx @ w, one.dy) for kind, one in held_samples.items()})
    return found
