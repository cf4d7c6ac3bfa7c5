"""A planted transformer: hand-written weights, dictionaries that read its directions, known effects."""

from feature_graph.evaluation.planted.model import PlantedModel, planted_model
from feature_graph.evaluation.planted.plans import disjoint_wiring, faint_wiring, standard_wiring
from feature_graph.evaluation.planted.score import PlantedScore, pair_of, score
from feature_graph.evaluation.planted.simulate import simulated_effects
from feature_graph.evaluation.planted.variants import VARIANTS, Variant
from feature_graph.evaluation.planted.wiring import (
    Gate,
    Pair,
    TrueEffect,
    Wire,
    Wiring,
    nonlinear_pairs,
    true_effects,
)

__all__ = [
    "VARIANTS",
    "Gate",
    "Pair",
    "PlantedModel",
    "PlantedScore",
    "TrueEffect",
    "Variant",
    "Wire",
    "Wiring",
    "disjoint_wiring",
    "faint_wiring",
    "nonlinear_pairs",
    "pair_of",
    "planted_model",
    "score",
    "simulated_effects",
    "standard_wiring",
    "true_effects",
]
