"""Which sources are measured exhaustively, and for how many others each of them stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, TEST, ActivationStore, with_sites
from feature_graph.config import Config
from feature_graph.utils import derived_seed

CHOSEN, TOP, OTHER = "chosen", "top", "other"


@dataclass(frozen=True)
class Drawn:
    """Sources of one site.

    Attributes:
        layer: Their site: its layer, or its key where layers have several.
        indices: int64 [n], ascending.
        stratum: object [n], ``chosen`` (a source of the shortlist), ``top`` or ``other``.
        weight: float64 [n], testable features of the stratum for each one drawn.
        alive: Features that are active at all.
        testable: Those active in the select documents and in enough test documents.
        groups: Stratum → testable features that are in it, ``other`` left out; a feature counts in the first one.
    """

    layer: int
    indices: NDArray[np.int64]
    stratum: NDArray[np.object_]
    weight: NDArray[np.float64]
    alive: int
    testable: int
    groups: dict[str, int]


def draw_sources(store: ActivationStore, groups: Mapping[str, NDArray[np.int64]], cfg: Config, layer: int, n: int) -> Drawn:
    """Up to ``n`` sources of a site, in equal parts from each group and from the rest; what one lacks the later ones get.

    Args:
        store: Activations of the run.
        groups: Stratum → features of the site; a feature counts in the first that has it.
        cfg: Its seed and ``min_documents`` are read.
        layer: The site.
        n: How many.
    """
    able = left = testable(store, layer, cfg.min_documents)
    strata: dict[str, NDArray[np.int64]] = {}
    for name, features in groups.items():
        strata[name] = np.intersect1d(left, features)
        left = np.setdiff1d(left, features)
    strata[OTHER] = left
    rng = np.random.default_rng(derived_seed(cfg.seed, "recall", layer))
    shares = _shares([len(among) for among in strata.values()], n)
    parts = [(name, among, k) for (name, among), k in zip(strata.items(), shares, strict=True) if k]
    chosen = [(name, rng.choice(among, size=k, replace=False), len(among) / k) for name, among, k in parts]
    indices = np.concatenate([np.zeros(0, dtype=np.int64), *(found for _, found, _ in chosen)])
    stratum = np.repeat(np.array([name for name, _, _ in chosen], dtype=object), [len(found) for _, found, _ in chosen])
    weight = np.repeat(np.array([w for _, _, w in chosen]), [len(found) for _, found, _ in chosen])
    order = np.argsort(indices)
    alive = int((store.feature_frequencies[layer] > 0).sum())
    groups_of = {name: len(among) for name, among in strata.items() if name != OTHER}
    return Drawn(layer, indices[order], stratum[order], weight[order], alive, len(able), groups_of)


def _shares(sizes: Sequence[int], n: int) -> list[int]:
    """How many of each: equal parts of ``n``, rounded up for the first; places that one cannot fill go to the others."""
    found = [0] * len(sizes)
    while n > 0 and (open_ := [k for k, size in enumerate(sizes) if found[k] < size]):
        for k, place in enumerate(open_):
            share = min(sizes[place] - found[place], -(-n // (len(open_) - k)))
            found[place] += share
            n -= share
    return found


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
    return with_sites(pd.concat(parts, ignore_index=True))
