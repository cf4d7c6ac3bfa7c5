"""What can go wrong with a cascade."""

from __future__ import annotations

from typing import ClassVar


class SteeringError(ValueError):
    """A cascade that cannot be computed; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 1
