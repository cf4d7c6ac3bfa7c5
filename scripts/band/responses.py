"""Response EV of a transcoder on derivatives that are there, by kind of direction; while a band is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.evaluation.quality import dictionary_response
from scripts.band.directions import ResponseSamples


@dataclass(frozen=True)
class ResponseFigures:
    """Response EV along one kind of direction.

    Attributes:
        n: Samples.
        whole: Of features and skip together.
        features: Of features alone.
        skip: Of the skip alone.
    """

    n: int
    whole: float
    features: float
    skip: float


@torch.no_grad()
def response_figures(codec: SiteCodec, samples: Mapping[str, ResponseSamples]) -> dict[str, ResponseFigures]:
    """Figures by kind of direction, from derivatives of its MLP in the model's units."""
    found = {}
    for kind, one in samples.items():
        made = dictionary_response(codec, one.x, one.dx)
        whole = made.features + made.skip
        found[kind] = ResponseFigures(len(one.x), *(explained(part, one.dy) for part in (whole, made.features, made.skip)))
    return found


def explained(found: Tensor, truth: Tensor) -> float:
    """1 − Σ|found − truth|² / Σ|truth|²."""
    return 1 - float((found - truth).double().square().sum() / truth.double().square().sum())


def explained_variance(found: Tensor, truth: Tensor) -> float:
    """1 − Σ|found − truth|² / Σ|truth − mean|²."""
    centre = truth.mean(0)
    return explained(found - centre, truth - centre)
