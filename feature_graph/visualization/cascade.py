"""A forecast steering cascade, drawn over the features it reaches; with what was measured next to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import networkx as nx

from feature_graph.artifacts import site_sequence
from feature_graph.graph import structural
from feature_graph.visualization.layout import layered_layout
from feature_graph.visualization.page import PlotlyJs, write_graph_page
from feature_graph.visualization.scene import NodeMark, Scene, TextMark, column_marks, edge_marks, node_marks, place_labels
from feature_graph.visualization.style import EXCITES, INHIBITS, PASSES, number, short_label
from feature_graph.visualization.validation import plot_forecast
from ingest import counted

_MAX_REACHED = 120
#: Features that moved though no path reaches them: so many are also drawn, if they moved by this share of the largest.
_MAX_UNREACHED, _LARGE = 15, 0.05
#: What a forecast is based on → how the page says it.
_BASES = {
    "paths": "A forecast: direct strengths multiplied along paths and summed over all paths, at the same position, to first order.",
    "responses": "A forecast: the measured response of the steered feature, read by each feature, at the same position, to first order.",
}


class CascadePathLike(Protocol):
    """One path of a cascade."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Ids from the source to the last feature."""


class CascadeLike(Protocol):
    """What is drawn of a cascade (``steering.predict_cascade`` gives one).

    ``based_on`` (``responses`` or ``paths``), where there is one, says what the changes are forecast from; without it they are from paths.
    """

    @property
    def source(self) -> str:
        """Id of the steered feature."""

    @property
    def steer_delta(self) -> float:
        """What is added to it, in activation units."""

    @property
    def n_hops(self) -> int:
        """Features further away than so many edges are not drawn."""

    @property
    def effects(self) -> Mapping[str, float]:
        """Id → forecast change, in activation units."""

    @property
    def hops(self) -> Mapping[str, int]:
        """Id → edges of the shortest path to it; features that no path reaches are missing."""

    @property
    def paths(self) -> Iterable[CascadePathLike]:
        """Paths that contribute most."""


def render_cascade_overlay(
    graph: nx.DiGraph,
    cascade: CascadeLike,
    path: str | Path,
    title: str | None = None,
    *,
    measured: Mapping[str, float] | None = None,
    plotlyjs: PlotlyJs = "inline",
) -> Path:
    """Write a page: the steered feature, what it reaches, coloured and sized by the forecast change, along the edges that carry it.

    Ids of the cascade that are not in the graph are ignored; an empty cascade gives a page that says so.

    Args:
        graph: Interaction graph.
        cascade: The forecast.
        path: HTML file; folders are made.
        title: Heading.
        measured: Id → measured change under the same steer, in activation units (``SideEffects.measured``, ``CascadePairs.measured(…)``).
            It is drawn as a second, ringed circle beside each forecast one, and as a scatter below; features that moved though the
            forecast does not reach them are added.
        plotlyjs: ``inline``: the page is one file. ``directory``: the drawing library lies next to it, once per folder.
    """
    known = None if measured is None else {n: float(m) for n, m in measured.items() if math.isfinite(m)}
    scatter = None if known is None else plot_forecast(_pairs(graph, cascade, known))
    return write_graph_page(cascade_scene(graph, cascade, title, known), path, plotlyjs, [] if scatter is None else [scatter])


def cascade_scene(graph: nx.DiGraph, cascade: CascadeLike, title: str | None = None, measured: Mapping[str, float] | None = None) -> Scene:
    """The picture of a cascade: only reached features and the edges between them that lie on a forecast path."""
    reached = {n: e for n, e in sorted(cascade.effects.items(), key=lambda item: -abs(item[1])) if n in graph and n != cascade.source}
    near = {n: e for n, e in reached.items() if 0 < cascade.hops.get(n, 0) <= cascade.n_hops}
    apart = {n: e for n, e in reached.items() if n not in cascade.hops}
    drawn = dict(list(near.items())[:_MAX_REACHED]) | dict(list(apart.items())[:_MAX_UNREACHED])
    drawn |= dict.fromkeys(_unreached(graph, cascade, measured or {}), 0.0)
    if cascade.source in graph:
        drawn[cascade.source] = cascade.steer_delta
    part = _carriers(graph, drawn, cascade)
    layout = layered_layout(part, sites=site_sequence(graph))
    sizes = [*drawn.items(), *((n, m) for n, m in (measured or {}).items() if n in drawn)]
    most = max((abs(e) for n, e in sizes if n != cascade.source), default=1.0) or 1.0
    nodes = tuple(_mark(m, drawn[m.id], cascade, most, measured) for m in node_marks(part, layout, {cascade.source}, part))
    order = sorted(range(len(nodes)), key=lambda i: (nodes[i].id != cascade.source, -max(nodes[i].radius, nodes[i].twin_radius)))
    named = tuple(_named(n, drawn[n.id], cascade, measured) for n in nodes)
    labels: tuple[TextMark, ...] = place_labels(named, layout, order, limit=60)
    return Scene(
        title=title or f"Steering {cascade.source} by {_change(cascade.steer_delta)}",
        notes=_notes(cascade, reached, near, drawn, measured),
        width=layout.width,
        height=layout.height,
        nodes=nodes,
        edges=edge_marks(part, {n.id: i for i, n in enumerate(nodes)}),
        labels=labels,
        columns=column_marks(layout),
        seed_name="steered feature",
    )


