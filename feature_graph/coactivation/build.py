"""The co-activation atlas of a run.

1. Only select documents are read, so that what chooses a pair is not what tests it.
2. For every ordered layer pair inside the window, count the tokens at which source and target are both active, and those at which the
   source is active and the target is active at one or more of the next ``position_horizon`` positions of the same document.
3. Pairs of which both counts are under ``min_coactivation`` are not stored: no later stage measures them (except by the rescue arm, which
   counts its few pairs itself), and at 24,576 features they are most of what would have to be kept.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, ActivationStore, CoactivationAtlas
from feature_graph.coactivation.kernel import JointCounts, Pattern, count_pairs
from feature_graph.config import Config
from feature_graph.utils import progress

log = logging.getLogger(__name__)
LayerPair = tuple[int, int]


def build_coactivation_atlas(store: ActivationStore, cfg: Config) -> CoactivationAtlas:
    """Count joint activity for every ordered layer pair of ``cfg.layer_pairs``, on the select documents.

    Args:
        store: Activations of the run.
        cfg: ``layers``, ``layer_window``, ``position_horizon`` and ``min_coactivation`` are read.

    Raises:
        ValueError: If the store lacks a layer of ``cfg.layers``, or has no select document.
    """
    lacking = sorted(set(cfg.layers) - set(store.layers))
    if lacking:
        raise ValueError(f"layers: the configuration names {lacking}, the store holds {store.layers}; collect them first")
    n_tokens = len(store.rows_of(SELECT))
    if n_tokens == 0:
        raise ValueError(f"the store has {len(store.tokens)} documents, none of them for selection; collect more tokens")
    min_count = max(cfg.min_coactivation, 1)
    rows = select_rows(store)
    active = {layer: np.zeros(store.sites[layer].d_sae, dtype=np.int64) for layer in cfg.layers}
    joint: dict[LayerPair, JointCounts] = {}
    for pair, source, target, later in progress(_pairs(store, rows, cfg), "Counting joint activity", total=len(cfg.layer_pairs)):
        joint[pair] = count_pairs(source, target, later, min_count)
        for layer, pattern in zip(pair, (source, target), strict=True):
            active[layer] = np.bincount(pattern.indices, minlength=pattern.n_features).astype(np.int64)
        log.debug("layers %d → %d: %d pairs stored", *pair, joint[pair].same.nnz)
    counts: dict[LayerPair, sp.csr_matrix] = {pair: counted.same for pair, counted in joint.items()}
    later_counts: dict[LayerPair, sp.csr_matrix] = {pair: counted.later for pair, counted in joint.items()}
    stored = sum(matrix.nnz for matrix in counts.values())
    log.info("co-activation: %d layer pairs over %d select tokens, %d feature pairs stored", len(joint), n_tokens, stored)
    return CoactivationAtlas(counts, later_counts, active, n_tokens, cfg.position_horizon, min_count)


def select_rows(store: ActivationStore) -> NDArray[np.int64]:
    """Every row of the select documents, counted or not, so that documents stay whole."""
    documents = np.flatnonzero(store.splits == SELECT)
    return (documents[:, None] * store.context_length + np.arange(store.context_length)).ravel()


def _pairs(store: ActivationStore, rows: NDArray[np.int64], cfg: Config) -> Iterator[tuple[LayerPair, Pattern, Pattern, Pattern]]:
    """Each layer pair with the patterns it needs; every layer is read once and dropped when it leaves the window."""
    window: deque[tuple[int, Pattern]] = deque(maxlen=cfg.layer_window)
    for layer in cfg.layers:
        target = Pattern.of(store.activations[layer][rows])
        later = target.following(store.context_length, cfg.position_horizon)
        for source_layer, source in window:
            yield (source_layer, layer), source, target, later
        window.append((layer, target))
