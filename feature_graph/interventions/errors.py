"""The errors of this folder."""

from __future__ import annotations

from typing import ClassVar


class InterventionError(ValueError):
    """A model, a dictionary or a request that cannot be intervened on; the message says what was got and what to do."""

    exit_code: ClassVar[int] = 1


class MeasureError(InterventionError):
    """Input that cannot be measured; the message names the feature or the field, what was got and what to do."""
