"""Tests of a mean over documents: one-sample t, or, for few documents, the exact sign-flip test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from feature_graph.stats.errors import StatisticsError

Float = NDArray[np.float64]

#: Up to this many documents every pattern of signs is counted (4,096 of them); above it the t distribution serves.
SIGN_FLIP_MAX = 12


@dataclass(frozen=True)
class MeanTest:
    """The mean over documents and how certain it is.

    Attributes:
        mean: float64 [...].
        se: Standard error over documents; NaN with fewer than two.
        p: Two-sided p of "the mean lies within ±smallest"; 1 with fewer than two documents.
        ci_low: Lower end of the 95 % interval (t); NaN with fewer than two documents.
        ci_high: Upper end.
        n: Documents.
    """

    mean: Float
    se: Float
    p: Float
    ci_low: Float
    ci_high: Float
    n: int


def mean_test(means: ArrayLike, level: float = 0.95, smallest: ArrayLike = 0.0) -> MeanTest:
    """Test whether the mean over documents lies beyond ±``smallest``: with 0, whether it differs from 0.

    Args:
        means: [n_documents, ...], one value per document.
        level: Coverage of the interval.
        smallest: δ ≥ 0 of the null hypothesis |mean| ≤ δ, broadcast against [...].
    """
    array = np.asarray(means, dtype=np.float64)
    n, shape = len(array), array.shape[1:]
    mean = array.mean(axis=0) if n else np.zeros(shape)
    if n < 2:
        unknown = np.full(shape, np.nan)
        return MeanTest(mean, unknown, np.ones(shape), unknown, unknown, n)
    se = array.std(axis=0, ddof=1) / np.sqrt(n)
    half = special.stdtrit(n - 1, 0.5 + level / 2) * se
    p = sign_flip_p(array, smallest) if n <= SIGN_FLIP_MAX else t_p(mean, se, n, smallest)
    return MeanTest(mean, se, p, mean - half, mean + half, n)


def t_p(mean: Float, se: Float, n: int | NDArray[np.int64], smallest: ArrayLike = 0.0) -> Float:
    """p of the null hypothesis |mean| ≤ δ from a mean and its standard error: P(T > (|m| − δ)/se) + P(T > (|m| + δ)/se).

    One tail alone would double the error where δ is small against the standard error, since the sign is taken from the data; with
    δ = 0 this is the two-sided t test. A deterministic effect may have the very same value in every document. Effects come from
    float32 arithmetic, so a spread under its resolution (1e-7 of the mean) is taken as that resolution: no spread and rounding noise
    give the same p. A mean of exactly 0 gives p = 1.

    Args:
        mean: float64 [...], over documents.
        se: float64 [...], its standard error.
        n: Documents, one number or one per mean.
        smallest: δ ≥ 0, broadcast against [...].
    """
    size, smallest = np.abs(mean), np.asarray(smallest, dtype=np.float64)
    spread = np.maximum(se, np.finfo(np.float32).eps * size / np.sqrt(n))

    def tail(distance: Float) -> Float:
        t = np.divide(distance, spread, out=np.zeros(np.broadcast(distance, spread).shape), where=spread > 0)
        return np.asarray(special.stdtr(n - 1, -t), dtype=np.float64)

    return np.where(size > 0, np.minimum(tail(size - smallest) + tail(size + smallest), 1.0), 1.0)


def welch_p(a: MeanTest, b: MeanTest) -> Float:
    """Two-sided p of "both means are equal", Welch's t over documents; 1 with fewer than two documents on either side.

    A spread under float32's resolution counts as that resolution, as in :func:`t_p`. The two sets of documents are taken as
    independent; where they share documents whose values rise and fall together, p is too large rather than too small.
    """
    if min(a.n, b.n) < 2:
        return np.ones_like(a.mean)
    resolution = np.finfo(np.float32).eps * np.maximum(np.abs(a.mean), np.abs(b.mean))
    one, two = (np.maximum(t.se, resolution / np.sqrt(t.n)) ** 2 for t in (a, b))
    variance = one + two
    df = np.divide(variance**2, one**2 / (a.n - 1) + two**2 / (b.n - 1), out=np.ones_like(variance), where=variance > 0)
    t = np.divide(np.abs(a.mean - b.mean), np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    return np.minimum(2 * special.stdtr(df, -t), 1.0)


def sign_flip_p(means: Float, smallest: ArrayLike = 0.0) -> Float:
    """Exact p of the null hypothesis |mean| ≤ δ for few documents: shares of sign patterns, one tail around +δ and one around −δ.

    With δ = 0: the share of all sign patterns whose |mean| is at least the observed one.

    Args:
        means: float64 [n_documents, ...].
        smallest: δ ≥ 0, broadcast against [...].

    Raises:
        StatisticsError: With more documents than :data:`SIGN_FLIP_MAX`.
    """
    n = len(means)
    if not 1 <= n <= SIGN_FLIP_MAX:
        raise StatisticsError(f"got {n} documents; the exact test takes 1 to {SIGN_FLIP_MAX}")
    flat = means.reshape(n, -1)
    side = np.where(flat.sum(axis=0) < 0, -1.0, 1.0)  # the sign is taken from the data, which both tails together account for
    delta = np.broadcast_to(np.asarray(smallest, dtype=np.float64), means.shape[1:]).reshape(-1)
    toward = flat * side
    p = _one_tail(toward - delta) + _one_tail(toward + delta)
    return np.minimum(p, 1.0).reshape(means.shape[1:])


def _one_tail(values: Float) -> Float:
    """Share of all sign patterns whose sum is at least the observed one; float64 [T] for [n, T]."""
    n = len(values)
    bits = (np.arange(2**n)[:, None] >> np.arange(n)[None, :]) & 1
    signs = 1.0 - 2.0 * bits
    least = values.sum(axis=0) - 1e-12 * np.abs(values).sum(axis=0)
    hits = sum(((block @ values) >= least).sum(axis=0) for block in np.array_split(signs, max(1, len(signs) // 64)))
    return np.asarray(hits / len(signs), dtype=np.float64)


def smallest_p(n_documents: int) -> float:
    """Smallest p that the test can give with so many documents (0 where the t distribution serves)."""
    if n_documents < 2:
        return 1.0
    return 2.0 ** (1 - n_documents) if n_documents <= SIGN_FLIP_MAX else 0.0
