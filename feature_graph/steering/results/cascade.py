"""The forecast of one steering: changes, paths and intervals, and the same in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from feature_graph.steering.names import with_label
from feature_graph.steering.propagation import Interval
from feature_graph.steering.results.serialization import frame_values
from feature_graph.terminal import percent
from ingest import counted


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
        n_hops: Longest path listed in ``paths`` and drawn, in edges; the changes themselves do not depend on it.
        effects: Predicted change of each feature, in activation units, largest magnitude first; without the source. From responses: of
            every feature of every later site; from paths: of those that paths of any length reach.
        hops: Edges of the shortest path to each of them; those that no path of the graph reaches are missing.
        paths: The paths of at most ``n_hops`` edges that contribute most, largest magnitude first.
        measured: Measured total effect × ``steer_delta`` of those targets of the source that lie more than one analysed site away: what
            the forecast for them can be compared with without a new measurement.
        labels: Label of the source and of every feature of ``effects``, "" where there is none.
        pruned: Features whose change is below ``min_effect``, and which are therefore not reported; every sum holds what passes through
            them.
        intervals: From paths: range of each change that the edges' own standard errors leave open (95 % if not asked otherwise); a feature
            that an edge without a standard error contributes to has none. None of them from responses.
        path_sums: Sum over the graph's paths of any length to each feature of ``effects``; 0 where none leads there.
        based_on: ``responses``: the changes are the source's measured response, read by each feature; ``paths``: they are the path sums.
        why_paths: Why no response was used; empty from responses.
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
    path_sums: dict[str, float] = field(default_factory=dict)
    based_on: Literal["responses", "paths"] = "paths"
    why_paths: str = ""

    @property
    def unexplained(self) -> dict[str, float]:
        """What paths leave unexplained: of every change forecast from responses, or of the totals measured over more than one site."""
        whole = self.effects if self.based_on == "responses" else self.measured
        return {node: total - self.path_sums.get(node, 0.0) for node, total in whole.items()}

    def table(self, top: int | None = None) -> pd.DataFrame:
        """The largest changes (all by default), one row per feature.

        Returns:
            Columns ``feature``, ``label``, ``hop`` (0: no path of the graph leads there), ``forecast``, ``by_paths`` (sum over paths) and
            ``unexplained`` (NaN where there is nothing to explain: a forecast from paths, and no total measured), in activation units.
        """
        names, rest = list(self.effects)[:top], self.unexplained
        return pd.DataFrame(
            {
                "feature": names,
                "label": [self.labels.get(n, "") for n in names],
                "hop": [self.hops.get(n, 0) for n in names],
                "forecast": [self.effects[n] for n in names],
                "by_paths": [self.path_sums.get(n, 0.0) for n in names],
                "unexplained": [rest.get(n, math.nan) for n in names],
            }
        )

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Plain values, NaN as None; of the largest changes only, if ``top`` is given."""
        return {
            "source": self.source,
            "label": self.labels.get(self.source, ""),
            "steer_delta": self.steer_delta,
            "n_hops": self.n_hops,
            "based_on": self.based_on,
            "why_paths": self.why_paths,
            "pruned": self.pruned,
            "features": frame_values(self.table(top)),
            "paths": [{"nodes": list(path.nodes), "effect": path.effect} for path in self.paths],
        }

    def summary(self, top: int = 5) -> str:
        """The forecast in words: how many features each hop reaches, the strongest up and down, the strongest paths."""
        return _text(self, top)


