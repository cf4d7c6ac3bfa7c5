"""Activation stores with values written by hand or by hypothesis, for tests that need no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, ActivationWriter, Site


def site(layer: int, d_sae: int, d_in: int = 8) -> Site:
    """A site of no particular model."""
    return Site(layer, f"blocks.{layer}.hook_resid_post", layer + 1, "tiny", "00000000", "made-here", f"L{layer}", d_in, d_sae)


def write_store(
    path: Path,
    activations: dict[int, NDArray[np.float32]],
    valid: NDArray[np.bool_],
    tokens: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> ActivationStore:
    """A store of dense arrays [n_docs * context, d_sae]; rows that are not valid are emptied."""
    tokens = np.arange(valid.size, dtype=np.int64).reshape(valid.shape) if tokens is None else tokens
    sites = {layer: site(layer, values.shape[1]) for layer, values in activations.items()}
    with ActivationWriter(path, sites, tokens, valid, {"seed": seed}) as writer:
        for layer, values in activations.items():
            writer.append(layer, sp.csr_matrix(values * valid.ravel()[:, None]))
        ones = {layer: np.ones(values.shape[1], dtype=np.float32) for layer, values in activations.items()}
        writer.finish({layer: 0 * one for layer, one in ones.items()}, ones)
    return ActivationStore(path)
