"""How steering is measured: documents, later positions, comparisons, and counter-steers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Aim = Literal["forecast", "measured"]


@dataclass(frozen=True)
class SteeringOptions:
    """Where a feature is steered.

    Attributes:
        horizon: Later positions at which the output is compared.
        max_documents: Documents that the feature is steered in, one position each.
        min_documents: Fewer are refused.
    """

    horizon: int = 4
    max_documents: int = 24
    min_documents: int = 6


@dataclass(frozen=True)
class SideEffectsOptions(SteeringOptions):
    """How side effects are measured.

    Attributes:
        n_hops: Longest path that pictures list, in edges; None lists those of any length. The forecast sums over all of them either way.
        n_placebo: Random directions steered along for comparison.
        top_tokens: Tokens gained and lost to name.
    """

    n_hops: int | None = None
    n_placebo: int = 4
    top_tokens: int = 10


@dataclass(frozen=True)
class CounterLimits:
    """How many counter-steers, and how large.

    Attributes:
        at_most: Counter-steers at most.
        ridge: Weight of the ridge that keeps them small.
        reach: Largest mean change upwards, in units of a feature's mean activation where active.
    """

    at_most: int = 3
    ridge: float = 1e-3
    reach: float = 1.0


@dataclass(frozen=True)
class CompensationOptions(SteeringOptions, CounterLimits):
    """How side effects are compensated.

    Attributes:
        target: Id of the feature whose change is intended and is to stay. None takes the largest forecast change, in units of the
            feature's mean activation, among those not named.
        aim: ``forecast``: cancel what the graph forecasts. ``measured``: cancel what the steer does in documents of the select split.
        themselves: Whether the named features may be steered back themselves, at their own sites.
    """

    target: str | None = None
    aim: Aim = "forecast"
    themselves: bool = False


SIDE_EFFECTS = SideEffectsOptions()
COMPENSATION = CompensationOptions()
