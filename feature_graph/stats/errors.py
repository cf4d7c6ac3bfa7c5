"""What goes wrong in the arithmetic of tests."""

from __future__ import annotations

from typing import ClassVar


class StatisticsError(ValueError):
    """Values that cannot be tested; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 1
