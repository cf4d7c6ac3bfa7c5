"""The errors of this folder."""

from __future__ import annotations

from collections.abc import Sequence

from feature_graph.interventions import MeasureError

__all__ = ["BrokenEffect", "MeasureError"]


class BrokenEffect(MeasureError):
    """Sources (or placebos) under whose clamp the model gives NaN or infinity; the others of their block are not concerned.

    Attributes:
        names: Their short ids.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{', '.join(names)}: under the clamp the model gives NaN or infinity; look at the recorded activations")
        self.names = frozenset(names)
