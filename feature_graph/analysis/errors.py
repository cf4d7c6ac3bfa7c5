"""What can go wrong with an analysis."""

from __future__ import annotations

from typing import ClassVar


class AnalysisError(ValueError):
    """A measure or number that makes no sense; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 2
