"""Joint counts by their definition."""

from __future__ import annotations

import numpy as np


def brute_force(source, target, context, horizon):
    """The definition, as two loops over rows and features."""
    same = np.zeros((source.shape[1], target.shape[1]), dtype=int)
    later = np.zeros_like(same)
    for row in range(len(source)):
        end = min(row + 1 + horizon, (row // context + 1) * context)
        for i in np.flatnonzero(source[row]):
            same[i] += target[row]
            later[i] += target[row + 1 : end].any(axis=0)
    return same, later
