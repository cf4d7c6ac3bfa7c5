"""Forecast what steering one feature does to the others, from the graph alone; compare the forecast with steering in the model.

Side effects of one steering, and counter-steers that cancel some of them, are measured too.
"""

from feature_graph.steering.agreement import Agreement, Coverage, agreement, columns_agree, conformal_coverage
from feature_graph.steering.cascade import predict_cascade
from feature_graph.steering.compensation import check_compensation, compensate
from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.experiment import check_steer
from feature_graph.steering.options import CompensationOptions, SideEffectsOptions
from feature_graph.steering.propagation import NO_INTERVALS, Interval, IntervalOptions
from feature_graph.steering.reach import between, reach
from feature_graph.steering.results.cascade import Cascade, CascadePath
from feature_graph.steering.results.compensation import Compensation
from feature_graph.steering.results.side_effects import SideEffects
from feature_graph.steering.side_effects import side_effects
from feature_graph.steering.validation import BASELINES, CascadePairs, validate_cascade

__all__ = [
    "BASELINES",
    "NO_INTERVALS",
    "Agreement",
    "Cascade",
    "CascadePairs",
    "CascadePath",
    "Compensation",
    "CompensationOptions",
    "Coverage",
    "DirectEffects",
    "Interval",
    "IntervalOptions",
    "SideEffects",
    "SideEffectsOptions",
    "SteeringError",
    "agreement",
    "between",
    "check_compensation",
    "check_steer",
    "columns_agree",
    "compensate",
    "conformal_coverage",
    "predict_cascade",
    "reach",
    "side_effects",
    "validate_cascade",
]
