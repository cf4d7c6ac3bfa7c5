"""A planted transformer: hand-written weights, dictionaries that read its directions, known effects."""

from feature_graph.evaluation.planted.components import PLANTED, PlantedComponents, with_components
from feature_graph.evaluation.planted.model import PlantedModel, planted_model
from feature_graph.evaluation.planted.plans import disjoint_wiring, faint_wiring, standard_wiring
from feature_graph.evaluation.planted.score import PlantedScore, pair_of, score
from feature_graph.evaluation.planted.simulate import simulated_effects
from feature_graph.evaluation.planted.simulate_components import component_effects
from feature_graph.evaluation.planted.variants import COMPONENT_VARIANTS, VARIANTS, ComponentVariant, Variant
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
    "COMPONENT_VARIANTS",
    "PLANTED",
    "VARIANTS",
    "ComponentVariant",
    "Gate",
    "Pair",
    "PlantedComponents",
    "PlantedModel",
    "PlantedScore",
    "TrueEffect",
    "Variant",
    "Wire",
    "Wiring",
    "component_effects",
    "disjoint_wiring",
    "faint_wiring",
    "nonlinear_pairs",
    "pair_of",
    "planted_model",
    "score",
    "simulated_effects",
    "standard_wiring",
    "true_effects",
    "with_components",
]
