"""How often targets are on where sources are on, at the tokens of the select documents: for any pair of sites, without a cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, ActivationStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Width of the band above a JumpReLU's threshold in which tokens count as near it, as a share of the threshold.
BAND = 0.25
_PRIOR = 2.0


@dataclass(frozen=True)
class OpenGates:
    """Per pair of a source and a target.

    Attributes:
        on: P̂(target on | source on) = (c + 2 base) / (n + 2): c of n tokens, shrunk towards the target's own rate.
        jump: θ · p̂(z = θ | source on), what the jump of a JumpReLU adds to the mean slope; 0 for other kinds.
    """

    on: Floats
    jump: Floats


@dataclass(frozen=True)
class _Activity:
    """Activity at the select tokens, one column per feature: all (by column and by row), and just above the threshold. Entries are 1."""

    columns: sp.csc_matrix
    on: sp.csr_matrix
    near: sp.csr_matrix
    counts: Ints

    @classmethod
    def of(cls, values: sp.csr_matrix, threshold: NDArray[np.float32] | None) -> _Activity:
        near = np.zeros(values.nnz, dtype=bool) if threshold is None else values.data <= (1 + BAND) * threshold[values.indices]
        on = sp.csr_matrix((np.ones(values.nnz, dtype=np.float32), values.indices, values.indptr), shape=values.shape)
        row = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))[near]
        close = sp.csr_matrix((np.ones(len(row), dtype=np.float32), (row, values.indices[near])), shape=values.shape)
        return cls(on.tocsc(), on, close, np.bincount(values.indices, minlength=values.shape[1]).astype(np.int64))


class GateTable:
    """Counts of joint activity at select tokens, computed for the pairs that are asked for.

    A site's activity is read from the file once and kept (about 20 bytes per stored activation).

    Args:
        store: Recorded activations.
        thresholds: Layer → thresholds of a JumpReLU dictionary [d_sae], folded units; None for other kinds.
    """

    def __init__(self, store: ActivationStore, thresholds: Mapping[int, NDArray[np.float32] | None]) -> None:
        self._store, self._thresholds = store, dict(thresholds)
        self._rows = store.rows_of(SELECT)
        self._kept: dict[int, _Activity] = {}

    def of(self, source: int, sources: Ints, target: int, targets: Ints | None = None) -> OpenGates:
        """Gates of some targets (all if None) at the tokens of some sources: float64 [sources, targets]."""
        one, two = self._activity(source), self._activity(target)
        on, near, counts = two.on, two.near, two.counts
        if targets is not None:
            on, near, counts = two.columns[:, targets].tocsr(), near[:, targets], counts[targets]
        mine = one.columns[:, sources].T.tocsr()
        n = one.counts[sources][:, None].astype(np.float64)
        base = counts / max(1, len(self._rows))
        joint, close = ((mine @ part).toarray().astype(np.float64) for part in (on, near))
        return OpenGates((joint + _PRIOR * base) / (n + _PRIOR), close / (BAND * np.maximum(n, 1.0)))

    def density(self, layer: int) -> Floats:
        """Share of select tokens at which each feature is active, [d_sae]."""
        return self._activity(layer).counts / max(1, len(self._rows))

    def _activity(self, layer: int) -> _Activity:
        if layer not in self._kept:
            values = self._store.activations[layer][self._rows]
            self._kept[layer] = _Activity.of(values, self._thresholds[layer])
        return self._kept[layer]
