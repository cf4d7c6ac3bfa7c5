"""A planted transformer: hand-written weights, dictionaries that read its directions, known effects."""

from feature_graph.loading.planted.model import PlantedModel, planted_model
from feature_graph.loading.planted.score import PlantedScore, score
from feature_graph.loading.planted.wiring import Gate, TrueEffect, Wire, Wiring, nonlinear_pairs, standard_wiring, true_effects

__all__ = [
    "Gate",
    "PlantedModel",
    "PlantedScore",
    "TrueEffect",
    "Wire",
    "Wiring",
    "nonlinear_pairs",
    "planted_model",
    "score",
    "standard_wiring",
    "true_effects",
]
