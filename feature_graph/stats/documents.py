"""Samples of one document share their text: they are averaged before anything is tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from feature_graph.stats.errors import StatisticsError

Float = NDArray[np.float64]


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
