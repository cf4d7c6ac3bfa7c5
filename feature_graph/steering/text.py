"""Forecasts and measurements of steering in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_graph.steering.outputs import CHANGE, DIVERGENCE

if TYPE_CHECKING:
    from feature_graph.steering.cascade import Cascade
    from feature_graph.steering.compensation import Compensation
    from feature_graph.steering.side_effects import SideEffects

_LABEL_WIDTH = 60
#: Features whose change has a q below this, over all features read, count as moved.
LEVEL = 0.05


def cascade_text(cascade: Cascade, top: int) -> str:
    """Head, one line a hop, strongest up and down, strongest paths, what the forecast leaves open."""
    name = _named(cascade, cascade.source)
    lines = [f"Steering {name} by {cascade.steer_delta:+g} activation units at one position, forecast over paths of any length:"]
    if not cascade.effects:
        return "\n".join([*lines, "  no feature of the graph is predicted to change (no edge leads on from here, or all changes are tiny)"])
    lines += _hop_lines(cascade)
    for word, sign in (("up", 1), ("down", -1)):
        moved = [node for node, change in cascade.effects.items() if change * sign > 0][:top]
        lines.append(f"  strongest {word}:" + ("" if moved else " none"))
        lines += [f"    {cascade.effects[n]:+9.4f}{_interval(cascade, n)}  {_named(cascade, n)}, hop {cascade.hops[n]}" for n in moved]
    lines.append(f"  strongest paths of at most {_hops(cascade.n_hops)}:")
    lines += [f"    {p.effect:+9.4f}  {' → '.join(p.nodes)}" for p in cascade.paths[:top]]
    return "\n".join([*lines, *_notes(cascade)])


def side_effects_text(found: SideEffects, top: int) -> str:
    """Head, how many features moved and how well that was forecast, the largest, the output."""
    features, reached = found.features, found.features["hop"] > 0
    moved = features["q_value"] < LEVEL
    multiple = f" ({found.delta / found.unit:+.3g} × its mean activation)" if found.unit else ""
    name = _short(found.source, found.label)
    lines = [
        f"Steering {name} by {found.delta:+.4g}{multiple} at one position of {found.n_documents} held-out documents:",
        f"  {int(moved.sum())} of {len(features)} later features moved (q < {LEVEL}), {int((moved & reached).sum())} of them among the "
        f"{int(reached.sum())} that the graph reaches",
    ]
    agreed = found.agreement()
    if agreed.signed:
        rank = f"Spearman {agreed.spearman:.2f}, " if agreed.spearman == agreed.spearman else ""
        lines.append(
            f"  forecast and measurement of those reached: {rank}slope {agreed.slope:.2f}, sign right {agreed.sign:.0%} of {agreed.signed}"
        )
    if found.below_zero:
        lines.append(f"  in {found.below_zero:.0%} of the documents the push is larger than what the feature has there")
    lines.append("  largest changes, in units of each feature's mean activation (forecast | measured, in activation units):")
    lines += [
        f"    {row['relative']:+7.3f}  ({row['forecast']:+.3g} | {row['measured']:+.3g})  {_short(row['feature'], row['label'])}"
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
        f"    another likeliest {'token' if tells_tokens else 'output'} in {here['top_changed']:.0%} of the documents{own}",
    ]
    for side in ("gained", "lost"):
        tokens = found.tokens[(found.tokens["when"] == "here") & (found.tokens["side"] == side)].head(top)
        named = ", ".join(f"{t['text']!r} {t['change']:+.4f}" for t in tokens.to_dict("records"))
        lines.append(f"    {side}: {named or 'nothing'}")
    return lines


def compensation_text(found: Compensation) -> str:
    """What was cancelled by what, before and after, and whether it helped."""
    if found.counters.empty:
        return (
            f"Compensating {found.source} by {found.delta:+.4g}: the graph offers no counter-steer that lowers "
            f"{', '.join(found.effects.loc[found.effects['role'] == 'side effect', 'feature'])}"
        )
    lines = [f"Compensating {found.source} by {found.delta:+.4g}, in {found.n_documents} held-out documents:", "  counter-steers:"]
    lines += [
        f"    {row['delta']:+9.4g} ({row['multiple']:+.3g} × its mean activation)  {_short(row['feature'], row['label'])}"
        + (f"; turned off in {row['turned_off']:.0%}" if row["turned_off"] else "")
        for row in found.counters.to_dict("records")
    ]
    lines.append("  mean change by the steer → with counter-steers (forecast):")
    lines += [
        f"    {row['role']:<11}  {row['before']:+.3g} → {row['after']:+.3g}  "
        f"({row['forecast_before']:+.3g} → {row['forecast_after']:+.3g})  {_short(row['feature'], row['label'])}"
        for row in found.effects.to_dict("records")
    ]
    here = found.output.iloc[0]
    lines.append(
        f"  named side effects left: {found.remaining:.0%} [{found.remaining_low:.0%} … {found.remaining_high:.0%}]: {found.verdict}"
    )
    if found.target:
        lines.append(f"  change of the target left: {found.kept:.0%} [{found.kept_low:.0%} … {found.kept_high:.0%}]")
    moved, unit = (CHANGE, "") if here.get("measure", DIVERGENCE) == CHANGE else ("KL", " nats")
    lines.append(
        f"  {moved} {here['kl_before']:.3g} → {here['kl_after']:.3g}{unit} (change {here['kl_change']:+.2g} [{here['kl_low']:+.2g} … "
        f"{here['kl_high']:+.2g}]); movement of all other features {found.others_before:.3g} → {found.others_after:.3g}"
    )
    return "\n".join(lines)


def _hop_lines(cascade: Cascade) -> list[str]:
    lines = []
    for hop in range(1, max(cascade.hops.values(), default=0) + 1):
        changes = [cascade.effects[n] for n, h in cascade.hops.items() if h == hop]
        up, down = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        total = sum(abs(c) for c in changes)
        lines.append(f"  hop {hop}: {_count(len(changes))} first reached, {up} up, {down} down, summed |change| {total:.4f}")
    n, total = len(cascade.effects), sum(abs(c) for c in cascade.effects.values())
    return [*lines, f"  in all: {_count(n)}, summed |change| {total:.4f}"]


def _notes(cascade: Cascade) -> list[str]:
    notes = []
    if cascade.measured:
        total = sum(abs(m) for m in cascade.measured.values())
        gap = sum(abs(g) for g in cascade.unexplained.values())
        share = f"{gap / total:.0%}" if total else "none"
        notes.append(
            f"  held against the measured totals of {len(cascade.measured)} targets beyond the next site: "
            f"{share} of their summed |change| is not explained by paths of the graph"
        )
    if cascade.pruned:
        notes.append(f"  {cascade.pruned} smaller changes are not listed")
    if cascade.intervals:
        notes.append("  (in brackets: what the standard errors of the edges leave open)")
    return [*notes, "  (first order: products of mean direct slopes; clipping at zero and saturation are not in it)"]


def _interval(cascade: Cascade, node: str) -> str:
    """The range that the edges' own errors leave open, where it is known."""
    found = cascade.intervals.get(node)
    return "" if found is None else f" [{found.low:+.4f} … {found.high:+.4f}]"


def _named(cascade: Cascade, node: str) -> str:
    return _short(node, cascade.labels.get(node, ""))


def _short(node: str, label: str) -> str:
    short = label if len(label) <= _LABEL_WIDTH else label[: _LABEL_WIDTH - 1] + "…"
    return f"{node} ({short})" if short else node


def _hops(n: int) -> str:
    return "1 hop" if n == 1 else f"{n} hops"


def _count(n: int) -> str:
    return "1 feature" if n == 1 else f"{n} features"