def _unreached(graph: nx.DiGraph, cascade: CascadeLike, measured: Mapping[str, float]) -> list[str]:
    """Features that moved most among those that no forecast path reaches."""
    others = {n: abs(m) for n, m in measured.items() if n in graph and n not in cascade.effects and n != cascade.source}
    least = _LARGE * max(map(abs, measured.values()), default=0.0)
    return [n for n in sorted(others, key=lambda n: (-others[n], n))[:_MAX_UNREACHED] if others[n] > least]


def _pairs(graph: nx.DiGraph, cascade: CascadeLike, measured: Mapping[str, float]) -> dict[str, list[Any]]:
    """Columns that the scatter is drawn from: features that are both forecast and measured."""
    both = [n for n in cascade.effects if n in graph and n in measured]
    return {
        "source": [cascade.source] * len(both),
        "target": both,
        "hop": [cascade.hops.get(n, 0) for n in both],
        "forecast": [cascade.effects[n] for n in both],
        "measured": [measured[n] for n in both],
    }


def _carriers(graph: nx.DiGraph, drawn: Mapping[str, float], cascade: CascadeLike) -> nx.DiGraph:
    """The drawn features with the edges of the forecast paths, and structural edges from one hop to a later one where no path is listed."""
    whole = structural(graph)
    steps: set[tuple[Any, Any]] = {step for p in cascade.paths for step in pairwise(p.nodes)}
    listed = {v for _, v in steps}
    hop = {**cascade.hops, cascade.source: 0}
    part: nx.DiGraph = nx.DiGraph()
    part.add_nodes_from((n, whole.nodes[n]) for n in drawn)
    for u, v, data in whole.subgraph(drawn).edges(data=True):
        forward = v not in listed and u in hop and v in hop and hop[v] == hop[u] + 1
        if (u, v) in steps or forward:
            part.add_edge(u, v, **data)
    return part


def _mark(mark: NodeMark, effect: float, cascade: CascadeLike, most: float, measured: Mapping[str, float] | None) -> NodeMark:
    if mark.id == cascade.source:
        return replace(mark, radius=11.0, color="#1f2430", facts=(f"steered by {_change(effect)} activation units", *mark.facts))
    where = f"hop {cascade.hops[mark.id]}" if mark.id in cascade.hops else "no path of the graph leads there"
    fact = f"forecast change {_change(effect)} activation units · {where}"
    if mark.id not in cascade.effects:
        fact = "the forecast does not reach it"
    facts = [fact]
    twin: dict[str, Any] = {}
    if measured is not None and mark.id in measured:
        change = measured[mark.id]
        facts.append(f"measured change {_change(change)} activation units")
        twin = {"twin_radius": _radius(change, most), "twin_color": _color(change)}
    return replace(mark, radius=_radius(effect, most), color=_color(effect), facts=(*facts, *mark.facts), **twin)


def _radius(effect: float, most: float) -> float:
    return 3.5 + 9 * min(abs(effect) / most, 1.0) ** 0.5


def _color(effect: float) -> str:
    return EXCITES if effect > 0 else INHIBITS if effect < 0 else PASSES


def _named(node: NodeMark, effect: float, cascade: CascadeLike, measured: Mapping[str, float] | None) -> NodeMark:
    """The mark with the text next to it, and as wide as it is with its twin, so that the text begins after that."""
    values = _change(effect)
    if measured is not None and node.id in measured and node.id != cascade.source:
        values += f" | {_change(measured[node.id])}"
    wide = node.radius + (2 * node.twin_radius + 3 if node.twin_radius else 0)
    return replace(node, label=f"{values}  {short_label(node.label) or node.id}", radius=wide)


def _change(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _notes(
    cascade: CascadeLike,
    reached: Mapping[str, float],
    near: Mapping[str, float],
    drawn: Mapping[str, float],
    measured: Mapping[str, float] | None,
) -> tuple[str, ...]:
    if not reached and not measured:
        return (f"Nothing is reached: {cascade.source} has no structural edges in the graph, or every change is below the threshold.",)
    up = sum(e > 0 for e in reached.values())
    notes = [
        f"{counted(len(reached), 'feature')} reached, {up:,} up (blue), {len(reached) - up:,} down (vermilion); "
        "circles grow with the change.",
        _BASES[getattr(cascade, "based_on", "paths")],
    ]
    if measured is not None:
        added = sum(n not in reached and n != cascade.source for n in drawn)
        notes.append(
            "The ringed circle at the right of each feature, and the second number, is what was measured in the model."
            + (f" Grey, with 0: moved though the forecast does not reach them ({added:,})." if added else "")
        )
    far = sum(cascade.hops.get(n, 0) > cascade.n_hops for n in reached)
    if far:
        notes.append(f"{far:,} of them {'is' if far == 1 else 'are'} more than {counted(cascade.n_hops, 'edge')} away and not drawn.")
    if apart := len(reached) - far - len(near):
        notes.append(f"No path of the graph leads to {apart:,} of them; at most {_MAX_UNREACHED} of these are drawn, without lines.")
    if len(near) > _MAX_REACHED:
        notes.append(f"The {_MAX_REACHED} largest changes are drawn; {len(near) - _MAX_REACHED:,} smaller ones are left out.")
    return tuple(notes)
