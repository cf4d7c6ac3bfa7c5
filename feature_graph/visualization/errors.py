"""What can go wrong with a picture."""

from __future__ import annotations

from typing import ClassVar


class VisualizationError(ValueError):
    """A picture that cannot be drawn as asked; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 2
