"""Documents whose effects are estimated together, and the estimate for one of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import ActivationStore
from feature_graph.dictionaries import SiteCodec

#: Active (token, feature) pairs whose directions are gathered at a time.
_GATHERED = 1 << 14


@dataclass(frozen=True)
class Batch:
    """Some documents of a store.

    Attributes:
        documents: int64 [n], their numbers.
        tokens: int64 [n, context].
        counted: bool [n, context], the store's valid tokens.
        active: Layer → activations, CSR [n * context, d_sae].
    """

    documents: NDArray[np.int64]
    tokens: Tensor
    counted: Tensor
    active: dict[int, sp.csr_matrix]

    @classmethod
    def of(cls, store: ActivationStore, codecs: Mapping[int, SiteCodec], documents: NDArray[np.int64]) -> Batch:
        """These documents, on the device of the dictionaries."""
        device = next(iter(codecs.values())).w_dec.device
        tokens, counted = (torch.as_tensor(array[documents], device=device) for array in (store.tokens, store.valid))
        return cls(documents, tokens, counted, {layer: rows_of_documents(store, layer, documents) for layer in codecs})

    def __getitem__(self, rows: slice) -> Batch:
        """Some of the documents."""
        start, stop, _ = rows.indices(len(self.documents))
        context = self.tokens.shape[1]
        active = {layer: acts[start * context : stop * context] for layer, acts in self.active.items()}
        return Batch(self.documents[rows], self.tokens[rows], self.counted[rows], active)


@dataclass(frozen=True)
class Estimates:
    """Estimated changes by removing each active feature at each token.

    Attributes:
        residuals: Layer → residual stream at the site, float32 [n, context, d_in].
        changes: Layer → float64, one value per stored entry of the batch's ``active``, in its order.
    """

    residuals: dict[int, Tensor]
    changes: dict[int, NDArray[np.float64]]


def rows_of_documents(store: ActivationStore, layer: int, documents: NDArray[np.int64]) -> sp.csr_matrix:
    """Activations of some documents, CSR [len(documents) * context, d_sae], in the order given."""
    rows = (documents[:, None] * store.context_length + np.arange(store.context_length)).ravel()
    return store.activations[layer][rows]


def ablation_estimates(codec: SiteCodec, active: sp.csr_matrix, gradients: Tensor) -> NDArray[np.float64]:
    """−f_i ⟨d_i, g⟩ for every stored entry of ``active`` [rows, d_sae], in its order; ``gradients`` g is [rows, d_in]."""
    rows = np.repeat(np.arange(active.shape[0]), np.diff(active.indptr))
    slopes = np.empty(active.nnz)
    for k in range(0, active.nnz, _GATHERED):
        part = slice(k, k + _GATHERED)
        at = torch.as_tensor(rows[part], device=gradients.device)
        feature = torch.as_tensor(active.indices[part].astype(np.int64), device=gradients.device)
        slopes[part] = (gradients[at] * codec.w_dec[feature]).sum(dim=1).cpu().numpy()
    return -active.data.astype(np.float64) * slopes
