"""The error of collecting."""

from __future__ import annotations

from typing import ClassVar


class CollectError(ValueError):
    """Activations that cannot be collected; the message says what was got, what was expected and what to do."""

    exit_code: ClassVar[int] = 1