def _text(cascade: Cascade, top: int) -> str:
    """Head, one line per hop, strongest up and down, strongest paths, what the forecast leaves open."""
    name = _named(cascade, cascade.source)
    how = "from its measured response" if cascade.based_on == "responses" else "over paths of any length"
    lines = [f"Steering {name} by {cascade.steer_delta:+g} activation units at one position, forecast {how}:"]
    if not cascade.effects:
        nothing = "  no feature of the graph is predicted to change (no edge leads on from here, or all changes are tiny)"
        return "\n".join([*lines, nothing, *_why(cascade)])
    lines += _hop_lines(cascade)
    for word, sign in (("up", 1), ("down", -1)):
        moved = [node for node, change in cascade.effects.items() if change * sign > 0][:top]
        lines.append(f"  strongest {word}:" + ("" if moved else " none"))
        lines += [f"    {cascade.effects[n]:+9.4f}{_interval(cascade, n)}  {_named(cascade, n)}, {_reached(cascade, n)}" for n in moved]
    lines.append(f"  strongest paths of at most {counted(cascade.n_hops, 'hop')}:")
    lines += [f"    {p.effect:+9.4f}  {' → '.join(p.nodes)}" for p in cascade.paths[:top]]
    return "\n".join([*lines, *_notes(cascade)])


def _hop_lines(cascade: Cascade) -> list[str]:
    lines = []
    for hop in range(1, max(cascade.hops.values(), default=0) + 1):
        changes = [cascade.effects[n] for n, h in cascade.hops.items() if h == hop]
        up, down = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        total = sum(abs(c) for c in changes)
        lines.append(f"  hop {hop}: {counted(len(changes), 'feature')} first reached, {up} up, {down} down, summed |change| {total:.4f}")
    if cascade.based_on == "responses":
        lines.append(_without_path(cascade))
    n, total = len(cascade.effects), sum(abs(c) for c in cascade.effects.values())
    return [*lines, f"  in all: {counted(n, 'feature')}, summed |change| {total:.4f}"]


def _without_path(cascade: Cascade) -> str:
    changes = [change for n, change in cascade.effects.items() if n not in cascade.hops]
    up = sum(c > 0 for c in changes)
    total = sum(abs(c) for c in changes)
    return f"  no path: {counted(len(changes), 'feature')}, {up} up, {len(changes) - up} down, summed |change| {total:.4f}"


def _why(cascade: Cascade) -> list[str]:
    return [f"  (no response was used: {cascade.why_paths})"] if cascade.why_paths else []


def _share(part: dict[str, float], whole: dict[str, float]) -> str:
    total = sum(abs(m) for m in whole.values())
    return percent(sum(abs(g) for g in part.values()) / total) if total else "none"


def _notes(cascade: Cascade) -> list[str]:
    notes = []
    if cascade.based_on == "responses":
        notes.append(
            f"  the size of what paths of the graph leave unexplained: {_share(cascade.unexplained, cascade.effects)} of summed |change|"
        )
    elif cascade.measured:
        notes.append(
            f"  compared with the measured totals of {len(cascade.measured)} targets beyond the next site: "
            f"{_share(cascade.unexplained, cascade.measured)} of their summed |change| is not explained by paths of the graph"
        )
    if cascade.pruned:
        notes.append(f"  {counted(cascade.pruned, 'smaller change is', 'smaller changes are')} not listed")
    if cascade.intervals:
        notes.append("  (in brackets: what the standard errors of the edges leave open)")
    if cascade.based_on == "responses":
        return [*notes, "  (first order: a mean derivative times how often each feature is on; saturation is not in it)"]
    return [*notes, "  (first order: products of mean direct slopes; clipping at zero and saturation are not in it)", *_why(cascade)]


def _reached(cascade: Cascade, node: str) -> str:
    hop = f"hop {cascade.hops[node]}" if node in cascade.hops else "no path"
    return f"{hop}, {cascade.path_sums.get(node, 0.0):+.4f} by paths" if cascade.based_on == "responses" else hop


def _interval(cascade: Cascade, node: str) -> str:
    """The range that the edges' own errors leave open, where it is known."""
    found = cascade.intervals.get(node)
    return "" if found is None else f" [{found.low:+.4f} … {found.high:+.4f}]"


def _named(cascade: Cascade, node: str) -> str:
    return with_label(node, cascade.labels.get(node, ""))
