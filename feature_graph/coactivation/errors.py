"""What can go wrong with counting co-activation."""

from __future__ import annotations

from typing import ClassVar


class CoactivationError(ValueError):
    """Joint counts that cannot be made from a store; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 1
