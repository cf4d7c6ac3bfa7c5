"""The causal effect of every feature on the model's output, by one backward pass a batch for all sites.

1. Draw select documents at random, ``importance_tokens`` tokens at most; L is the summed next-token loss of a document.
2. At every token where feature i is active, ablating it moves the residual stream by −f_i d_i, so the loss changes by about
   −f_i ⟨d_i, ∂L/∂x⟩ (attribution patching: Nanda 2023; Syed, Rager and Conmy 2023, arXiv:2310.10348).
3. The effect of a feature is the mean magnitude over the tokens at which it is active. Magnitude, because a feature that helps on half of
   its tokens and harms on the other half matters, while its signed mean is 0; the signed mean is kept beside it.
4. Importance = frequency on the select documents × effect: nats a token that ablating the feature would move.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import SELECT, ActivationStore
from feature_graph.attribution.gradients import site_gradients
from feature_graph.config import Config
from feature_graph.loading.encoders import SiteCodec
from feature_graph.utils import derived_seed, progress

log = logging.getLogger(__name__)

#: Active (token, feature) pairs whose directions are gathered at a time.
_GATHERED = 1 << 14


@dataclass(frozen=True)
class Effects:
    """Estimated effects of ablating each feature, nats of a document's next-token loss per active token.

    Attributes:
        magnitude: Layer → float64 [d_sae], mean |effect|; NaN where the feature is active on none of the documents.
        signed: Layer → float64 [d_sae], mean effect; positive: the model predicts worse without the feature.
        n_active: Layer → int64 [d_sae], tokens the means are over.
        documents: Documents used, ascending.
    """

    magnitude: dict[int, NDArray[np.float64]]
    signed: dict[int, NDArray[np.float64]]
    n_active: dict[int, NDArray[np.int64]]
    documents: NDArray[np.int64]


def importance_documents(store: ActivationStore, cfg: Config) -> NDArray[np.int64]:
    """Select documents on which importance is measured: a seeded draw, at least one, ``importance_tokens`` tokens at most; ascending.

    Raises:
        ValueError: If the store has no select document.
    """
    documents = np.flatnonzero(store.splits == SELECT)
    if len(documents) == 0:
        raise ValueError(f"the store has {len(store.tokens)} documents, none of them for selection; collect more tokens")
    n = max(1, cfg.importance_tokens // store.context_length)
    rng = np.random.default_rng(derived_seed(cfg.seed, "importance"))
    return np.sort(rng.permutation(documents)[:n])


def measure_effects(model: Any, codecs: Mapping[int, SiteCodec], store: ActivationStore, cfg: Config) -> Effects:
    """Estimate the effect of every feature of every site of ``codecs``.

    Args:
        model: HookedTransformer.
        codecs: Layer → codec; its site says which hook is read.
        store: Activations of the run.
        cfg: ``importance_tokens``, ``batch_size`` and ``seed`` are read.
    """
    documents = importance_documents(store, cfg)
    active = {layer: rows_of_documents(store, layer, documents) for layer in codecs}
    sums = {layer: _Sums(codec.d_sae) for layer, codec in codecs.items()}
    sites = {layer: codec.site for layer, codec in codecs.items()}
    device = next(iter(codecs.values())).w_dec.device
    batches = [documents[k : k + cfg.batch_size] for k in range(0, len(documents), cfg.batch_size)]
    row = 0
    for batch in progress(batches, "Measuring importance"):
        tokens, valid = (torch.as_tensor(array[batch], device=device) for array in (store.tokens, store.valid))
        found = site_gradients(model, sites, tokens, valid)
        for layer, codec in codecs.items():
            rows = active[layer][row : row + tokens.numel()]
            sums[layer].add(rows, ablation_estimates(codec, rows, found.gradients[layer].flatten(0, 1)))
        row += tokens.numel()
    log.info("importance: measured on %d select documents, %d tokens", len(documents), row)
    return Effects(
        {layer: s.mean(s.magnitude) for layer, s in sums.items()},
        {layer: s.mean(s.signed) for layer, s in sums.items()},
        {layer: s.count for layer, s in sums.items()},
        documents,
    )


def rows_of_documents(store: ActivationStore, layer: int, documents: NDArray[np.int64]) -> sp.csr_matrix:
    """Activations of some documents, CSR [len(documents) * context, d_sae], in the order given."""
    rows = (documents[:, None] * store.context_length + np.arange(store.context_length)).ravel()
    return store.activations[layer][rows]


def ablation_estimates(codec: SiteCodec, active: sp.csr_matrix, gradients: Tensor) -> NDArray[np.float64]:
    """−f_i ⟨d_i, ∂L/∂x⟩ for every stored entry of ``active`` [rows, d_sae], in its order; ``gradients`` is [rows, d_in]."""
    rows = np.repeat(np.arange(active.shape[0]), np.diff(active.indptr))
    slopes = np.empty(active.nnz)
    for k in range(0, active.nnz, _GATHERED):
        part = slice(k, k + _GATHERED)
        at = torch.as_tensor(rows[part], device=gradients.device)
        feature = torch.as_tensor(active.indices[part].astype(np.int64), device=gradients.device)
        slopes[part] = (gradients[at] * codec.w_dec[feature]).sum(dim=1).cpu().numpy()
    return -active.data.astype(np.float64) * slopes


class _Sums:
    """Sums over active tokens, a feature."""

    def __init__(self, d_sae: int) -> None:
        self.magnitude, self.signed = np.zeros(d_sae), np.zeros(d_sae)
        self.count = np.zeros(d_sae, dtype=np.int64)

    def add(self, active: sp.csr_matrix, effects: NDArray[np.float64]) -> None:
        n = len(self.count)
        self.count += np.bincount(active.indices, minlength=n)
        self.signed += np.bincount(active.indices, weights=effects, minlength=n)
        self.magnitude += np.bincount(active.indices, weights=np.abs(effects), minlength=n)

    def mean(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(self.count > 0, total / np.maximum(self.count, 1), np.nan)
