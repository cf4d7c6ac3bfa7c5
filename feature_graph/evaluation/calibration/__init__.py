"""Calibration: the whole engine on models whose truth is known, and on models where there is nothing to find."""

from feature_graph.evaluation.calibration.cells import known_variants
from feature_graph.evaluation.calibration.errors import CalibrationError
from feature_graph.evaluation.calibration.run import Calibration, calibrate

__all__ = ["Calibration", "CalibrationError", "calibrate", "known_variants"]
