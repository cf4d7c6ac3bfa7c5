"""Stage 1: the top features of every layer, by frequency × causal effect on the model's output."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CoactivationAtlas
from feature_graph.attribution import check_by_ablation, measure_effects
from feature_graph.config import Config
from feature_graph.loading.encoders import SiteCodec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Importance:
    """Importance of every feature.

    Attributes:
        ranking: Layer → float64 [d_sae], what features are ranked by; 0 for a feature that is never active.
        measured: Layer → float64 [d_sae], frequency × effect, nats a token; NaN where not measured. Empty without a model.
        documents: Documents it was measured on; None without a model.
        facts: How it was found, for the record.
    """

    ranking: dict[int, NDArray[np.float64]]
    measured: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    documents: NDArray[np.int64] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def top(self, layer: int, k: int) -> NDArray[np.int64]:
        """Up to ``k`` features of importance above 0, ascending by index; ties go to the lower index."""
        ranking = self.ranking[layer]
        order = np.lexsort((np.arange(len(ranking)), -ranking))[:k]
        return np.sort(order[ranking[order] > 0])


def measure_importance(
    atlas: CoactivationAtlas, codecs: Mapping[int, SiteCodec], cfg: Config, store: ActivationStore | None, model: Any
) -> Importance:
    """Frequency on the select documents × measured effect; frequency alone, with a warning, if the effect cannot be measured."""
    frequency = {layer: atlas.active[layer] / max(atlas.n_tokens, 1) for layer in codecs}
    if model is None or store is None:
        lacking = " and ".join(name for name, value in (("model", model), ("activation_store", store)) if value is None)
        log.warning("importance: no %s given, so effects on the output cannot be measured; features are ranked by frequency alone", lacking)
        return Importance(frequency, facts={"estimate": "frequency"})
    effects = measure_effects(model, codecs, store, cfg)
    check = check_by_ablation(model, codecs, store, effects)
    measured = {layer: frequency[layer] * effects.magnitude[layer] for layer in codecs}
    missed = {str(layer): int((np.isnan(values) & (frequency[layer] > 0)).sum()) for layer, values in measured.items()}
    if any(missed.values()):
        log.info("importance: %d rare features are active on none of the %d documents; raise importance_tokens to rank them",
                 sum(missed.values()), len(effects.documents))  # fmt: skip
    facts = {
        "estimate": "gradient",
        "documents": len(effects.documents),
        "tokens": len(effects.documents) * store.context_length,
        "active_but_unmeasured": missed,
        "check": check.to_dict(),
    }
    return Importance({layer: np.nan_to_num(values) for layer, values in measured.items()}, measured, effects.documents, facts)
