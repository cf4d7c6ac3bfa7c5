"""A forecast steering cascade, drawn over the features it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import networkx as nx

from feature_graph.graph import structural
from feature_graph.visualization.layout import layered_layout
from feature_graph.visualization.page import PlotlyJs, write_graph_page
from feature_graph.visualization.scene import NodeMark, Scene, TextMark, column_marks, edge_marks, node_marks, place_labels
from feature_graph.visualization.style import EXCITES, INHIBITS, number, short_label

_MAX_REACHED = 120


class CascadePathLike(Protocol):
    """One path of a cascade."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Ids from the source to the last feature."""


class CascadeLike(Protocol):
    """What is drawn of a cascade (``steering.predict_cascade`` gives one)."""

    @property
    def source(self) -> str:
        """Id of the steered feature."""

    @property
    def steer_delta(self) -> float:
        """What is added to it, in activation units."""

    @property
    def effects(self) -> Mapping[str, float]:
        """Id → forecast change, in activation units."""

    @property
    def hops(self) -> Mapping[str, int]:
        """Id → first hop that reaches it."""

    @property
    def paths(self) -> Iterable[CascadePathLike]:
        """Paths that contribute most."""


def render_cascade_overlay(
    graph: nx.DiGraph, cascade: CascadeLike, path: str | Path, title: str | None = None, *, plotlyjs: PlotlyJs = "inline"
) -> Path:
    """Write a page: the steered feature, what it reaches, coloured and sized by the forecast change, along the edges that carry it.

    Ids of the cascade that are not in the graph are ignored; an empty cascade gives a page that says so.
    """
    return write_graph_page(cascade_scene(graph, cascade, title), path, plotlyjs)


def cascade_scene(graph: nx.DiGraph, cascade: CascadeLike, title: str | None = None) -> Scene:
    """The picture of a cascade: only reached features and the edges between them that lie on a forecast path."""
    reached = {n: e for n, e in sorted(cascade.effects.items(), key=lambda item: -abs(item[1])) if n in graph and n != cascade.source}
    drawn = dict(list(reached.items())[:_MAX_REACHED])
    if cascade.source in graph:
        drawn[cascade.source] = cascade.steer_delta
    part = _carriers(graph, drawn, cascade)
    layout = layered_layout(part)
    most = max((abs(e) for n, e in drawn.items() if n != cascade.source), default=1.0) or 1.0
    nodes = tuple(_mark(m, drawn[m.id], cascade, most) for m in node_marks(part, layout, {cascade.source}, part))
    order = sorted(range(len(nodes)), key=lambda i: (nodes[i].id != cascade.source, -abs(drawn[nodes[i].id])))
    named = tuple(replace(n, label=f"{_change(drawn[n.id])}  {short_label(n.label) or n.id}") for n in nodes)
    labels: tuple[TextMark, ...] = place_labels(named, layout, order, limit=60)
    return Scene(
        title=title or f"Steering {cascade.source} by {_change(cascade.steer_delta)}",
        notes=_notes(cascade, reached),
        width=layout.width,
        height=layout.height,
        nodes=nodes,
        edges=edge_marks(part, {n.id: i for i, n in enumerate(nodes)}),
        labels=labels,
        columns=column_marks(layout),
        seed_name="steered feature",
    )


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


def _mark(mark: NodeMark, effect: float, cascade: CascadeLike, most: float) -> NodeMark:
    if mark.id == cascade.source:
        return replace(mark, radius=11.0, color="#1f2430", facts=(f"steered by {_change(effect)} activation units", *mark.facts))
    share = (abs(effect) / most) ** 0.5
    fact = f"forecast change {_change(effect)} activation units · hop {cascade.hops.get(mark.id, '?')}"
    return replace(mark, radius=3.5 + 9 * share, color=EXCITES if effect > 0 else INHIBITS, facts=(fact, *mark.facts))


def _change(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _notes(cascade: CascadeLike, reached: Mapping[str, float]) -> tuple[str, ...]:
    if not reached:
        return (f"Nothing is reached: {cascade.source} has no structural edges in the graph, or every change is below the threshold.",)
    up = sum(e > 0 for e in reached.values())
    notes = [
        f"{len(reached):,} features reached, {up:,} up (blue), {len(reached) - up:,} down (vermilion); circles grow with the change.",
        "A forecast: direct strengths multiplied along paths and summed over paths, at the same position, to first order.",
    ]
    if len(reached) > _MAX_REACHED:
        notes.append(f"The {_MAX_REACHED} largest changes are drawn; {len(reached) - _MAX_REACHED:,} smaller ones are left out.")
    return tuple(notes)
