"""One seed of one planted variant: the public stages from text to interactions, compared with the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, TEST, ActivationStore, CandidateSet, InteractionSet, feature_id
from feature_graph.candidates import identify_candidates
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries
from feature_graph.evaluation.calibration.gates import measure_gates
from feature_graph.evaluation.calibration.specific import count_specific
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.planted import (
    COMPONENT_VARIANTS,
    PLANTED,
    VARIANTS,
    ComponentVariant,
    PlantedComponents,
    PlantedModel,
    PlantedScore,
    Variant,
    component_effects,
    pair_of,
    score,
    simulated_effects,
)
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import without_progress

#: Counts that are summed over seeds.
COUNTS = (
    *("n_planted", "n_missed", "n_found", "n_false", "n_signs", "n_true", "n_true_found", "n_above_floor", "n_above_floor_found"),
    *("n_decoys", "n_decoys_found", "n_faint", "n_faint_found", "n_intervals", "n_covered"),
)


def measure_variant(name: str, seed: int) -> dict[str, Any]:
    """Counts, error lists and floors of one seed of one variant, as plain values."""
    if name in COMPONENT_VARIANTS:
        return _measure_components(COMPONENT_VARIANTS[name], seed)
    variant = VARIANTS[name]
    planted = variant.build(seed)
    cfg = variant.config(planted)
    candidates, measured = run_stages(planted, cfg)
    values = judge(variant, planted, cfg, candidates, measured)
    store = candidates.store
    return values | measure_gates(planted, store, cfg) if variant.gates and store is not None else values


def _measure_components(variant: ComponentVariant, seed: int) -> dict[str, Any]:
    """The same with dictionaries on components."""
    planted = variant.build(seed)
    cfg = variant.config(planted)
    candidates, measured = run_stages(planted, cfg)
    store = _store(candidates)
    truth = component_effects(planted, cfg, np.asarray(store.splits == SELECT), np.asarray(store.splits == TEST))
    planted = replace(planted, edges={pair: effect for pair, effect in truth.items() if effect.largest >= PLANTED})
    found = score(measured.frame, planted, truth=truth, min_effect=cfg.min_effect)
    return _plain(found, planted, measured) | {"documents": int((store.splits == TEST).sum())}


def run_stages(planted: PlantedModel | PlantedComponents, cfg: Config) -> tuple[CandidateSet, InteractionSet]:
    """Collect, count, choose and measure, as a run does."""
    saes: Dictionaries = planted.saes
    model = AnalysedModel.of(planted.model, saes, cfg, components=cfg.has_components)
    with without_progress():
        store = collect_activations(model, saes, cfg, tokens=planted.tokens)
        atlas = build_coactivation_atlas(store, cfg)
        candidates = identify_candidates(atlas, saes, cfg, activation_store=store, model=model)
        return candidates, measure_interactions(model, saes, candidates, cfg, progress=False)


def judge(variant: Variant, planted: PlantedModel, cfg: Config, candidates: CandidateSet, measured: InteractionSet) -> dict[str, Any]:
    """Score a run against the simulated truth of its own documents, or of fresh ones where the variant samples."""
    store = _store(candidates)
    sources = {source for source, _ in planted.edges} if variant.population else None
    truth = simulated_effects(
        planted,
        cfg,
        np.asarray(store.splits == SELECT),
        np.asarray(store.splits == TEST),
        population=variant.fresh_text(planted),
        sources=sources,
    )
    frame = measured.frame
    if sources is not None:  # the truth of the others is not known
        frame = frame[[source in {feature_id(*source) for source in sources} for source in frame["src_id"]]]
    found = score(frame, planted, truth=truth, min_effect=cfg.min_effect)
    values = _plain(found, planted, measured) | count_specific(variant, planted, frame, cfg)
    return values | {"documents": int((store.splits == TEST).sum())}


def _store(candidates: CandidateSet) -> ActivationStore:
    if candidates.store is None:
        raise EvaluationError("candidates: they carry no activations, so nothing says which documents were tested")
    return candidates.store


def _plain(found: PlantedScore, planted: PlantedModel | PlantedComponents, measured: InteractionSet) -> dict[str, Any]:
    hits = found.n_planted - len(found.missed)
    own = {"n_missed": len(found.missed), "n_signs": round(found.sign_accuracy * hits), "n_faint": len(planted.faint)}
    records: list[Any] = measured.frame.to_dict("records")
    rows = {pair_of(row): row for row in records}
    values: dict[str, Any] = {name: own.get(name, getattr(found, name, None)) for name in COUNTS}
    values |= {"n_tests": len(measured.frame), "errors": found.errors, "zero_error": found.zero_error}
    values["discoveries"] = {name: list(pair) for name, pair in found.discoveries.items()}
    values["missed"] = [_names(planted, pair) for pair in found.missed]
    values["false"] = [_names(planted, pair) for pair in found.false]
    planned = [pair for pair in planted.edges if pair in rows]
    values["types"] = dict(Counter(rows[pair]["interaction_type"] for pair in planned if rows[pair]["significant"]))
    values["floor"] = float(measured.frame["floor"].median())
    return values


def _names(planted: PlantedModel | PlantedComponents, pair: Any) -> str:
    return " → ".join(planted.label(feature) for feature in pair)
