"""Stage 1: the top features of every layer, by frequency × causal effect on the model's output."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CoactivationAtlas
from feature_graph.candidates.attribution import check_by_ablation, measure_effects
from feature_graph.candidates.density import within_density
from feature_graph.candidates.errors import CandidateError
from feature_graph.config import Config
from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions import AnalysedModel, ModelSlices

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Importance:
    """Importance of every feature.

    Attributes:
        ranking: Layer → float64 [d_sae], what features are ranked by; 0 where the effect is 0 or was not measured.
        frequency: Layer → float64 [d_sae], share of select tokens at which a feature is active; 0 for one that is never active there.
        measured: Layer → float64 [d_sae], frequency × effect, nats (or units of the output) a token; NaN where not measured. Empty without
            a model.
        documents: Documents it was measured on; None without a model.
        facts: How it was found, for the record.
        allowed: Layer → bool [d_sae], features that may be taken (``density_range``); empty: all.
    """

    ranking: dict[int, NDArray[np.float64]]
    frequency: dict[int, NDArray[np.float64]]
    measured: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    documents: NDArray[np.int64] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    allowed: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def top(self, layer: int, k: int) -> NDArray[np.int64]:
        """Up to ``k`` live features, ascending by index.

        Ranked by importance, then by frequency, then by index: a feature of importance 0 comes last, but it takes a place that no other
        feature wants. One that is never active on the select documents takes none, nor does one outside ``density_range``.
        """
        ranking, frequency = self.ranking[layer], self.frequency[layer]
        order = np.lexsort((np.arange(len(ranking)), -frequency, -ranking))
        able = (frequency > 0) & self.allowed.get(layer, np.True_)
        return np.sort(order[able[order]][:k])


def measure_importance(
    atlas: CoactivationAtlas,
    codecs: Mapping[int, SiteCodec],
    cfg: Config,
    store: ActivationStore | None,
    model: HookedModel | AnalysedModel | None,
) -> Importance:
    """Frequency on the select documents × measured effect; frequency alone, with a warning, if the effect cannot be measured.

    Raises:
        CandidateError: If the effect asked for does not fit the model, or there is no select document.
    """
    frequency = {layer: atlas.active[layer] / max(atlas.n_tokens, 1) for layer in codecs}
    allowed = {layer: within_density(values, cfg) for layer, values in frequency.items()}
    if model is None or store is None:
        lacking = " and ".join(name for name, value in (("model", model), ("activation_store", store)) if value is None)
        log.warning("importance: no %s given, so effects on the output cannot be measured; features are ranked by frequency alone", lacking)
        return Importance(frequency, frequency, facts={"estimate": "frequency"}, allowed=allowed)
    runs: HookedModel | ModelSlices = (
        model if not isinstance(model, AnalysedModel) else model.slices if model.has_components else model.model
    )
    try:
        effects = measure_effects(runs, codecs, store, cfg)
    except ValueError as error:
        raise CandidateError(str(error)) from error
    check = check_by_ablation(runs, codecs, store, effects)
    measured = {layer: frequency[layer] * effects.magnitude[layer] for layer in codecs}
    missed = {str(layer): int((np.isnan(values) & (frequency[layer] > 0)).sum()) for layer, values in measured.items()}
    if any(missed.values()):
        log.info("importance: %d rare features are active on none of the %d documents; raise importance_tokens to rank them",
                 sum(missed.values()), len(effects.documents))  # fmt: skip
    facts = {
        "estimate": "gradient",
        "effect": effects.kind.name,
        "unit": f"{effects.kind.unit} a token",
        "documents": len(effects.documents),
        "tokens": len(effects.documents) * store.context_length,
        "active_but_unmeasured": missed,
        "check": check.to_dict(),
    }
    ranking = {layer: np.nan_to_num(values) for layer, values in measured.items()}
    return Importance(ranking, frequency, measured, effects.documents, facts, allowed)
