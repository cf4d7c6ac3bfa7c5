"""A scene as a plotly figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import plotly.graph_objects as go

from feature_graph.visualization.scene import LABEL_SIZE, EdgeMark, NodeMark, Scene
from feature_graph.visualization.style import FONT, INK, MUTED, PAPER, SEED, SIGN_NAMES, plain

CURVE_STEPS = 20
_WIDTHS = 5


def network_figure(scene: Scene) -> go.Figure:
    """The figure of a scene: axes are pixels, so that what does not overlap in the scene does not overlap in the picture.

    Traces, in this order: edge groups (``meta.role`` "edges", ``meta.members`` their numbers in ``scene.edges``), points to hover edges,
    rings of seeds, features, their twins if there are any (one per feature, in the same order).
    """
    figure = go.Figure()
    figure.add_traces([_edge_trace(scene, numbers, first) for numbers, first in _groups(scene.edges)])
    if scene.nodes:
        figure.add_traces([_edge_points(scene), _seed_rings(scene), _node_trace(scene)])
    if any(node.twin_radius for node in scene.nodes):
        figure.add_trace(_twin_trace(scene))
    for text in scene.labels:
        figure.add_annotation(
            x=text.x,
            y=text.y,
            text=plain(text.text),
            xanchor="left",
            yanchor="middle",
            showarrow=False,
            bgcolor="rgba(255,255,255,0.86)",
            borderpad=0,
            font={"size": LABEL_SIZE, "color": INK},
        )
    for text in scene.columns:
        figure.add_annotation(
            x=text.x,
            y=text.y,
            text=plain(text.text),
            xanchor="center",
            yanchor="middle",
            showarrow=False,
            font={"size": 12, "color": MUTED},
        )
    figure.update_layout(**_layout(scene))
    return figure


def curve(a: NodeMark, b: NodeMark) -> tuple[list[float], list[float]]:
    """Points of the line from a to b: a cubic Bézier that leaves and arrives horizontally."""
    xs, ys = [], []
    bend = (b.x - a.x) * 0.45
    for k in range(CURVE_STEPS + 1):
        t = k / CURVE_STEPS
        w = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t**3)
        xs.append(round(w[0] * a.x + w[1] * (a.x + bend) + w[2] * (b.x - bend) + w[3] * b.x, 1))
        ys.append(round((w[0] + w[1]) * a.y + (w[2] + w[3]) * b.y, 1))
    return xs, ys


def edge_hover(scene: Scene, edge: EdgeMark) -> str:
    """What is shown when an edge is pointed at, in plotly's small HTML."""
    return _hover(f"{scene.nodes[edge.source].id} → {scene.nodes[edge.target].id}", "", edge.facts)


def _groups(edges: tuple[EdgeMark, ...]) -> Iterable[tuple[list[int], bool]]:
    """Numbers of edges that share a colour, a dash and a class of width, thin ones first; whether each is the first of its colour."""
    groups: dict[tuple[int, str, bool], list[int]] = defaultdict(list)
    widest = max((e.width for e in edges), default=1.0)
    for i, e in enumerate(edges):
        groups[min(int(e.width / widest * _WIDTHS), _WIDTHS - 1), e.color, e.dashed].append(i)
    seen = set()
    for key in sorted(groups):
        yield groups[key], key[1] not in seen
        seen.add(key[1])


def _edge_trace(scene: Scene, numbers: list[int], first: bool) -> go.Scatter:
    xs: list[float | None] = []
    ys: list[float | None] = []
    marks = [scene.edges[i] for i in numbers]
    for e in marks:
        x, y = curve(scene.nodes[e.source], scene.nodes[e.target])
        xs += [*x, None]
        ys += [*y, None]
    color = marks[0].color
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        hoverinfo="skip",
        name=SIGN_NAMES.get(color, "edge"),
        legendgroup=color,
        showlegend=first,
        opacity=sum(e.opacity for e in marks) / len(marks),
        meta={"role": "edges", "members": numbers},
        line={"color": color, "width": round(sum(e.width for e in marks) / len(marks), 2), "dash": "dot" if marks[0].dashed else "solid"},
    )


def _edge_points(scene: Scene) -> go.Scatter:
    """Invisible points in the middle of the lines, since a line can only be pointed at on its corners."""
    middle = [[c[CURVE_STEPS // 2] for c in curve(scene.nodes[e.source], scene.nodes[e.target])] for e in scene.edges]
    texts = [edge_hover(scene, e) for e in scene.edges]
    return go.Scatter(
        x=[m[0] for m in middle],
        y=[m[1] for m in middle],
        mode="markers",
        hovertext=texts,
        hoverinfo="text",
        showlegend=False,
        marker={"size": 9, "color": [e.color for e in scene.edges], "opacity": 0},
        meta={"role": "edge points"},
    )


def _seed_rings(scene: Scene) -> go.Scatter:
    seeds = [n for n in scene.nodes if n.seed]
    return go.Scatter(
        x=[n.x for n in seeds],
        y=[n.y for n in seeds],
        mode="markers",
        hoverinfo="skip",
        name="seed feature",
        showlegend=bool(seeds),
        marker={"size": [2 * n.radius + 9 for n in seeds], "color": "rgba(0,0,0,0)", "line": {"color": SEED, "width": 2.2}},
        meta={"role": "seeds"},
    )


def _node_trace(scene: Scene) -> go.Scatter:
    nodes = scene.nodes
    return go.Scatter(
        x=[n.x for n in nodes],
        y=[n.y for n in nodes],
        mode="markers",
        hoverinfo="text",
        name="feature",
        showlegend=False,
        hovertext=[_hover(n.id, n.label, n.facts) for n in nodes],
        ids=[n.id for n in nodes],
        meta={"role": "nodes"},
        marker={
            "size": [2 * n.radius for n in nodes],
            "color": [n.color for n in nodes],
            "opacity": 1,
            "line": {"color": PAPER, "width": 1.2},
        },
    )


def _twin_trace(scene: Scene) -> go.Scatter:
    nodes = scene.nodes
    return go.Scatter(
        x=[n.twin_x for n in nodes],
        y=[n.y for n in nodes],
        mode="markers",
        hoverinfo="text",
        showlegend=False,
        hovertext=[_hover(n.id, n.label, n.facts) for n in nodes],
        meta={"role": "twins"},
        marker={
            "size": [2 * n.twin_radius for n in nodes],
            "color": [n.twin_color or PAPER for n in nodes],
            "opacity": [1 if n.twin_radius else 0 for n in nodes],
            "line": {"color": INK, "width": 1.6},
        },
    )


def _hover(head: str, label: str, facts: tuple[str, ...]) -> str:
    lines = [f"<b>{plain(head)}</b>", *([plain(label[:110])] if label else []), *(plain(f) for f in facts)]
    return "<br>".join(lines)


def _layout(scene: Scene) -> dict[str, object]:
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    return {
        "width": scene.width,
        "height": scene.height,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "xaxis": hidden | {"range": [0, scene.width]},
        "yaxis": hidden | {"range": [scene.height, 0]},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"family": FONT, "color": INK},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": "#c7ccd4", "font": {"color": INK, "size": 12}, "align": "left"},
        "dragmode": "pan",
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(255,255,255,0.8)"},
        "showlegend": False,
    }
