"""The causal effect of every feature on the model's output, by backward passes that serve all sites at once.

1. Draw select documents at random, ``importance_tokens`` tokens at most.
2. At every token where feature i is active, ablating it moves the residual stream (or what it writes of a component) by −f_i d_i. What
   that does to the output is estimated to lowest order (attribution patching: Nanda 2023; Syed, Rager and Conmy 2023, arXiv:2310.10348):
   the change of the document's summed next-token loss, or of the output itself (:mod:`feature_graph.candidates.attribution.kinds`).
3. The effect of a feature is the mean magnitude over the tokens at which it is active. Magnitude, because a feature that helps on half of
   its tokens and harms on the other half matters, while its signed mean is 0; the signed mean is kept as well.
4. Importance = frequency on the select documents × effect: what ablating the feature would move, a token of the text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, ActivationStore
from feature_graph.candidates.attribution.batch import Batch
from feature_graph.candidates.attribution.kinds import Effect, effect_of
from feature_graph.candidates.errors import CandidateError
from feature_graph.config import Config
from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions import ModelSlices
from feature_graph.utils import derived_seed, progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AblationEstimates:
    """Estimated effects of ablating each feature, per active token, in units of ``kind``.

    Attributes:
        magnitude: Layer → float64 [d_sae], mean |effect|; NaN where the feature is active on none of the documents.
        signed: Layer → float64 [d_sae], mean effect; positive: the model predicts worse without the feature. NaN for a kind without sign.
        n_active: Layer → int64 [d_sae], tokens the means are over.
        documents: Documents used, ascending.
        kind: What was measured.
    """

    magnitude: dict[int, NDArray[np.float64]]
    signed: dict[int, NDArray[np.float64]]
    n_active: dict[int, NDArray[np.int64]]
    documents: NDArray[np.int64]
    kind: Effect


def importance_documents(store: ActivationStore, cfg: Config) -> NDArray[np.int64]:
    """Select documents on which importance is measured: a seeded draw, at least one, ``importance_tokens`` tokens at most; ascending.

    Raises:
        CandidateError: If the store has no select document.
    """
    documents = np.flatnonzero(store.splits == SELECT)
    if len(documents) == 0:
        raise CandidateError(f"the store has {len(store.tokens)} documents, none of them for selection; collect more tokens")
    n = max(1, cfg.importance_tokens // store.context_length)
    rng = np.random.default_rng(derived_seed(cfg.seed, "importance"))
    return np.sort(rng.permutation(documents)[:n])


def measure_effects(
    model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], store: ActivationStore, cfg: Config
) -> AblationEstimates:
    """Estimate the effect of every feature of every site of ``codecs``.

    Args:
        model: HookedTransformer; its slices, where dictionaries sit on components.
        codecs: Layer → codec; its site says which hook is read.
        store: Activations of the run.
        cfg: ``importance_effect``, ``importance_positions``, ``importance_tokens``, ``batch_size`` and ``seed`` are read.

    Raises:
        CandidateError: If the next-token loss is asked of a model whose outputs are not tokens, or the store has no select document.
    """
    kind, documents = effect_of(model.model if isinstance(model, ModelSlices) else model, cfg), importance_documents(store, cfg)
    sums = {layer: _Sums(codec.d_sae) for layer, codec in codecs.items()}
    whole = Batch.of(store, codecs, documents)
    for start in progress(list(range(0, len(documents), cfg.batch_size)), "Measuring importance"):
        batch = whole[start : start + cfg.batch_size]
        for layer, changes in kind.estimates(model, codecs, batch).changes.items():
            sums[layer].add(batch.active[layer], changes)
    log.info(
        "importance: measured by the change of the %s on %d select documents, %d tokens", kind.name, len(documents), whole.tokens.numel()
    )
    return AblationEstimates(
        {layer: s.mean(s.magnitude) for layer, s in sums.items()},
        {layer: s.mean(s.signed) if kind.signed else np.full(len(s.count), np.nan) for layer, s in sums.items()},
        {layer: s.count for layer, s in sums.items()},
        documents,
        kind,
    )


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
