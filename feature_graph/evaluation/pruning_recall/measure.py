"""The exhaustive slice: drawn, measured, put before the stages, counted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CandidateSet, CoactivationAtlas, PruningRecall, by_keys, feature_key
from feature_graph.candidates import (
    Importance,
    analysed_of,
    check_inputs,
    measure_importance,
    missed_by_shortlist,
    removed_by,
    window_of,
    within_density,
)
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.pruning_recall.losses import losses
from feature_graph.evaluation.pruning_recall.sample import CHOSEN, TOP, Drawn, draw_sources, slice_pairs
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel

log = logging.getLogger(__name__)

#: Pairs whose table takes about 10 GB while it is corrected.
_MANY_PAIRS = 5_000_000


class RecallError(EvaluationError):
    """A slice that cannot be drawn or measured; the message says why and what to do."""


def pruning_recall(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    store: ActivationStore,
    atlas: CoactivationAtlas,
    cfg: Config,
    *,
    n_sources: int = 8,
    importance: Mapping[int, NDArray[np.float64]] | None = None,
    shortlisted: pd.DataFrame | None = None,
    parts_dir: str | Path | None = None,
    progress: bool = True,
) -> PruningRecall:
    """Measure what share of the true edges each pruning stage loses.

    "True" is what an exhaustive measurement calls significant: up to a share of ``significance_level`` of these edges may be false, and a
    stage that removes such an edge is counted as if it had lost something.

    Args:
        model: HookedTransformer, or an :class:`AnalysedModel`.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        store: Activations of the run.
        atlas: Joint counts of the run.
        cfg: The run's configuration, whose thresholds are judged.
        n_sources: Sources per site.
        importance: Site → importance of every feature, as a :class:`CandidateSet` carries it; measured anew without.
        shortlisted: Pairs that the run chose by responses, as a :class:`CandidateSet` carries them. With them that choice is judged,
            too, and a third of the sources is drawn among its sources.
        parts_dir: Folder for part files, from which an interrupted run resumes.
        progress: Whether to show a progress bar.

    Raises:
        RecallError: If there are no sources, or too many pairs to hold.
        feature_graph.candidates.CandidateError: If store, atlas, SAEs and configuration do not belong together.
    """
    if n_sources < 2:
        raise RecallError(f"n_sources: got {n_sources}; at least 2 per site are needed, one of the top features and one of the others")
    analysed = analysed_of(model, saes, cfg)
    check_inputs(atlas, analysed.codecs, cfg, store)
    ranked = _importance(importance, atlas, analysed, cfg, store)
    chosen = None if shortlisted is None else by_keys(shortlisted)
    wide = cfg.model_copy(update={"layer_window": cfg.layer_window + 1, "specificity_directions": 0})  # which decides on no edge
    reach: dict[int, list[int]] = {}
    for source, target in window_of(analysed.codecs, wide):
        reach.setdefault(source, []).append(target)
    drawn = {site: draw_sources(store, _groups(ranked, chosen, cfg, site), cfg, site, n_sources) for site in reach}
    pairs = _pairs(store, drawn, reach)
    found = measure_interactions(analysed, analysed.saes, CandidateSet(pairs, store), wide, parts_dir=parts_dir, progress=progress)
    frame = found.frame[found.frame["method"] != "jacobian"] if cfg.interaction_method == "both" else found.frame
    edges = _with_keys(frame[frame["significant"].astype(bool)].reset_index(drop=True), store)
    verdicts = removed_by(edges, ranked, atlas, cfg, store, analysed)
    if chosen is not None:
        verdicts = verdicts.assign(responses=missed_by_shortlist(edges, chosen, window_of(analysed.codecs, cfg)))
    log.info("recall: %d of %d pairs are significant", len(edges), len(frame))
    return PruningRecall(
        tuple(losses(edges, verdicts, drawn, cfg)),
        tested=len(frame),
        edges=len(edges),
        sources=_sources(drawn, edges),
        left_out=dict(found.meta["sources"]["left_out"]) if "sources" in found.meta else {},
        settings=_settings(cfg, wide, n_sources) | ({} if chosen is None else {"shortlist_pairs": cfg.shortlist_pairs}),
    )


def _groups(importance: Importance, chosen: pd.DataFrame | None, cfg: Config, site: int) -> dict[str, NDArray[np.int64]]:
    """Name → sources of a site that are drawn apart from the others: those on the shortlist first, then the top features."""
    top = {TOP: np.asarray(importance.top(site, cfg.top_k_features), dtype=np.int64)}
    if chosen is None:
        return top
    return {CHOSEN: np.unique(chosen.loc[chosen["src_layer"] == site, "src_index"].to_numpy(np.int64)), **top}


def _settings(cfg: Config, measured: Config, n_sources: int) -> dict[str, Any]:
    return {
        "top_k_features": cfg.top_k_features,
        "min_coactivation": cfg.min_coactivation,
        "min_decoder_alignment": cfg.min_decoder_alignment,
        "alignment": cfg.alignment,
        "layer_window": cfg.layer_window,
        "measured_window": measured.layer_window,
        "level": cfg.significance_level,
        "correction": cfg.correction_method,
        "n_sources": n_sources,
    }


def _importance(
    given: Mapping[int, NDArray[np.float64]] | None,
    atlas: CoactivationAtlas,
    analysed: AnalysedModel,
    cfg: Config,
    store: ActivationStore,
) -> Importance:
    codecs = analysed.codecs
    if not given:
        return measure_importance(atlas, codecs, cfg, store, analysed.model)
    wrong = [n for n, codec in codecs.items() if n not in given or len(given[n]) != codec.d_sae]
    if wrong:
        raise RecallError(f"importance: layer {wrong[0]} is missing or of another width; choose the candidates again")
    frequency = {layer: atlas.active[layer] / max(atlas.n_tokens, 1) for layer in codecs}
    allowed = {layer: within_density(values, cfg) for layer, values in frequency.items()}
    return Importance({layer: np.nan_to_num(given[layer]) for layer in codecs}, frequency, allowed=allowed)


def _pairs(store: ActivationStore, drawn: Mapping[int, Drawn], reach: Mapping[int, list[int]]) -> pd.DataFrame:
    sizes = {n: len(d.indices) * sum(int((store.feature_frequencies[t] > 0).sum()) for t in reach[n]) for n, d in drawn.items()}
    total = sum(sizes.values())
    if not total:
        raise RecallError("no site has a feature that is active in enough documents to be tested; collect more text")
    if total > _MANY_PAIRS:
        raise RecallError(f"n_sources: {total:,} pairs would be measured, their table takes more than 10 GB; ask for fewer sources")
    log.info("recall: %d sources, %s pairs", sum(len(d.indices) for d in drawn.values()), f"{total:,}")
    return pd.concat([slice_pairs(store, d, reach[n]) for n, d in drawn.items() if sizes[n]], ignore_index=True)


def _with_keys(frame: pd.DataFrame, store: ActivationStore) -> pd.DataFrame:
    """The edges with the site and the index of each of their features, as candidates have them."""
    for side in ("src", "tgt"):
        keys = np.array([feature_key(name, store.layers) for name in frame[f"{side}_id"]], dtype=np.int64).reshape(-1, 2)
        frame = frame.assign(**{f"{side}_layer": keys[:, 0], f"{side}_index": keys[:, 1]})
    return frame


def _sources(drawn: Mapping[int, Drawn], edges: pd.DataFrame) -> dict[str, dict[str, int]]:
    with_edges = edges.groupby("src_layer")["src_index"].nunique()
    return {
        str(n): {
            "alive": d.alive,
            "testable": d.testable,
            **d.groups,
            "drawn": len(d.indices),
            "with_edges": int(with_edges.get(n, 0)),
        }
        for n, d in drawn.items()
    }
