"""Ranks of rows that count several times, and their correlation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_FEWEST = 8


def spearman(one: Floats, two: Floats) -> float:
    """Rank correlation; NaN for fewer than eight values, or where one of the two does not vary."""
    weights = np.ones(len(one))
    ranks = centred_ranks(number_by_size(two), weights)
    return rank_correlation(centred_ranks(number_by_size(one), weights), ranks, weights)


def number_by_size(values: Floats) -> Ints:
    """Number of each value among the distinct ones, ascending [n]."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def weighted_ranks(numbers: Ints, weights: Floats) -> Floats:
    """Mean rank of each value if it occurs ``weights`` times, [n]: what ranking the repeated rows would give."""
    counts = np.bincount(numbers, weights)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[numbers])


def centred_ranks(numbers: Ints, weights: Floats) -> Floats:
    """The same less their weighted mean, [n]."""
    return weighted_ranks(numbers, weights) - (weights.sum() + 1) / 2


def rank_correlation(one: Floats, two: Floats, weights: Floats) -> float:
    """Correlation of centred ranks; NaN for fewer than eight rows, or where one of the two does not vary."""
    if weights.sum() < _FEWEST:
        return math.nan
    weighted = weights * two
    size = math.sqrt(float(np.dot(weights * one, one)) * float(np.dot(weighted, two)))
    return float(np.dot(weighted, one)) / size if size > 0 else math.nan


def row_ranks(values: Floats) -> Floats:
    """Mean ranks within each row, centred and of length 1; NaN where a row does not vary or has fewer than eight values; [rows, n]."""
    rows, n = values.shape
    if n < _FEWEST:
        return np.full_like(values, math.nan)
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    begins = np.ones((rows, n), dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.flatnonzero(begins)
    lengths = np.diff(np.append(first, rows * n))
    ranks = np.empty_like(values)
    np.put_along_axis(ranks, order, np.repeat(first % n + (lengths - n) / 2, lengths).reshape(rows, n), axis=1)
    length = np.sqrt(np.einsum("ij,ij->i", ranks, ranks))[:, None]
    return np.divide(ranks, length, out=np.full_like(ranks, math.nan), where=length > 0)
