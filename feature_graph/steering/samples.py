"""Where features can be steered, and what the recorded activations say about two features."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import CONFIRM, SELECT, ActivationStore, feature_key, indices_by_layer
from feature_graph.interventions import SamplePositions

#: Documents of a split that are run at most: what their keys and values need bounds the memory.
_MOST_DOCUMENTS = 128


@dataclass(frozen=True)
class SplitSamples:
    """Samples of one source: documents of the confirm split, where it is steered, and of the select split, where its Jacobian is taken."""

    confirm: SamplePositions
    select: SamplePositions


class SteeringSamples:
    """Recorded activations, and a fixed choice of documents of two splits; samples number documents by their position in that choice.

    Args:
        store: Recorded activations.
        rng: Draws documents and positions.
    """

    def __init__(self, store: ActivationStore, rng: np.random.Generator) -> None:
        self.store, self.rng = store, rng
        self.documents: dict[int, NDArray[np.int64]] = {}
        for split in (SELECT, CONFIRM):
            found = np.flatnonzero(store.splits == split)
            self.documents[split] = np.sort(rng.permutation(found)[:_MOST_DOCUMENTS])
        self._columns: dict[int, Any] = {}
        self._selected: dict[tuple[int, int], Any] = {}

    def of_source(self, node: str, most: int, least: int) -> SplitSamples | None:
        """Samples of a feature, one position a document; None if it is active in fewer than ``least`` documents of a split."""
        layer, index = feature_key(node, self.store.layers)
        confirm, select = (self.samples(layer, index, split, most) for split in (CONFIRM, SELECT))
        return SplitSamples(confirm, select) if min(len(confirm), len(select)) >= least else None

    def samples(self, layer: int, index: int, split: int, most: int) -> SamplePositions:
        """Positions at which a feature is active, one per document, in at most ``most`` documents of a split drawn at random."""
        column, kept = self._layer(layer)[:, index], self.documents[split]
        rows = column.indices[column.data > self.store.thresholds[layer][index]]
        documents, positions = np.divmod(rows.astype(np.int64), self.store.context_length)
        wanted = np.flatnonzero(self.store.valid[documents, positions] & np.isin(documents, kept))
        order = self.rng.permutation(wanted)
        documents, positions = documents[order], positions[order]
        _, first = np.unique(documents, return_index=True)
        first = self.rng.permutation(first)[:most]
        return SamplePositions(np.searchsorted(kept, documents[first]).astype(np.int64), positions[first])

    def slope(self, source: str, target: str) -> float:
        """Least-squares slope of the target's activation on the source's over the counted tokens of the select documents."""
        a, b = (self._on_select(*feature_key(node, self.store.layers)) for node in (source, target))
        n = a.shape[0]
        mean_a, mean_b = a.sum() / n, b.sum() / n
        variance = float(a.multiply(a).sum()) / n - mean_a**2
        return float((float(a.multiply(b).sum()) / n - mean_a * mean_b) / variance) if variance > 0 else 0.0

    def _on_select(self, layer: int, index: int) -> Any:
        if (layer, index) not in self._selected:
            rows = self._layer(layer)[:, index].tocsr()[self.store.rows_of(SELECT)]
            self._selected[layer, index] = rows.astype(np.float64)
        return self._selected[layer, index]

    def _layer(self, layer: int) -> Any:
        if layer not in self._columns:
            self._columns[layer] = self.store.activations[layer].tocsc()
        return self._columns[layer]


def by_layer(nodes: Iterable[str], layers: Collection[int]) -> dict[int, list[int]]:
    """Layer → indices of features, ids in alphabetical order; ``layers`` are those of the run."""
    return indices_by_layer(feature_key(node, layers) for node in sorted(nodes))
