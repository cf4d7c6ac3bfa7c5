"""Floors of a source site's targets: what random directions of a real clamp's size do to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph import stats
from feature_graph.config import Config

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class SiteFloors:
    """Of one (source site, target site).

    Attributes:
        of_effect: Effect → smallest |strength| that counts, float64 [T]; 0 without placebos.
        placebos: |total strength| of each placebo, float32 [P, T].
    """

    of_effect: dict[str, NDArray[np.float64]]
    placebos: Singles

    @classmethod
    def of(cls, strengths: dict[str, Singles], cfg: Config) -> SiteFloors:
        """From the placebos' strengths by effect, each [P, T]."""
        floors = {effect: stats.placebo_floor(values, cfg.placebo_quantile, 0.0) for effect, values in strengths.items()}
        return cls(floors, np.abs(strengths["total"]))

    def share(self, strength: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of placebos whose |total strength| is below that of each edge [n] on its target [n]; NaN without placebos."""
        return stats.placebo_share(strength, self.placebos[:, targets])
