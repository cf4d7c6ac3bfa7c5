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
        total: Smallest |total strength| that counts, float64 [T].
        direct: The same for the direct effect.
        later: The same for the later effect.
        placebos: |total strength| of each placebo, float32 [P, T].
    """

    total: NDArray[np.float64]
    direct: NDArray[np.float64]
    later: NDArray[np.float64]
    placebos: Singles

    @classmethod
    def of(cls, total: Singles, direct: Singles, later: Singles, cfg: Config) -> SiteFloors:
        """From the placebos' strengths, each [P, T]."""
        a, b, c = (stats.placebo_floor(values, cfg.placebo_quantile, cfg.min_effect) for values in (total, direct, later))
        return cls(a, b, c, np.abs(total))

    def share(self, strength: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of placebos whose |total strength| is below that of each edge [n] on its target [n]; NaN without placebos."""
        return stats.placebo_share(strength, self.placebos[:, targets])
