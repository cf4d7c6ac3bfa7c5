"""Stage 3: how much of a source's direction arrives at a target's encoder.

``block``: through the Jacobian of the blocks between, at tokens of the select documents at which the source is active; the only measure
that sees what an MLP computes. ``cosine``: decoder against encoder, as if no block lay between. Only adjacent pairs are removed by it; it
is reported for every pair, over all the blocks between for a longer span.

Attention carries a direction on to later positions. That is h + 1 times the work, so it is looked at only for pairs that the same position
would remove: they stay if the mean magnitude reaches the limit at one of the next ``position_horizon`` positions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import ActivationStore
from feature_graph.candidates.attribution import rows_of_documents
from feature_graph.candidates.grid import Grid
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import (
    AnalysedModel,
    BlocksBetween,
    CleanRun,
    CleanSweep,
    SourceSamples,
    cosine_alignment,
    later_jacobian_alignment,
    source_jacobian_alignment,
)
from feature_graph.utils import derived_seed

log = logging.getLogger(__name__)

_SAMPLES = 8
_SOURCES_AT_A_TIME = 512


@dataclass(frozen=True)
class Aligned:
    """Alignment of some sources of a grid with all its targets.

    Attributes:
        first: Place of the first source in the grid.
        signed: float64 [sources, M], at the same position.
        strength: float64 [sources, M], mean magnitude: at the same position, or at a later one where only that reaches the limit.
        by_later: Pairs that reach the limit at a later position only.
    """

    first: int
    signed: NDArray[np.float64]
    strength: NDArray[np.float64]
    by_later: int = 0


@dataclass(frozen=True)
class Asked:
    """The pairs of a grid that alignment decides on.

    Attributes:
        row: int64 [n], place of the source in the grid.
        column: int64 [n], place of the target.
        limit: Mean magnitude below which a pair is removed; 0 removes none.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    limit: float

    def of(self, first: int, strength: NDArray[np.float64]) -> Asked:
        """Those of the sources from ``first`` whose strength is below the limit, rows counted from there."""
        here = (self.row >= first) & (self.row < first + len(strength))
        row, column = self.row[here] - first, self.column[here]
        weak = strength[row, column] < self.limit
        return Asked(row[weak], column[weak], self.limit)


class Aligner(Protocol):
    """Gives the alignments of a grid, some sources at a time. Grids must come in ascending order of their source layer."""

    def of(self, grid: Grid, asked: Asked, /) -> Iterator[Aligned]:
        """Alignments of all pairs of the grid, sources in order; those asked for are looked at more closely where they are weak."""
        ...


class CosineAligner:
    """Decoder row against encoder column."""

    def __init__(self, codecs: Mapping[int, SiteCodec]) -> None:
        self._codecs = codecs

    def of(self, grid: Grid, _asked: Asked, /) -> Iterator[Aligned]:
        """See :class:`Aligner`; no block, no later position."""
        source, target = self._codecs[grid.source], self._codecs[grid.target]
        targets = torch.as_tensor(grid.targets, device=target.device)
        for first, part in _parts(grid.sources):
            cosine = cosine_alignment(source, target, torch.as_tensor(part, device=source.device), targets)
            yield Aligned(first, cosine, np.abs(cosine))


class NoAligner:
    """Nothing is aligned: where dictionaries on components write and read, there is no one space for it."""

    def of(self, grid: Grid, _asked: Asked, /) -> Iterator[Aligned]:
        """See :class:`Aligner`; NaN, which removes nothing."""
        for first, part in _parts(grid.sources):
            unknown = np.full((len(part), len(grid.targets)), np.nan)
            yield Aligned(first, unknown, unknown)


