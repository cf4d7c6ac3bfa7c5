"""Forecast what steering one feature does to the others, from the graph alone."""

from feature_graph.steering.cascade import Cascade, CascadePath, SteeringError, predict_cascade

__all__ = ["Cascade", "CascadePath", "SteeringError", "predict_cascade"]
