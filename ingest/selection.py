"""Which part of a run's edges is loaded: the strong ones, the strongest of each source, the strongest of all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from ingest.errors import SelectionError


@dataclass(frozen=True)
class Selection:
    """Which significant edges are loaded; the rules apply in this order.

    Attributes:
        min_strength: Only edges with |strength| of at least this.
        top_k_per_source: Of each source and method only so many, the largest |strength| first; ties by file order.
        limit: Only so many in all, the largest |strength| first; ties by file order.
        by: What the strength is: ``leading`` (:func:`ingest.strength.leading`), or ``formerly`` for a selection that an earlier version
            made, which took the total effect of an edge that passed by its direct effect alone.

    Raises:
        SelectionError: If a number is below its smallest value.
    """

    min_strength: float | None = None
    top_k_per_source: int | None = None
    limit: int | None = None
    by: Literal["leading", "formerly"] = "leading"

    def __post_init__(self) -> None:
        if self.min_strength is not None and not self.min_strength >= 0:
            raise SelectionError(f"min_strength: got {self.min_strength}; expected 0 or more")
        for name in ("top_k_per_source", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SelectionError(f"{name}: got {value}; expected 1 or more")

    @property
    def chosen(self) -> dict[str, Any]:
        """What was asked for, and by which strengths; empty if everything is loaded."""
        rules = {name: value for name, value in asdict(self).items() if value is not None and name != "by"}
        return rules | {"by": self.by} if rules and self.by == "leading" else rules

    @classmethod
    def noted(cls, chosen: dict[str, Any]) -> Self:
        """The inverse of :attr:`chosen`; earlier versions noted no ``by``."""
        return cls(**({"by": "formerly"} | chosen)) if chosen else cls()
