"""What calibration refuses."""

from __future__ import annotations

from typing import ClassVar

from feature_graph.evaluation.errors import EvaluationError


class CalibrationError(EvaluationError):
    """A calibration that cannot be run; the message names what was got and what is known."""

    exit_code: ClassVar[int] = 2
