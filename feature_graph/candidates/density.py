"""Which features are neither so dense nor so rare that they may not be chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config


def within_density(density: NDArray[np.float64], cfg: Config) -> NDArray[np.bool_]:
    """Bool [d_sae]: features active at a share of the select tokens inside ``density_range``; all without one.

    Args:
        density: Share of select tokens at which each feature is active.
        cfg: The configuration.
    """
    if cfg.density_range is None:
        return np.ones(len(density), dtype=bool)
    low, high = cfg.density_range
    return (density >= low) & (density <= high)
