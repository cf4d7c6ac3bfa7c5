"""Which sources are steered, and at which tokens: drawn before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.activations import SampleRows, active_rows, document_priority, draw_samples
from feature_graph.artifacts import CONFIRM, SELECT, TEST, ActivationStore
from feature_graph.config import Config
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.utils import derived_seed

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DrawnSource:
    """A source and its tokens.

    Attributes:
        layer: Its layer.
        index: Its index.
        truth: Tokens of confirm documents at which it is steered.
        edge: Tokens of test documents at which its edges are measured by clamps.
    """

    layer: int
    index: int
    truth: SampleRows
    edge: SampleRows


class TokenDraw:
    """Tokens at which features are active, among a fixed choice of documents of each split.

    Args:
        store: Recorded activations.
        cfg: Gives the seed.
        most_documents: Documents of a split that are used.
    """

    def __init__(self, store: ActivationStore, cfg: Config, most_documents: int) -> None:
        self._store, self._priority = store, document_priority(store, cfg)
        self._order = np.random.default_rng(derived_seed(cfg.seed, "forecast tokens")).random(store.tokens.size)
        self._most = most_documents

    def documents(self, split: int) -> Ints:
        """The documents used of a split, ascending."""
        mine = np.flatnonzero(self._store.splits == split)
        return np.sort(mine[np.argsort(self._priority[mine])][: self._most])

    def of_layer(self, layer: int, indices: Ints, split: int, n: int) -> list[SampleRows]:
        """Up to ``n`` tokens of each feature, distinct documents first."""
        used = self.documents(split)
        found = []
        for at in active_rows(self._store, layer, indices):
            kept = np.flatnonzero(np.isin(at.documents, used) & self._store.valid[at.documents, at.positions])
            found.append(draw_samples(at.documents, at.positions, at.values, kept, self._priority, self._order[at.rows], n))
        return found

    def anywhere(self, split: int, n_documents: int, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Counted tokens of a few documents, whatever is active there: documents and positions, [n] or fewer."""
        used = self.documents(split)[:n_documents]
        rows, positions = np.nonzero(self._store.valid[used])
        chosen = np.sort(rng.permutation(len(rows))[:n])
        return used[rows[chosen]], positions[chosen].astype(np.int64)


def draw_sources(
    draw: TokenDraw, among: Mapping[int, Ints], n_sources: int, n_tokens: int, min_documents: int, rng: np.random.Generator
) -> list[DrawnSource]:
    """Sources at random, equally many per site (as far as it goes), in the order of layers.

    Args:
        draw: Where they are active.
        among: Layer → features to draw from.
        n_sources: How many.
        n_tokens: Tokens of each at most, for the truth and for its edges.
        min_documents: Documents of each split that a source must be active in.
        rng: Draws them.

    Raises:
        EvaluationError: If none is active in enough documents.
    """
    layers = sorted(among)
    found: list[DrawnSource] = []
    for k, layer in enumerate(layers):
        wanted = n_sources // len(layers) + (k < n_sources % len(layers))
        order = rng.permutation(among[layer].astype(np.int64))
        samples = (draw.of_layer(layer, order, split, n_tokens) for split in (CONFIRM, TEST, SELECT))
        able = [
            DrawnSource(layer, int(index), truth, edge)
            for index, truth, edge, chosen in zip(order, *samples, strict=True)
            if min(truth.n_documents, edge.n_documents, chosen.n_documents) >= min_documents
        ]
        found += sorted(able[:wanted], key=lambda source: source.index)
    if not found:
        raise EvaluationError(f"no feature is active in {min_documents} documents of each split, as is asked for here; collect more text")
    return found
