"""The base of what evaluation refuses."""

from __future__ import annotations

from typing import ClassVar


class EvaluationError(ValueError):
    """An evaluation that cannot be done as asked; the message says what was got and what to do."""

    exit_code: ClassVar[int] = 1
