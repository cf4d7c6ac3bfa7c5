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
        truth: Tokens at which it is steered: of confirm documents, or of another text.
        edge: Tokens of test documents at which its edges are measured by clamps.
    """

    layer: int
    index: int
    truth: SampleRows
    edge: SampleRows


class TokenDraw:
    """Tokens at which features are active, among a fixed choice of documents.

    Args:
        store: Recorded activations.
        cfg: Gives the seed.
        split: The split that documents are taken from; None: from all.
        most_documents: Documents that are used.

    Attributes:
        store: Where it draws from.
        documents: The documents used, ascending.
    """

    def __init__(self, store: ActivationStore, cfg: Config, split: int | None, most_documents: int) -> None:
        self.store, self._priority = store, document_priority(store, cfg)
        self._order = np.random.default_rng(derived_seed(cfg.seed, "forecast tokens")).random(store.tokens.size)
        mine = np.flatnonzero(store.splits == split) if split is not None else np.arange(len(store.splits))
        self.documents: Ints = np.sort(mine[np.argsort(self._priority[mine])][:most_documents])

    def of_layer(self, layer: int, indices: Ints, n: int) -> list[SampleRows]:
        """Up to ``n`` tokens of each feature, distinct documents first."""
        found = []
        for at in active_rows(self.store, layer, indices):
            kept = np.flatnonzero(np.isin(at.documents, self.documents) & self.store.valid[at.documents, at.positions])
            found.append(draw_samples(at.documents, at.positions, at.values, kept, self._priority, self._order[at.rows], n))
        return found

    def anywhere(self, n_documents: int, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Counted tokens of a few documents, whatever is active there: documents and positions, [n] or fewer."""
        used = self.documents[:n_documents]
        rows, positions = np.nonzero(self.store.valid[used])
        chosen = np.sort(rng.permutation(len(rows))[:n])
        return used[rows[chosen]], positions[chosen].astype(np.int64)


@dataclass(frozen=True)
class Draws:
    """Where tokens are drawn from, for each purpose.

    Attributes:
        truth: At which sources are steered.
        edge: At which their edges are measured by clamps.
        select: That responses and mean Jacobians are measured at.
    """

    truth: TokenDraw
    edge: TokenDraw
    select: TokenDraw

    @classmethod
    def of(cls, store: ActivationStore, cfg: Config, most_documents: int, truth: ActivationStore | None = None) -> Draws:
        """From a run's confirm, test and select documents; the truth from another text, if there is one."""
        held_out = TokenDraw(store, cfg, CONFIRM, most_documents) if truth is None else TokenDraw(truth, cfg, None, most_documents)
        return cls(held_out, *(TokenDraw(store, cfg, split, most_documents) for split in (TEST, SELECT)))


def draw_sources(
    draws: Draws, among: Mapping[int, Ints], n_sources: int, n_tokens: int, min_documents: int, rng: np.random.Generator
) -> list[DrawnSource]:
    """Sources at random, equally many per site (as far as it goes), in the order of layers.

    Args:
        draws: Where they are active.
        among: Layer → features to draw from.
        n_sources: How many.
        n_tokens: Tokens of each at most, for the truth and for its edges.
        min_documents: Documents of each draw that a source must be active in.
        rng: Draws them.

    Raises:
        EvaluationError: If none is active in enough documents.
    """
    layers = sorted(among)
    found: list[DrawnSource] = []
    for k, layer in enumerate(layers):
        wanted = n_sources // len(layers) + (k < n_sources % len(layers))
        order = rng.permutation(among[layer].astype(np.int64))
        samples = (draw.of_layer(layer, order, n_tokens) for draw in (draws.truth, draws.edge, draws.select))
        able = [
            DrawnSource(layer, int(index), truth, edge)
            for index, truth, edge, chosen in zip(order, *samples, strict=True)
            if min(truth.n_documents, edge.n_documents, chosen.n_documents) >= min_documents
        ]
        found += sorted(able[:wanted], key=lambda source: source.index)
    if not found:
        where = "of each split" if draws.truth.store is draws.edge.store else "of each split and of the other text"
        raise EvaluationError(f"no feature is active in {min_documents} documents {where}, as is asked for here; collect more text")
    return found
