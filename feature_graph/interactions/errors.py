"""The errors of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class MeasureError(ValueError):
    """Input that cannot be measured; the message names the feature or the field, what was got and what to do."""

    exit_code: ClassVar[int] = 1


class BrokenEffect(MeasureError):
    """Sources (or placebos) under whose clamp the model gives NaN or infinity; the others of their block are not concerned.

    Attributes:
        names: Their short ids.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{', '.join(names)}: under the clamp the model gives NaN or infinity; look at the recorded activations")
        self.names = frozenset(names)
