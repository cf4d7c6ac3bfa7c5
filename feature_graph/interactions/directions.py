"""Random directions that sources are compared with at their own tokens: how many, where, and what is generic in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.activations import SampleRows
from feature_graph.interventions import random_directions
from feature_graph.responses import GenericMaps
from feature_graph.utils import derived_seed


@dataclass(frozen=True)
class RandomDirections:
    """How sources are compared with random directions.

    Attributes:
        n: Random directions per source.
        samples: Test samples per source.
        seed: Of the run.
        generic: What is computed from any direction; None: nothing is subtracted.
    """

    n: int
    samples: int
    seed: int
    generic: GenericMaps | None = None

    def of(self, layer: int, index: int, d_model: int) -> Tensor:
        """The random directions of a source [n, d_model], of norm 1."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "specificity", layer, index))
        return random_directions(self.n, d_model, generator)

    def tokens(self, test: SampleRows) -> SampleRows:
        """Those of a source's test samples at which they are put in."""
        return SampleRows(test.documents[: self.samples], test.positions[: self.samples], test.values[: self.samples])
