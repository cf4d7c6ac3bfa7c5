"""Corrections for many tests: one family, or pairs with several effects each."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from statsmodels.stats.multitest import multipletests

from feature_graph.stats.errors import StatisticsError

Float = NDArray[np.float64]

#: Families above this are not written down to count how many edges a correction needs.
LARGE_FAMILY = 200_000


def adjust(p: ArrayLike, method: str) -> Float:
    """p adjusted over one family, by statsmodels' ``multipletests``; an empty family stays empty.

    Raises:
        StatisticsError: If a p is NaN or outside [0, 1].
    """
    array = np.asarray(p, dtype=np.float64)
    if array.size == 0:
        return array.copy()
    if not ((array >= 0) & (array <= 1)).all():
        raise StatisticsError("p: every p of a family must lie between 0 and 1; give 1 to what was not tested")
    return np.asarray(multipletests(array.ravel(), method=method)[1], dtype=np.float64).reshape(array.shape)


def simes(p: ArrayLike) -> Float:
    """p of "none of these effects exists" from the p of each: the smallest of k·p₍ᵢ₎/i (R. J. Simes 1986, Biometrika 73(3)).

    Args:
        p: [n, k], one row per pair and one column per effect; NaN where an effect was not tested.

    Returns:
        float64 [n]; 1 where nothing was tested.
    """
    return np.asarray(within_pairs(np.asarray(p, dtype=np.float64)).min(axis=1, initial=1.0), dtype=np.float64)


def within_pairs(p: Float) -> Float:
    """p adjusted within each row [n, k] by Benjamini and Hochberg; 1 where it is NaN."""
    tested = ~np.isnan(p)
    order = np.argsort(np.where(tested, p, np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(np.where(tested, p, 1.0), order, axis=1)
    scaled = ranked * tested.sum(axis=1, keepdims=True) / np.arange(1, p.shape[1] + 1)
    scaled[~np.take_along_axis(tested, order, axis=1)] = 1.0
    back = np.empty_like(scaled)
    np.put_along_axis(back, order, np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1], axis=1)
    return np.minimum(back, 1.0)


def adjust_pairs(p: ArrayLike, method: str) -> tuple[Float, Float]:
    """Adjusted p of pairs, and of the effects of each pair.

    What is controlled is the rate of false pairs and, on average over the chosen pairs, that of their false effects. For methods that
    control the false discovery rate: a pair's p is :func:`simes` over its effects, corrected over pairs; of m pairs R are chosen at a
    level q, and within each chosen pair the effects are tested at q·R/m (Y. Benjamini and M. Bogomolov 2014, J. R. Stat. Soc. B 76(1)).
    The adjusted p of an effect is the smallest level at which it passes. Methods that control the family-wise error correct all effects
    of all pairs as one family, and a pair has the smallest of its effects.

    Args:
        p: [m, k], one row per pair and one column per effect; NaN where an effect was not tested.
        method: Name in statsmodels.

    Returns:
        float64 [m] for the pairs and float64 [m, k] for their effects; 1 where not tested.

    Raises:
        StatisticsError: If a p is outside [0, 1].
    """
    array = np.asarray(p, dtype=np.float64)
    if not method.startswith("fdr_"):
        effects = np.ones_like(array)
        effects[~np.isnan(array)] = adjust(array[~np.isnan(array)], method)
        return effects.min(axis=1, initial=1.0), effects
    pairs = adjust(simes(array), method)
    effects = chosen_effects(within_pairs(array), np.sort(pairs), np.arange(1, len(pairs) + 1), len(array))
    return pairs, np.maximum(effects, pairs[:, None])  # a pair that is not chosen has no effects


def chosen_effects(within: Float, pairs: Float, ranks: NDArray[np.int64], m: int) -> Float:
    """Smallest level ℓ at which an effect passes: its p within the pair is at most ℓ·R(ℓ)/m, where R(ℓ) pairs pass at ℓ.

    Args:
        within: [...], p adjusted within the pair (:func:`within_pairs`).
        pairs: [r], adjusted p of pairs, ascending; those above the levels of interest, and some between, may be missing.
        ranks: int64 [r], how many pairs have at most this adjusted p.
        m: All pairs tested.

    Returns:
        float64 [...], at most 1; where it would lie above the last of ``pairs``, with R = r.
    """
    if not len(pairs):
        return np.ones_like(within)
    reach = pairs * ranks / m  # both rise, so the product does
    first = np.searchsorted(reach, within, side="left")
    up = np.where(first < len(pairs), pairs[np.minimum(first, len(pairs) - 1)], np.inf)
    down = np.where(first > 0, within * m / ranks[np.maximum(first, 1) - 1], np.inf)
    return np.minimum(np.minimum(up, down), 1.0)


def edges_needed(n_tests: int, p: float, level: float, method: str) -> int | None:
    """How many of ``n_tests`` must reach ``p`` before the correction calls them significant; None if it never does."""

    def passes(k: int) -> bool:
        family = np.ones(n_tests)
        family[:k] = p
        return bool(adjust(family, method)[0] < level)

    if n_tests == 0:
        return None
    if n_tests > LARGE_FAMILY and method in ("fdr_bh", "fdr_by", "bonferroni"):
        return _edges_needed_directly(n_tests, p, level, method)
    if not passes(n_tests):
        return None
    low, high = 1, n_tests
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return low


def _edges_needed_directly(n_tests: int, p: float, level: float, method: str) -> int | None:
    """The same by the formula, for families too large to write down."""
    if method == "bonferroni":
        return 1 if p * n_tests < level else None
    harmonic = float(special.digamma(n_tests + 1) + np.euler_gamma) if method == "fdr_by" else 1.0
    needed = int(np.floor(p * n_tests * harmonic / level)) + 1  # p · n / k < level
    return needed if needed <= n_tests else None
