"""A figure with its interval: sums by document, resampled by document, since tokens of one document share their text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LOW, _HIGH, _Z = 2.5, 97.5, 1.96


@dataclass(frozen=True)
class QualityFigure:
    """One figure.

    Attributes:
        value: On all tokens measured.
        n: Tokens it is made of; of a response, pairs of a token and a direction.
        ci_low: Lower end of its 95 % interval over documents; None with fewer than two documents.
        ci_high: Upper end.
    """

    value: float
    n: int
    ci_low: float | None
    ci_high: float | None


def resamples(n_documents: int, n: int, seed: int) -> Floats:
    """How often each document counts, [n, n_documents], in resamples of all documents."""
    if n_documents < 1:
        return np.zeros((n, 0))
    return np.random.default_rng(seed).multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=n).astype(np.float64)


def figure_of(sums: Floats, n: int, drawn: Floats, of: Callable[[Floats], Floats]) -> QualityFigure | None:
    """A figure of sums, with its percentile bootstrap over documents; None where it is not defined.

    Args:
        sums: By document [n_documents, k].
        n: What is to be said as its number of tokens.
        drawn: From :func:`resamples`.
        of: From sums [..., k] to the figure [...]; NaN or infinite where it is not defined.
    """
    if not n:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(of(sums.sum(axis=0)))
        values = of(drawn @ sums)
    if not np.isfinite(value):
        return None
    values = values[np.isfinite(values)]
    if int((sums != 0).any(axis=1).sum()) < 2 or not len(values):
        return QualityFigure(value, n, None, None)
    low, high = np.percentile(values, [_LOW, _HIGH])
    return QualityFigure(value, n, float(low), float(high))


def unseen_share(documents_of: NDArray[np.int64], only_in: NDArray[np.int64], n_documents: int, n: int) -> QualityFigure | None:
    """Share of features that were never active, with the jackknife's interval over documents.

    A bootstrap would leave documents out of every resample, and so count too many features as dead in all of them.

    Args:
        documents_of: [d_sae], documents in which each feature is active.
        only_in: [d_sae], the last document in which it is; used where it is the only one.
        n_documents: Documents.
        n: Tokens.
    """
    if not n:
        return None
    share = float((documents_of == 0).mean())
    if n_documents < 2:
        return QualityFigure(share, n, None, None)
    without = share + np.bincount(only_in[documents_of == 1], minlength=n_documents) / len(documents_of)
    error = float(np.sqrt((n_documents - 1) / n_documents * np.square(without - without.mean()).sum()))
    return QualityFigure(share, n, max(0.0, share - _Z * error), min(1.0, share + _Z * error))
