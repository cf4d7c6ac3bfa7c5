"""The forecast of one steering: changes, paths and intervals, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from feature_graph.steering.names import with_label
from feature_graph.steering.propagation import Interval


@dataclass(frozen=True)
class CascadePath:
    """One path and what it alone contributes to its last feature, in activation units."""

    nodes: tuple[str, ...]
    effect: float

    @property
    def size(self) -> float:
        """Magnitude of the effect."""
        return abs(self.effect)


@dataclass(frozen=True)
class Cascade:
    """The forecast of one steering.

    Attributes:
        source: Id of the steered feature.
        steer_delta: What is added to it, in activation units, at one position.
        n_hops: Longest path listed in ``paths`` and drawn, in edges; the changes are summed over paths of any length.
        effects: Predicted change of each feature reached, in activation units, largest magnitude first; without the source.
        hops: Edges of the shortest path to each of them.
        paths: The paths of at most ``n_hops`` edges that contribute most, largest magnitude first.
        measured: Measured total effect × ``steer_delta`` of those targets of the source that lie more than one analysed site away: what
            the forecast for them can be compared with without a new measurement.
        labels: Label of the source and of every feature reached, "" where there is none.
        pruned: Features reached whose change is below ``min_effect``, and which are therefore not reported; every sum holds what passes
            through them.
        intervals: Range of each change that the edges' own standard errors leave open (95 % if not asked otherwise); a feature that an edge
            without a standard error contributes to has none.
    """

    source: str
    steer_delta: float
    n_hops: int
    effects: dict[str, float] = field(default_factory=dict)
    hops: dict[str, int] = field(default_factory=dict)
    paths: tuple[CascadePath, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    pruned: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def unexplained(self) -> dict[str, float]:
        """Measured total minus forecast, where a total was measured over more than one site: what the graph leaves unexplained."""
        return {node: total - self.effects.get(node, 0.0) for node, total in self.measured.items()}

    def summary(self, top: int = 5) -> str:
        """The forecast in words: how many features each hop reaches, the strongest up and down, the strongest paths."""
        return _text(self, top)


def _text(cascade: Cascade, top: int) -> str:
    """Head, one line per hop, strongest up and down, strongest paths, what the forecast leaves open."""
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
            f"  compared with the measured totals of {len(cascade.measured)} targets beyond the next site: "
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
    return with_label(node, cascade.labels.get(node, ""))


def _hops(n: int) -> str:
    return "1 hop" if n == 1 else f"{n} hops"


def _count(n: int) -> str:
    return "1 feature" if n == 1 else f"{n} features"
