"""What the benchmark refuses."""

from __future__ import annotations

from typing import ClassVar

from feature_graph.evaluation.errors import EvaluationError


class BenchmarkError(EvaluationError):
    """Edges or models that cannot be scored or made; the message says what was got, what was expected and what to do."""

    exit_code: ClassVar[int] = 2
