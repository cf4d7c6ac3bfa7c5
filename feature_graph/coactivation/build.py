"""The co-activation atlas of a run.

1. Only select documents are read, so that what chooses a pair is not what tests it.
2. For every ordered layer pair inside the window, count the tokens at which source and target are both active, and those at which the
   source is active and the target is active at one or more of the next ``position_horizon`` positions of the same document.
3. Pairs of which both counts are under ``min_coactivation`` are not stored: no later stage measures them (except by the rescue arm, which
   counts its few pairs itself), and at 24,576 features they are most of what would have to be kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, ActivationStore, AtlasWriter, CoactivationAtlas, keys_of, pairs_in_window
from feature_graph.coactivation.errors import CoactivationError
from feature_graph.coactivation.kernel import ActivityPattern, count_pairs
from feature_graph.config import Config
from feature_graph.utils import progress, whole_file

log = logging.getLogger(__name__)
LayerPair = tuple[int, int]


def build_coactivation_atlas(store: ActivationStore, cfg: Config, *, path: str | Path | None = None) -> CoactivationAtlas:
    """Count joint activity for every ordered pair of layers (of sites, where layers have several) in the window, on the select documents.

    Args:
        store: Activations of the run.
        cfg: ``layers``, ``layer_window``, ``weight_pairs``, ``position_horizon`` and ``min_coactivation`` are read.
        path: Where the atlas shall lie; then not more than one layer pair is held in memory. None: all of it is held.

    Raises:
        CoactivationError: If the store lacks a layer of ``cfg.layers``, or has no select document.
    """
    lacking = sorted(set(keys_of(cfg)) - set(store.layers))
    if lacking:
        raise CoactivationError(f"layers: the configuration names {lacking}, the store holds {store.layers}; collect them first")
    n_tokens = len(store.rows_of(SELECT))
    if n_tokens == 0:
        raise CoactivationError(f"the store has {len(store.tokens)} documents, none of them for selection; collect more tokens")
    min_count = max(cfg.min_coactivation, 1)
    if path is None:
        held = _Held({}, {})
        active = _count(store, cfg, min_count, held.append)
        return CoactivationAtlas(held.counts, held.later, active, n_tokens, cfg.position_horizon, min_count)
    with whole_file(path) as part, AtlasWriter(part, n_tokens, cfg.position_horizon, min_count) as writer:
        writer.finish(_count(store, cfg, min_count, writer.append))
    return CoactivationAtlas.load(path)


@dataclass(frozen=True)
class _Held:
    """Counts in memory."""

    counts: dict[LayerPair, sp.csr_matrix]
    later: dict[LayerPair, sp.csr_matrix]

    def append(self, pair: LayerPair, counts: sp.csr_matrix, later: sp.csr_matrix) -> None:
        self.counts[pair], self.later[pair] = counts, later


def _count(
    store: ActivationStore, cfg: Config, min_count: int, keep: Callable[[LayerPair, sp.csr_matrix, sp.csr_matrix], None]
) -> dict[int, NDArray[np.int64]]:
    """Count each layer pair and give it to ``keep``; layer → tokens at which each feature is active."""
    layers = keys_of(cfg)
    wanted = pairs_in_window({layer: store.sites[layer] for layer in layers}, cfg.layer_window, weights=cfg.weight_pairs)
    active = {layer: np.zeros(store.sites[layer].d_sae, dtype=np.int64) for layer in layers}
    stored, rows = 0, select_rows(store)
    for pair, source, target, later in progress(_pairs(store, rows, wanted, cfg), "Counting joint activity", total=len(wanted)):
        joint = count_pairs(source, target, later, min_count)
        for layer, pattern in zip(pair, (source, target), strict=True):
            active[layer] = np.bincount(pattern.indices, minlength=pattern.n_features).astype(np.int64)
        log.debug("layers %s → %s: %d pairs stored", *pair, joint.same.nnz)
        stored += joint.same.nnz
        keep(pair, joint.same, joint.later)
    log.info("co-activation: %d layer pairs, %d feature pairs stored", len(wanted), stored)
    return active


def select_rows(store: ActivationStore) -> NDArray[np.int64]:
    """Every row of the select documents, counted or not, so that documents stay whole."""
    documents = np.flatnonzero(store.splits == SELECT)
    return (documents[:, None] * store.context_length + np.arange(store.context_length)).ravel()


def _pairs(
    store: ActivationStore, rows: NDArray[np.int64], wanted: Sequence[LayerPair], cfg: Config
) -> Iterator[tuple[LayerPair, ActivityPattern, ActivityPattern, ActivityPattern]]:
    """Each layer pair with the patterns it needs; every layer is read once and dropped when it leaves the window."""
    window: dict[int, ActivityPattern] = {}
    last = dict(sorted(wanted))
    for layer in keys_of(cfg):
        target = ActivityPattern.of(store.activations[layer][rows])
        later = target.following(store.context_length, cfg.position_horizon)
        for source_layer, source in window.items():
            if (source_layer, layer) in wanted:
                yield (source_layer, layer), source, target, later
        window[layer] = target
        window = {source: pattern for source, pattern in window.items() if last.get(source, layer) > layer}
