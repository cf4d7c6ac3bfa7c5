"""What is refused before any work, and what is said before the start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from feature_graph import stats
from feature_graph.artifacts import ActivationStore, CandidateSet, can_drive, feature_id, is_weight
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.plan import Plan
from feature_graph.interventions import AnalysedModel

log = logging.getLogger(__name__)


def checked_store(candidates: CandidateSet) -> ActivationStore:
    """The store that the candidates were drawn from.

    Raises:
        MeasureError: If there is none.
    """
    if candidates.store is None:
        raise MeasureError(
            "candidates: they carry no activations to draw samples from; load them with "
            "CandidateSet.load(path, store=ActivationStore.load(…))"
        )
    return candidates.store


def refuse_unnamed_components(model: AnalysedModel, cfg: Config) -> None:
    """Refuse dictionaries on components that the configuration does not name, so that it could not refuse what is not measured of them.

    Raises:
        MeasureError: Saying how they are named.
    """
    if model.has_components and not cfg.has_components:
        names = ", ".join(map(str, model.codecs))
        raise MeasureError(
            f"sites: got dictionaries for {names}; the configuration has to name them too, as sites: [{{layer: 5, kind: transcoder}}]"
        )


def check_pairs(store: ActivationStore, frame: pd.DataFrame, codecs: Mapping[int, SiteCodec], cfg: Config) -> None:
    """Refuse pairs of features that do not exist, those that run backwards, and weights that the configuration does not take in.

    Raises:
        MeasureError: Naming the feature or layer.
    """
    places = {layer: codec.site.place for layer, codec in codecs.items()}
    for side in ("src", "tgt"):
        _check_features(frame[f"{side}_layer"].to_numpy(), frame[f"{side}_index"].to_numpy(), codecs, store)
    back = _between(frame, lambda source, target: not can_drive(places[source], places[target]))
    if len(back):
        raise MeasureError(
            f"candidates: {_first(back)} runs backwards or within one site ({len(back)} such pairs); a source must lie before its target"
        )
    weights = _between(frame, lambda source, target: is_weight(places[source], places[target]))
    if len(weights) and not cfg.weight_pairs:
        source, target = (places[weights[f"{side}_layer"].iloc[0]].name for side in ("src", "tgt"))
        raise MeasureError(
            f"candidates: {_first(weights)} is a weight: {source} adds to the stream that {target} reads, and nothing is computed in "
            f"between ({len(weights)} such pairs); weight_pairs: true in the configuration takes them in"
        )


def _between(frame: pd.DataFrame, chosen: Callable[[int, int], bool]) -> pd.DataFrame:
    """The pairs between sites that are chosen by their layers."""
    ends = list(zip(frame["src_layer"].tolist(), frame["tgt_layer"].tolist(), strict=True))
    kept = {pair for pair in set(ends) if chosen(*pair)}
    return frame[[pair in kept for pair in ends]]


def _first(pairs: pd.DataFrame) -> str:
    row = pairs.iloc[0]
    return f"{feature_id(row['src_layer'], row['src_index'])} → {feature_id(row['tgt_layer'], row['tgt_index'])}"


def _check_features(layers: np.ndarray, indices: np.ndarray, codecs: Mapping[int, SiteCodec], store: ActivationStore) -> None:
    for layer in sorted(set(layers.tolist())):
        if layer not in codecs or layer not in store.layers:
            where = "saes" if layer not in codecs else "activations"
            raise MeasureError(
                f"candidates: layer {layer} is not among the {where}; they have {list(codecs if where == 'saes' else store.layers)}"
            )
        wrong = indices[(layers == layer) & ((indices < 0) | (indices >= codecs[layer].d_sae))]
        if len(wrong):
            raise MeasureError(
                f"candidates: {feature_id(layer, int(wrong[0]))} does not exist; that SAE has {codecs[layer].d_sae} features"
            )


def announce(plan: Plan, cfg: Config) -> list[str]:
    """Log what was left out, and whether the correction can be reached with the documents at hand.

    Returns:
        The warnings, for the run's metadata.
    """
    for reason, count in plan.reasons().items():
        log.warning("%d source%s left out: %s", count, "s are" if count > 1 else " is", reason)
    few = [s for sources in plan.sources.values() for s in sources if s.test.n_documents <= stats.SIGN_FLIP_MAX]
    if not few:
        return []
    documents = min(s.test.n_documents for s in few)
    p = stats.smallest_p(documents)
    needed = stats.edges_needed(plan.n_pairs, p, cfg.significance_level, cfg.correction_method)
    reach = "cannot reach significance" if needed is None else f"reach significance only if at least {needed} of the tests are as small"
    text = (
        f"{len(few)} sources have {stats.SIGN_FLIP_MAX} test documents or fewer; with {documents} the smallest p is {p:.3g}, and with "
        f"{plan.n_pairs} tests corrected by {cfg.correction_method} such edges {reach}. More text helps"
    )
    log.warning(text)
    return [text]
