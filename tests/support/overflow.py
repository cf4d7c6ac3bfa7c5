"""Activations that make a model overflow."""

from __future__ import annotations

from pathlib import Path

import scipy.sparse as sp

from feature_graph.artifacts import ActivationStore, ActivationWriter


def overflowing(store: ActivationStore, layer: int, index: int, path: Path) -> ActivationStore:
    """A copy of the store in which one feature's activations are so large that the model overflows when it is clamped there."""
    layers = {}
    for n in store.layers:
        matrix = sp.csr_matrix(store.activations[n]).copy()
        if n == layer:
            matrix.data[matrix.indices == index] = 3e38
        layers[n] = matrix
    with ActivationWriter(path, store.sites, store.tokens, store.valid, store.meta) as writer:
        for n, matrix in layers.items():
            writer.append(n, matrix)
        writer.finish(store.thresholds, store.decoder_norms)
    return ActivationStore(path)
