"""A cascade in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_graph.steering.cascade import Cascade

_LABEL_WIDTH = 60


def cascade_text(cascade: Cascade, top: int) -> str:
    """Head, one line a hop, strongest up and down, strongest paths, what the forecast leaves open."""
    name = _named(cascade, cascade.source)
    lines = [f"Steering {name} by {cascade.steer_delta:+g} activation units at one position, forecast over {_hops(cascade.n_hops)}:"]
    if not cascade.effects:
        return "\n".join([*lines, "  no feature of the graph is predicted to change (no edge leads on from here, or all changes are tiny)"])
    lines += _hop_lines(cascade)
    for word, sign in (("up", 1), ("down", -1)):
        moved = [node for node, change in cascade.effects.items() if change * sign > 0][:top]
        lines.append(f"  strongest {word}:" + ("" if moved else " none"))
        lines += [f"    {cascade.effects[n]:+9.4f}{_interval(cascade, n)}  {_named(cascade, n)}, hop {cascade.hops[n]}" for n in moved]
    lines.append("  strongest paths:")
    lines += [f"    {p.effect:+9.4f}  {' → '.join(p.nodes)}" for p in cascade.paths[:top]]
    return "\n".join([*lines, *_notes(cascade)])


def _hop_lines(cascade: Cascade) -> list[str]:
    lines = []
    for hop in range(1, cascade.n_hops + 1):
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
        notes.append(f"  {cascade.pruned} smaller changes were not followed")
    if cascade.intervals:
        notes.append("  (in brackets: what the standard errors of the edges leave open)")
    return [*notes, "  (first order: products of mean direct slopes; clipping at zero and saturation are not in it)"]


def _interval(cascade: Cascade, node: str) -> str:
    """The range that the edges' own errors leave open, where it is known."""
    found = cascade.intervals.get(node)
    return "" if found is None else f" [{found.low:+.4f} … {found.high:+.4f}]"


def _named(cascade: Cascade, node: str) -> str:
    label = cascade.labels.get(node, "")
    short = label if len(label) <= _LABEL_WIDTH else label[: _LABEL_WIDTH - 1] + "…"
    return f"{node} ({short})" if short else node


def _hops(n: int) -> str:
    return "1 hop" if n == 1 else f"{n} hops"


def _count(n: int) -> str:
    return "1 feature" if n == 1 else f"{n} features"
