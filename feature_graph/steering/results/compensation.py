"""A steer with and without counter-steers: figures, verdict, words, file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from feature_graph.steering.names import with_label
from feature_graph.steering.outputs import CHANGE, DIVERGENCE
from feature_graph.steering.results.serialization import SavedResult
from feature_graph.terminal import percent

#: Share of the target's change below which counter-steers count as weakening it.
_ENOUGH = 0.8


@dataclass(frozen=True, eq=False)
class Compensation(SavedResult):
    """A steer with and without counter-steers.

    Attributes:
        source: Id of the steered feature.
        delta: What is added to it, in activation units.
        target: Intended target, whose change is to stay.
        aim: What the counter-steers were fitted to: the graph's ``forecast`` of the side effects, or their ``measured`` size elsewhere.
        n_documents: Documents steered, one position each.
        counters: One row per counter-steer: ``feature``, ``label``, ``layer``, ``delta`` (activation units), ``planned`` (mean
            change counted on), ``realised`` (mean change really added), ``multiple`` (of its mean activation where active),
            ``turned_off`` (share of documents at which it was less active than −delta, so that it was turned off).
        effects: One row per named feature, and one for the target: ``role`` (side effect, target), ``feature``, ``label``, ``unit`` (mean
            activation where active), ``forecast_before``, ``forecast_after``, and mean changes compared with the clean run
            in activation units: ``before`` (steer alone) and ``after`` (with counter-steers) with their intervals ``…_low``, ``…_high``;
            ``gain`` (|before| − |after|, positive: smaller than it was).
        output: One row per position from the steered one on: ``offset``, ``n_documents``, ``kl_before``, ``kl_after`` (nats) and
            ``kl_change`` with ``kl_low``, ``kl_high``; ``measure`` as in ``SideEffects.output``.
        remaining: Share of the named side effects that is left; NaN without counter-steers.
        remaining_low: Its 95 % interval.
        remaining_high: Its 95 % interval.
        kept: Share of the target's change that is left.
        kept_low: Its 95 % interval.
        kept_high: Its 95 % interval.
        others_before: Summed |mean change| of all other features, each in units of its mean activation, by the steer alone.
        others_after: The same with the counter-steers.
    """

    KIND: ClassVar[str] = "compensation"
    VERSION: ClassVar[int] = 1
    TABLES: ClassVar[tuple[str, ...]] = ("counters", "effects", "output")

    source: str
    delta: float
    target: str | None
    aim: str
    n_documents: int
    counters: pd.DataFrame
    effects: pd.DataFrame
    output: pd.DataFrame
    remaining: float
    remaining_low: float
    remaining_high: float
    kept: float
    kept_low: float
    kept_high: float
    others_before: float
    others_after: float

    @property
    def helped(self) -> bool:
        """Whether the named side effects are clearly smaller with the counter-steers."""
        return self.remaining_high < 1

    @property
    def verdict(self) -> str:
        """No counter-steers, made it worse, no clear change, or helped; and at what cost."""
        if self.counters.empty:
            return "no counter-steers"
        if not self.helped:
            return "made it worse" if self.remaining_low > 1 else "no clear change"
        return "helped, but " + " and ".join(self.costs) if self.costs else "helped"

    @property
    def costs(self) -> tuple[str, ...]:
        """What else is clearly changed: less than 80 % or more than 125 % of the target's change, or more KL at the steered position."""
        found = (
            ("the target is weakened too", self.kept_high < _ENOUGH),
            ("the target moves further", self.kept_low > 1 / _ENOUGH),
            ("the output moves further", float(self.output["kl_low"].iloc[0]) > 0),
        )
        return tuple(text for text, true in found if true)

    def table(self) -> pd.DataFrame:
        """Named side effects and the target, before and after."""
        return self.effects[["role", "feature", "label", "forecast_before", "forecast_after", "before", "after", "gain"]]

    def summary(self) -> str:
        """The result in words."""
        return _text(self)


def _text(found: Compensation) -> str:
    """What was cancelled by what, before and after, and whether it helped."""
    if found.counters.empty:
        return (
            f"Compensating {found.source} by {found.delta:+.4g}: the graph offers no counter-steer that lowers "
            f"{', '.join(found.effects.loc[found.effects['role'] == 'side effect', 'feature'])}"
        )
    lines = [f"Compensating {found.source} by {found.delta:+.4g}, in {found.n_documents} held-out documents:", "  counter-steers:"]
    lines += [
        f"    {row['delta']:+9.4g} ({row['multiple']:+.3g} × its mean activation)  {with_label(row['feature'], row['label'])}"
        + (f"; turned off in {percent(row['turned_off'])}" if row["turned_off"] else "")
        for row in found.counters.to_dict("records")
    ]
    lines.append("  mean change by the steer → with counter-steers (forecast):")
    lines += [
        f"    {row['role']:<11}  {row['before']:+.3g} → {row['after']:+.3g}  "
        f"({row['forecast_before']:+.3g} → {row['forecast_after']:+.3g})  {with_label(row['feature'], row['label'])}"
        for row in found.effects.to_dict("records")
    ]
    here = found.output.iloc[0]
    lines.append(
        f"  named side effects left: {percent(found.remaining)} [{percent(found.remaining_low)} … {percent(found.remaining_high)}]: "
        f"{found.verdict}"
    )
    if found.target:
        lines.append(f"  change of the target left: {percent(found.kept)} [{percent(found.kept_low)} … {percent(found.kept_high)}]")
    moved, unit = (CHANGE, "") if here.get("measure", DIVERGENCE) == CHANGE else ("KL", " nats")
    lines.append(
        f"  {moved} {here['kl_before']:.3g} → {here['kl_after']:.3g}{unit} (change {here['kl_change']:+.2g} [{here['kl_low']:+.2g} … "
        f"{here['kl_high']:+.2g}]); movement of all other features {found.others_before:.3g} → {found.others_after:.3g}"
    )
    return "\n".join(lines)
