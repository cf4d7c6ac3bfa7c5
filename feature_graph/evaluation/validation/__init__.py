"""Does the graph of a run predict what the model does? Behaviours and steering, measured and put together in one file."""

from feature_graph.evaluation.validation.run import ALL_BEHAVIORS, validate_run

__all__ = ["ALL_BEHAVIORS", "validate_run"]
