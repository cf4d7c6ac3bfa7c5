"""Tests of effects over documents: arrays in, arrays out.

The unit is the document (one context row), not the token: tokens of one document share their text. So:

1. average the samples of a document (:func:`document_means`),
2. test the mean over documents against 0: one-sample t, or, for up to 12 documents, the exact sign-flip test, which assumes
   only that a document's mean is as likely positive as negative (:func:`mean_test`),
3. require an effect larger than what random directions have (:func:`placebo_floor`); smaller ones get p = 1,
4. correct over the family of all tests (:func:`adjust`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from statsmodels.stats.multitest import multipletests

Float = NDArray[np.float64]

#: Up to this many documents every pattern of signs is counted (2,048 of them); above it the t distribution serves.
SIGN_FLIP_MAX = 12
#: Families above this are not written down to count how many edges a correction needs.
LARGE_FAMILY = 200_000


class StatisticsError(ValueError):
    """Values that cannot be tested; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True)
class DocumentMeans:
    """Means within documents.

    Attributes:
        values: float64 [n_documents, ...].
        documents: The documents, ascending [n_documents].
        counts: Samples per document [n_documents].
    """

    values: Float
    documents: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class MeanTest:
    """The mean over documents and how certain it is.

    Attributes:
        mean: float64 [...].
        se: Standard error over documents; NaN with fewer than two.
        p: Two-sided p of "the mean is 0"; 1 with fewer than two documents.
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


def document_means(values: ArrayLike, documents: ArrayLike) -> DocumentMeans:
    """Average samples within their document.

    Args:
        values: [n_samples, ...].
        documents: int [n_samples], the document of each sample.

    Raises:
        StatisticsError: If the lengths differ or a value is not finite.
    """
    array, labels = np.asarray(values, dtype=np.float64), np.asarray(documents)
    if len(array) != len(labels):
        raise StatisticsError(f"values: got {len(array)} samples for {len(labels)} documents labels; one label per sample is needed")
    if not np.isfinite(array).all():
        raise StatisticsError("values: NaN or infinite effects cannot be averaged; check the activations")
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = np.zeros((len(names), len(labels)))
    weights[inverse, np.arange(len(labels))] = 1 / counts[inverse]
    means = weights @ array.reshape(len(array), -1)
    return DocumentMeans(means.reshape(len(names), *array.shape[1:]), names.astype(np.int64), counts)


def mean_test(means: ArrayLike, level: float = 0.95) -> MeanTest:
    """Test whether the mean over documents differs from 0.

    Args:
        means: [n_documents, ...], one value per document.
        level: Coverage of the interval.
    """
    array = np.asarray(means, dtype=np.float64)
    n, shape = len(array), array.shape[1:]
    mean = array.mean(axis=0) if n else np.zeros(shape)
    if n < 2:
        unknown = np.full(shape, np.nan)
        return MeanTest(mean, unknown, np.ones(shape), unknown, unknown, n)
    se = array.std(axis=0, ddof=1) / np.sqrt(n)
    half = special.stdtrit(n - 1, 0.5 + level / 2) * se
    p = sign_flip_p(array) if n <= SIGN_FLIP_MAX else t_p(mean, se, n)
    return MeanTest(mean, se, p, mean - half, mean + half, n)


def t_p(mean: Float, se: Float, n: int | NDArray[np.int64]) -> Float:
    """Two-sided p of a one-sample t test over ``n`` values (one number, or one a mean).

    A deterministic effect may have the very same value in every document. Effects come from float32 arithmetic, so a spread
    under its resolution (1e-7 of the mean) is taken as that resolution: no spread and rounding noise give the same p. A mean of
    exactly 0 gives p = 1.
    """
    resolution = np.finfo(np.float32).eps * np.abs(mean) / np.sqrt(n)
    spread = np.maximum(se, resolution)
    t = np.divide(np.abs(mean), spread, out=np.zeros_like(spread), where=spread > 0)
    return np.minimum(2 * special.stdtr(n - 1, -t), 1.0)


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


def sign_flip_p(means: Float) -> Float:
    """Exact two-sided p: the share of all sign patterns whose |mean| is at least the observed one.

    Raises:
        StatisticsError: With more documents than :data:`SIGN_FLIP_MAX`.
    """
    n = len(means)
    if not 1 <= n <= SIGN_FLIP_MAX:
        raise StatisticsError(f"got {n} documents; the exact test takes 1 to {SIGN_FLIP_MAX}")
    # Patterns come in pairs of opposite sign with the same |mean|: the first sign can stay fixed.
    bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)[None, :]) & 1
    signs = np.hstack([np.ones((len(bits), 1)), 1.0 - 2.0 * bits])
    flat = means.reshape(n, -1)
    observed = np.abs(flat.sum(axis=0))
    tolerance = 1e-12 * np.abs(flat).sum(axis=0)
    hits = np.zeros(flat.shape[1])
    for block in np.array_split(signs, max(1, len(signs) // 64)):
        hits += (np.abs(block @ flat) >= observed - tolerance).sum(axis=0)
    return (hits / len(signs)).reshape(means.shape[1:])


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


def smallest_p(n_documents: int) -> float:
    """Smallest p that the test can give with so many documents (0 where the t distribution serves)."""
    if n_documents < 2:
        return 1.0
    return 2.0 ** (1 - n_documents) if n_documents <= SIGN_FLIP_MAX else 0.0


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
