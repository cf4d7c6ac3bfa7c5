"""Which sources are measured exhaustively, and for how many others each of them stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, TEST, ActivationStore
from feature_graph.candidates import Importance
from feature_graph.config import Config
from feature_graph.utils import derived_seed

TOP, OTHER = "top", "other"


@dataclass(frozen=True)
class Drawn:
    """Sources of one layer.

    Attributes:
        layer: Their layer.
        indices: int64 [n], ascending.
        stratum: object [n], ``top`` or ``other``.
        weight: float64 [n], testable features of the stratum for each one drawn.
        alive: Features that are active at all.
        testable: Those active in the select documents and in enough test documents.
        top: Testable ones among the top features.
    """

    layer: int
    indices: NDArray[np.int64]
    stratum: NDArray[np.object_]
    weight: NDArray[np.float64]
    alive: int
    testable: int
    top: int


def draw_sources(store: ActivationStore, importance: Importance, cfg: Config, layer: int, n: int) -> Drawn:
    """Up to ``n`` sources of a layer: half of them top features, the others drawn from the rest; what one half lacks the other gets."""
    able = testable(store, layer, cfg.min_documents)
    top = np.intersect1d(able, importance.top(layer, cfg.top_k_features))
    rest = np.setdiff1d(able, top)
    rng = np.random.default_rng(derived_seed(cfg.seed, "recall", layer))
    n_rest = min(len(rest), n - min(len(top), -(-n // 2)))
    n_top = min(len(top), n - n_rest)
    parts = [(TOP, top, n_top), (OTHER, rest, n_rest)]
    chosen = [(name, rng.choice(among, size=k, replace=False), len(among) / k) for name, among, k in parts if k]
    indices = np.concatenate([found for _, found, _ in chosen]) if chosen else np.zeros(0, dtype=np.int64)
    stratum = (
        np.concatenate([np.full(len(found), name, dtype=object) for name, found, _ in chosen]) if chosen else np.zeros(0, dtype=object)
    )
    weight = np.concatenate([np.full(len(found), w) for _, found, w in chosen]) if chosen else np.zeros(0)
    order = np.argsort(indices)
    alive = int((store.feature_frequencies[layer] > 0).sum())
    return Drawn(layer, indices[order], stratum[order], weight[order], alive, len(able), len(top))


def testable(store: ActivationStore, layer: int, min_documents: int) -> NDArray[np.int64]:
    """Features that are active in the select documents and in at least ``min_documents`` test documents; ascending."""
    width, context = store.sites[layer].d_sae, store.context_length
    rows = store.rows_of(TEST)
    active = store.activations[layer][rows].tocoo()
    keys = np.unique(rows[active.row] // context * width + active.col)
    documents = np.bincount(keys % width, minlength=width)
    selected = np.bincount(store.activations[layer][store.rows_of(SELECT)].indices, minlength=width)
    return np.flatnonzero((documents >= min_documents) & (selected > 0)).astype(np.int64)


def slice_pairs(store: ActivationStore, drawn: Drawn, targets: list[int]) -> pd.DataFrame:
    """Every pair of a drawn source with an active feature of the target layers, as a candidate table."""
    parts = []
    for layer in targets:
        alive = np.flatnonzero(store.feature_frequencies[layer] > 0)
        parts.append(
            pd.DataFrame(
                {
                    "src_layer": np.int32(drawn.layer),
                    "src_index": np.repeat(drawn.indices, len(alive)).astype(np.int32),
                    "tgt_layer": np.int32(layer),
                    "tgt_index": np.tile(alive, len(drawn.indices)).astype(np.int32),
                    "pmi": 0.0,
                    "coactivation_prob": 0.0,
                    "joint_count": 0,
                    "decoder_alignment": 0.0,
                    "arm": "exhaustive",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
