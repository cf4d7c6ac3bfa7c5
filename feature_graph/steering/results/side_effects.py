"""What else moved when one feature was steered, and how the output changed: figures, words, file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from feature_graph.steering.agreement import Agreement, agreement
from feature_graph.steering.names import with_label
from feature_graph.steering.outputs import CHANGE, DIVERGENCE
from feature_graph.steering.results.serialization import SavedResult
from feature_graph.terminal import percent

#: Features whose change has a q below this, over all features read, count as moved.
LEVEL = 0.05
#: What a forecast is based on → which features it is about.
_BASES = {"paths": "(from paths, of those reached)", "responses": "(from the measured response, of all of them)"}
_SHOWN = ["feature", "label", "hop", "forecast", "measured", "ci_low", "ci_high", "relative", "placebo", "on_before", "on_after", "q_value"]


@dataclass(frozen=True, eq=False)
class SideEffects(SavedResult):
    """What one steering does.

    Attributes:
        source: Id of the steered feature.
        label: Its label.
        delta: What is added to it, in activation units.
        unit: Its mean activation where active.
        n_documents: Documents steered, one position each.
        n_hops: Longest path that pictures list; the forecast sums over paths of any length.
        below_zero: Share of documents at which the delta is larger than the activation of the feature (only for a negative delta).
        features: One row per feature downstream of the source's site, largest |relative| change first: ``feature``, ``label``, ``layer``,
            ``hop`` (first hop at which the graph reaches it, 0 if it does not), ``forecast`` (from paths: 0 if not reached), ``by_paths``
            (sum over paths), ``forecast_low`` and ``forecast_high`` (from paths only), ``unit`` (its mean activation where active),
            ``before`` (mean activation at these positions in the clean run), ``measured`` (mean change, activation units), ``se``,
            ``ci_low``, ``ci_high``, ``q_value`` (Benjamini-Hochberg over all rows), ``relative`` (``measured`` over ``unit``), ``placebo``
            (root mean square of the mean changes under the random directions), and shares of documents: ``on_before``, ``on_after``,
            ``turned_on``, ``turned_off``.
        output: One row per position from the steered one on: ``offset``, ``n_documents``, ``kl`` (nats) with ``kl_low``, ``kl_high``,
            ``kl_max``, ``placebo_kl``, ``next_before`` and ``next_change`` (log-probability of the text's own next token) with
            ``next_low``, ``next_high``, and ``top_changed`` (share of documents whose likeliest next token is another one). NaN in
            ``next_…`` where outputs are not tokens. ``measure`` says what the ``kl…`` columns hold: ``KL``, or ``|Δ output|`` for a model
            with one output, whose KL is 0 whatever happens.
        tokens: Tokens gained and lost: ``when`` (here, later), ``side`` (gained, lost), ``token``, ``text``, ``p_before``, ``p_after``,
            ``change``, ``log_change``, ``rose``, ``n_documents``; outputs, where they are not tokens; none where there is one output.
        based_on: ``responses`` or ``paths``: what the features' changes are forecast from.
    """

    KIND: ClassVar[str] = "side_effects"
    VERSION: ClassVar[int] = 1
    TABLES: ClassVar[tuple[str, ...]] = ("features", "output", "tokens")

    source: str
    label: str
    delta: float
    unit: float
    n_documents: int
    n_hops: int
    below_zero: float
    features: pd.DataFrame
    output: pd.DataFrame
    tokens: pd.DataFrame
    based_on: str = "paths"

    @property
    def measured(self) -> dict[str, float]:
        """Feature → mean change, of those that the graph reaches or that moved; for ``render_cascade_overlay``."""
        kept = self.features[(self.features["hop"] > 0) | (self.features["q_value"] < LEVEL)]
        return dict(zip(kept["feature"], kept["measured"], strict=True))

    @property
    def n_moved(self) -> int:
        """Features that moved (q < 0.05)."""
        return int((self.features["q_value"] < LEVEL).sum())

    @property
    def kl(self) -> float:
        """Mean KL(steered ‖ clean) in nats at the steered position; |Δ output| for a model with one output."""
        return float(self.output["kl"].iloc[0])

    def table(self, top: int = 20, *, moved_only: bool = True) -> pd.DataFrame:
        """The largest side effects, forecast and measured; only features that moved (q < 0.05) unless asked otherwise."""
        kept = self.features[self.features["q_value"] < LEVEL] if moved_only else self.features
        return kept[_SHOWN].head(top).reset_index(drop=True)

    def agreement(self, hop: int | None = None) -> Agreement:
        """Forecast against measurement over the features that the forecast reaches, or those that paths reach at one hop."""
        return agreement(self.features[self._reached if hop is None else self.features["hop"] == hop].assign(source=self.source))

    @property
    def _reached(self) -> pd.Series[bool]:
        """Which rows the forecast is about: all of them if it is from responses."""
        return (self.features["hop"] > 0) | (self.based_on == "responses")

    def summary(self, top: int = 8) -> str:
        """The result in words."""
        return _text(self, top)


def _text(found: SideEffects, top: int) -> str:
    """Head, how many features moved and how well that was forecast, the largest, the output."""
    features, reached = found.features, found.features["hop"] > 0
    moved = features["q_value"] < LEVEL
    multiple = f" ({found.delta / found.unit:+.3g} × its mean activation)" if found.unit else ""
    name = with_label(found.source, found.label)
    lines = [
        f"Steering {name} by {found.delta:+.4g}{multiple} at one position of {found.n_documents} held-out documents:",
        f"  {int(moved.sum())} of {len(features)} later features moved (q < {LEVEL}), {int((moved & reached).sum())} of them among the "
        f"{int(reached.sum())} that the graph reaches",
    ]
    agreed = found.agreement()
    if agreed.signed:
        rank = f"Spearman {agreed.spearman:.2f}, " if agreed.spearman == agreed.spearman else ""
        sign = f"sign right {percent(agreed.sign)} of {agreed.signed}"
        lines.append(f"  forecast {_BASES[found.based_on]} and measurement: {rank}slope {agreed.slope:.2f}, {sign}")
    if found.below_zero:
        lines.append(f"  in {percent(found.below_zero)} of the documents the delta is larger than the activation of the feature")
    lines.append("  largest changes, in units of each feature's mean activation (forecast | measured, in activation units):")
    lines += [
        f"    {row['relative']:+7.3f}  ({row['forecast']:+.3g} | {row['measured']:+.3g})  {with_label(row['feature'], row['label'])}"
        for row in features[moved].head(top).to_dict("records")
    ] or ["    none"]
    return "\n".join([*lines, *_output_lines(found, top)])


def _output_lines(found: SideEffects, top: int) -> list[str]:
    here = found.output.iloc[0]
    ends = f"[{here['kl_low']:.2g} … {here['kl_high']:.2g}], random directions {here['placebo_kl']:.2g}"
    if here.get("measure", DIVERGENCE) == CHANGE:
        return [f"  output: changed by {here['kl']:.3g} {ends}"]
    tells_tokens = here["next_change"] == here["next_change"]
    own = (
        f"; log-probability of the text's own next token {here['next_change']:+.3f} [{here['next_low']:+.3f} … {here['next_high']:+.3f}]"
        if tells_tokens
        else ""
    )
    lines = [
        f"  output: KL {here['kl']:.3g} nats {ends}",
        f"    another likeliest {'token' if tells_tokens else 'output'} in {percent(here['top_changed'])} of the documents{own}",
    ]
    for side in ("gained", "lost"):
        tokens = found.tokens[(found.tokens["when"] == "here") & (found.tokens["side"] == side)].head(top)
        named = ", ".join(f"{t['text']!r} {t['change']:+.4f}" for t in tokens.to_dict("records"))
        lines.append(f"    {side}: {named or 'nothing'}")
    return lines
