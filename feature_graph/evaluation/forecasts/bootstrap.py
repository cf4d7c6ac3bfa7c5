"""Two-way bootstrap of rank correlations: sources and documents are drawn anew, each with replacement.

1. A resample draws sources and documents. A pair counts as often as its source was drawn; what was measured of it is the mean over the
   drawn documents of its source, each as often as it was drawn. One draw of documents holds for all sources, since they share them. A
   source none of whose documents was drawn is left out of that resample, with all its pairs.
2. Ranks are made anew in each resample.
3. A mean over documents drawn with replacement has up to twice the noise of the mean that was measured, so that every correlation with
   it is lower, although no forecast is worse. Where noise adds up, the loss is a factor, the same for all forecasts. It is estimated by
   least squares over them, from their values and their means over resamples, and divided out; without that an interval would lie below
   the value that it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.evaluation.forecasts.ranks import centred_ranks, number_by_size, rank_correlation, row_ranks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Resamples whose truths are held at once.
_AT_ONCE = 25
#: What correlations keep at least if the noise of the truth doubles.
_LEAST = math.sqrt(0.5)


@dataclass(frozen=True)
class DocumentTruth:
    """What was measured of some pairs, sorted by source.

    Attributes:
        whole: float64 [pairs], the mean over documents.
        parts: float32 [pairs, slots], the effect in each document of the pair's source.
        documents: int64 [pairs, slots], which these are; −1 for none.
        owner: int64 [pairs], number of the source, ascending from 0.
    """

    whole: Floats
    parts: NDArray[np.float32]
    documents: Ints
    owner: Ints


@dataclass(frozen=True)
class Correlations:
    """Spearman correlations with the truth: of what was measured, then of every resample.

    Attributes:
        pooled: Forecaster → float64 [1 + resamples], over all pairs.
        within: Forecaster → float64 [1 + resamples], mean over sources of the correlation over the source's own pairs.
    """

    pooled: dict[str, Floats]
    within: dict[str, Floats]


def two_way(columns: Mapping[str, Floats], truth: DocumentTruth, resamples: int, seed: int) -> Correlations:
    """Correlations of forecasts with the truth, resampled.

    Args:
        columns: Forecaster → its values [pairs].
        truth: What was measured.
        resamples: How many.
        seed: Of the draws.
    """
    if not len(truth.owner):
        nothing = {name: np.full(1 + resamples, math.nan) for name in columns}
        return Correlations(nothing, dict(nothing))
    group, rng = _Group(columns, truth), np.random.default_rng(seed)
    sources = rng.multinomial(group.n_sources, np.full(group.n_sources, 1 / group.n_sources), size=resamples).astype(np.float64)
    documents = rng.multinomial(group.n_documents, np.full(group.n_documents, 1 / group.n_documents), size=resamples).astype(np.float64)
    parts = [group.correlations(truth.whole[None], np.ones((1, group.n_sources)))]
    for first in range(0, resamples, _AT_ONCE):
        chosen = slice(first, first + _AT_ONCE)
        drawn, seen = group.drawn(documents[chosen])
        parts.append(group.correlations(drawn, sources[chosen] * seen))
    pooled, within = (_restored(np.concatenate(some)) for some in zip(*parts, strict=True))
    return Correlations(*(dict(zip(columns, some.T, strict=True)) for some in (pooled, within)))


class _Group:
    """The pairs that are scored together."""

    def __init__(self, columns: Mapping[str, Floats], truth: DocumentTruth) -> None:
        self._owner, self._values = truth.owner, truth.parts
        begins = np.flatnonzero(np.diff(truth.owner, prepend=-1))
        self._blocks = [slice(a, b) for a, b in zip(begins, [*begins[1:], len(truth.owner)], strict=True)]
        self.n_sources = len(begins)
        names, slots = np.unique(truth.documents[begins], return_inverse=True)
        empty = int(names[0] < 0)
        self.n_documents, self._slots = len(names) - empty, slots.reshape(self.n_sources, -1) - empty
        table = np.stack(list(columns.values()))
        self._numbers = [number_by_size(values) for values in table]
        self._ranks = [row_ranks(table[:, block]) for block in self._blocks]

    def drawn(self, counts: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The truth of drawn documents [resamples, pairs], and whether a source has any of them [resamples, sources].

        Args:
            counts: How often each document was drawn [resamples, documents].
        """
        found, seen = np.zeros((len(counts), len(self._owner))), np.zeros((len(counts), self.n_sources), dtype=bool)
        for source, (block, slots) in enumerate(zip(self._blocks, self._slots, strict=True)):
            own = np.flatnonzero(slots >= 0)
            weights = counts[:, slots[own]]
            whole = weights.sum(axis=1, keepdims=True)
            seen[:, source] = whole[:, 0] > 0
            found[:, block] = (weights / np.maximum(whole, 1)) @ self._values[block][:, own].T.astype(np.float64)
        return found, seen

    def correlations(self, truths: Floats, counts: Floats) -> tuple[Floats, Floats]:
        """Pooled, and means over sources: [resamples, columns] each.

        Args:
            truths: [resamples, pairs].
            counts: How often each source counts [resamples, sources].
        """
        pooled = np.array([self._pooled(*resample) for resample in zip(truths, counts, strict=True)])
        each = np.stack([row_ranks(truths[:, block]) @ ranks.T for block, ranks in zip(self._blocks, self._ranks, strict=True)], axis=-1)
        return pooled, _mean_of_sources(each, counts)

    def _pooled(self, truth: Floats, counts: Floats) -> list[float]:
        weights = counts[self._owner]
        ranks = centred_ranks(number_by_size(truth), weights)
        return [rank_correlation(centred_ranks(numbers, weights), ranks, weights) for numbers in self._numbers]


def _restored(found: Floats) -> Floats:
    """Correlations without what they lose by a noisier truth, [1 + resamples, columns]; the first row, of what was measured, stays."""
    values, resampled = found[0], found[1:]
    some = np.isfinite(resampled)
    means = np.where(some, resampled, 0).sum(axis=0) / np.maximum(some.sum(axis=0), 1)
    known = np.isfinite(values) & some.any(axis=0)
    size = float(values[known] @ values[known])
    kept = float(np.clip(values[known] @ means[known] / size, _LEAST, 1)) if size > 0 else 1.0
    return np.concatenate([found[:1], np.clip(resampled / kept, -1, 1)])


def _mean_of_sources(found: Floats, counts: Floats) -> Floats:
    """Mean over the sources that have a correlation, each as often as it counts; [resamples, columns].

    Args:
        found: [resamples, columns, sources].
        counts: [resamples, sources].
    """
    weights = counts[:, None] * np.isfinite(found)
    whole = weights.sum(axis=-1)
    return np.divide((weights * np.nan_to_num(found)).sum(axis=-1), whole, out=np.full(whole.shape, math.nan), where=whole > 0)
