"""Forecast what steering one feature does to the others, from the graph alone; and hold the forecast against steering in the model."""

from feature_graph.steering.agreement import Agreement, Coverage, agreement, columns_agree, conformal_coverage
from feature_graph.steering.cascade import Cascade, CascadePath, predict_cascade
from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.spread import Interval
from feature_graph.steering.validation import CascadePairs, validate_cascade

__all__ = [
    "Agreement",
    "Cascade",
    "CascadePairs",
    "CascadePath",
    "Coverage",
    "DirectEffects",
    "Interval",
    "SteeringError",
    "agreement",
    "columns_agree",
    "conformal_coverage",
    "predict_cascade",
    "validate_cascade",
]
