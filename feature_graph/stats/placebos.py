"""What random directions do, as a floor below which nothing counts: the rule of earlier versions, used where ``n_placebo`` is above 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def placebo_floor(strengths: ArrayLike, quantile: float, min_effect: float) -> Float:
    """The smallest |strength| that counts as an effect.

    Args:
        strengths: [n_placebo, ...], strengths of random directions.
        quantile: Of their magnitude; between two placebos the larger counts.
        min_effect: The floor is never lower.
    """
    array = np.abs(np.asarray(strengths, dtype=np.float64))
    if len(array) == 0:
        return np.full(array.shape[1:], min_effect)
    return np.maximum(np.quantile(array, quantile, axis=0, method="higher"), min_effect)


def placebo_share(strength: ArrayLike, placebos: ArrayLike) -> Float:
    """Share of placebos whose magnitude is below |strength|; NaN without placebos.

    Args:
        strength: [...].
        placebos: [n_placebo, ...] or [n_placebo, 1, ...], broadcast against ``strength``.
    """
    array = np.abs(np.asarray(placebos, dtype=np.float64))
    below = array < np.abs(np.asarray(strength, dtype=np.float64))
    return below.mean(axis=0) if len(array) else np.full(below.shape[1:], np.nan)
