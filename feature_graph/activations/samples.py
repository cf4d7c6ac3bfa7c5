"""Tokens at which a feature is active, drawn for measuring: distinct documents first, the same documents for many features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore
from feature_graph.config import Config
from feature_graph.utils import derived_seed

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SampleRows:
    """(document, position) pairs at which a source is active, and how active it is there. All [n]."""

    documents: Ints
    positions: Ints
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def n_documents(self) -> int:
        """Distinct documents."""
        return len(np.unique(self.documents))


@dataclass(frozen=True)
class ActiveRows:
    """Every token at which a feature is active; arrays [n], ascending by token.

    Attributes:
        index: The feature.
        rows: Tokens, numbered through the documents (``document * context_length + position``).
        documents: Of each.
        positions: Of each.
        values: Activations there.
    """

    index: int
    rows: Ints
    documents: Ints
    positions: Ints
    values: NDArray[np.float32]


def active_rows(store: ActivationStore, layer: int, indices: Ints) -> Iterator[ActiveRows]:
    """Where each of some features of a layer is active, one after the other.

    Args:
        store: Recorded activations.
        layer: The layer.
        indices: int64 [n], features.
    """
    columns = sp.csc_matrix(store.activations[layer][:, indices])
    for k, index in enumerate(indices.tolist()):
        mine = slice(columns.indptr[k], columns.indptr[k + 1])
        rows = columns.indices[mine].astype(np.int64)
        documents, positions = np.divmod(rows, store.context_length)
        yield ActiveRows(index, rows, documents, positions, columns.data[mine])


def document_priority(store: ActivationStore, cfg: Config) -> Ints:
    """Rank of each document in the random order in which every source goes through them, int64 [n_docs]."""
    return np.random.default_rng(derived_seed(cfg.seed, "documents")).permutation(len(store.tokens))


def draw_samples(
    documents: Ints, positions: Ints, values: NDArray[np.float32], rows: Ints, priority: Ints, order: NDArray[np.float64], n: int
) -> SampleRows:
    """Up to ``n`` samples, distinct documents first.

    Every source goes through the documents in the same random order (``priority``), so that sources share documents and the
    clean run serves many; within a document the position is drawn for the source alone (``order``).
    """
    rows = rows[np.lexsort((order[rows], documents[rows]))]
    starts = np.flatnonzero(np.r_[True, documents[rows][1:] != documents[rows][:-1]]) if len(rows) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(rows)])
    rank = np.arange(len(rows)) - np.repeat(starts, lengths)
    picked = rows[np.lexsort((priority[documents[rows]], rank))[:n]]
    return SampleRows(documents[picked], positions[picked], values[picked])
