"""What a calibration must reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """What a calibration must reach.

    Attributes:
        name: What is judged.
        aim: In words.
        value: What was reached.
        met: Whether that is enough.
    """

    name: str
    aim: str
    value: float
    met: bool
