"""Forecast what steering one feature does to the others, from the graph alone."""

from feature_graph.steering.cascade import Cascade, CascadePath, predict_cascade
from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.spread import Interval

__all__ = ["Cascade", "CascadePath", "DirectEffects", "Interval", "SteeringError", "predict_cascade"]