class BlockAligner:
    """Through the Jacobian of the blocks between.

    Args:
        model: The model and its dictionaries.
        store: Activations of the run.
        documents: Select documents on which the sources' samples lie, ascending.
        last: Source layer → last target layer that will be asked for.
        seed: Of the choice of samples.
        horizon: Later positions that are looked at for pairs that the same position would remove.
    """

    def __init__(
        self,
        model: AnalysedModel,
        store: ActivationStore,
        documents: NDArray[np.int64],
        last: Mapping[int, int],
        seed: int,
        horizon: int,
    ) -> None:
        self._store, self._documents, self._last, self._seed, self._horizon = store, documents, last, seed, horizon
        self._slices, self._codecs = model.slices, model.codecs
        self._sweep = CleanSweep(self._slices, store.tokens[documents])
        self._run: CleanRun | None = None
        self._source = -1
        self._samples: _Places | None = None

    def of(self, grid: Grid, asked: Asked, /) -> Iterator[Aligned]:
        """See :class:`Aligner`."""
        run, places = self._go_to(grid.source, grid.sources)
        source, target = self._codecs[grid.source], self._codecs[grid.target]
        targets = torch.as_tensor(grid.targets, device=target.device)
        for first, part in _parts(grid.sources):
            samples, features = places.of(first, first + len(part), source.device), torch.as_tensor(part, device=source.device)
            between = BlocksBetween(self._slices, run, source, target)
            found = source_jacobian_alignment(between, features, samples, targets)
            weak = asked.of(first, found.absolute)
            by_later = self._raise(found.absolute, weak, between, grid, features, samples) if len(weak.row) and self._horizon else 0
            yield Aligned(first, found.signed, found.absolute, by_later)

    def _raise(
        self, strength: NDArray[np.float64], weak: Asked, between: BlocksBetween, grid: Grid, features: Tensor, samples: SourceSamples
    ) -> int:
        """Put the later alignment into ``strength`` where it reaches the limit and the same position does not; how many pairs it did."""
        rows, at_row = np.unique(weak.row, return_inverse=True)
        columns, at_column = np.unique(weak.column, return_inverse=True)
        chosen = torch.as_tensor(rows, device=features.device)
        mine = torch.isin(samples.source, chosen)
        few = SourceSamples(torch.searchsorted(chosen, samples.source[mine]), samples.documents[mine], samples.positions[mine])
        counted = torch.as_tensor(self._store.valid[self._documents], device=features.device)
        targets = torch.as_tensor(grid.targets[columns], device=features.device)
        later = later_jacobian_alignment(between, features[chosen], few, self._horizon, counted, targets)
        value = later[at_row, at_column]
        reached = value >= weak.limit
        strength[weak.row[reached], weak.column[reached]] = value[reached]
        return int(reached.sum())

    def _go_to(self, layer: int, sources: NDArray[np.int64]) -> tuple[CleanRun, _Places]:
        if self._run is None or self._samples is None or layer != self._source:
            first, last = self._codecs[layer].site.point, self._codecs[self._last[layer]].site.point
            points = [c.site.point for c in self._codecs.values() if first <= c.site.point <= last]
            self._run = self._sweep.window(first, last, points)
            self._samples = _draw(self._store, layer, sources, self._documents, derived_seed(self._seed, "alignment", layer))
            self._source = layer
        return self._run, self._samples


@dataclass(frozen=True)
class _Places:
    """Samples of the sources, sorted by source; int64 arrays: place of the source, row of the document, position."""

    source: NDArray[np.int64]
    document: NDArray[np.int64]
    position: NDArray[np.int64]

    def of(self, first: int, last: int, device: torch.device) -> SourceSamples:
        """Those of sources first..last-1, numbered from 0."""
        part = slice(*np.searchsorted(self.source, [first, last]))

        def on_device(values: NDArray[np.int64]) -> Tensor:
            return torch.as_tensor(values, device=device)

        return SourceSamples(on_device(self.source[part] - first), on_device(self.document[part]), on_device(self.position[part]))


def _draw(store: ActivationStore, layer: int, sources: NDArray[np.int64], documents: NDArray[np.int64], seed: int) -> _Places:
    """Up to a few tokens per source at which it is active: a seeded draw, over distinct documents first."""
    active = rows_of_documents(store, layer, documents)[:, sources].tocoo()
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(active.nnz)
    source, row = active.col[shuffled].astype(np.int64), active.row[shuffled].astype(np.int64)
    document, position = np.divmod(row, store.context_length)
    round_ = _occurrence(source * len(documents) + document)
    order = np.lexsort((np.arange(len(source)), round_, source))
    kept = order[_occurrence(source[order]) < _SAMPLES]
    return _Places(source[kept], document[kept], position[kept])


def _occurrence(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each key has come before in the array."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(keys) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(keys)])
    counts = np.empty(len(keys), dtype=np.int64)
    counts[order] = np.arange(len(keys)) - np.repeat(starts, lengths)
    return counts


def _parts(sources: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for first in range(0, len(sources), _SOURCES_AT_A_TIME):
        yield first, sources[first : first + _SOURCES_AT_A_TIME]
