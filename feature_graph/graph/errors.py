"""What can go wrong with an interaction graph; every message says what was got and what is expected."""

from __future__ import annotations

from typing import ClassVar


class InteractionGraphError(ValueError):
    """A graph that cannot be built, viewed or saved as asked."""

    exit_code: ClassVar[int] = 1
