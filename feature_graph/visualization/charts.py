"""Figures about a graph as a whole. Each returns a plotly figure, or None if there is nothing to show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import networkx as nx
import numpy as np
import plotly.graph_objects as go

from feature_graph.artifacts import site_sequence
from feature_graph.graph import acts, edge_strength, structural_degrees, takes_from_copy
from feature_graph.visualization.style import EXCITES, FONT, INHIBITS, INK, MUTED, OPPOSES, PAPER, PASSES, SIGN_NAMES, edge_color, plain

_TYPES = {"excitatory": EXCITES, "inhibitory": INHIBITS, "attenuates_copy": OPPOSES, "erases_copy": OPPOSES, "pass_through": PASSES}
_SHADES = (0.95, 0.72, 0.52, 0.38, 0.28, 0.2, 0.14)


def plot_degree_distribution(graph: nx.DiGraph) -> go.Figure | None:
    """How many features have at least so many causes, and at least so many effects, by structural edges (cumulative, logarithmic)."""
    causes, effects = ([ends[i] for ends in structural_degrees(graph).values()] for i in (0, 1))
    if not any(causes):
        return None
    figure = go.Figure()
    largest: list[int] = []
    for name, degrees, color in (("effects (out)", effects, EXCITES), ("causes (in)", causes, INHIBITS)):
        values = np.array(sorted(d for d in degrees if d))
        largest += [1, int(values[-1])]
        steps, first = np.unique(values, return_index=True)
        figure.add_scatter(
            x=steps, y=len(values) - first, name=name, mode="lines+markers", line={"color": color, "shape": "hv"}, marker={"size": 5}
        )
    return (
        styled(figure, "Degrees", "structural edges of a feature, at least", "features")
        .update_xaxes(**_log_axis(largest))
        .update_yaxes(**_log_axis([1, len(graph)]))
    )


def plot_layer_distance_decay(graph: nx.DiGraph) -> go.Figure | None:
    """|strength| of the edges by how many analysed layers they cross: quartiles as boxes, the number of edges above."""
    spans: dict[int, list[float]] = {}
    for _, _, data in graph.edges(data=True):
        spans.setdefault(int(data.get("span", 1)), []).append(abs(edge_strength(data)))
    if not spans:
        return None
    figure = go.Figure()
    for i, (span, values) in enumerate(sorted(spans.items())):
        q = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        figure.add_box(
            x=[i],
            lowerfence=[q[0]],
            q1=[q[1]],
            median=[q[2]],
            q3=[q[3]],
            upperfence=[q[4]],
            fillcolor="rgba(0,114,178,0.18)",
            line={"color": EXCITES},
            showlegend=False,
            name=f"span {span}",
            width=0.5,
        )
        figure.add_annotation(
            x=i,
            y=np.log10(max(q[4], 1e-9)),
            text=f"{len(values):,} edges",
            yshift=14,
            showarrow=False,
            font={"size": 11, "color": MUTED},
        )
    styled(figure, "Strength over distance", "analysed layers crossed", "|strength|, target units per source unit (5 – 95 %)")
    fences = [float(q) for box in figure.data for q in (*box.lowerfence, *box.upperfence)]
    return figure.update_yaxes(**_log_axis(fences)).update_xaxes(tickvals=list(range(len(spans))), ticktext=[str(s) for s in sorted(spans)])


def plot_interaction_type_breakdown(graph: nx.DiGraph) -> go.Figure | None:
    """Edges by type, and within each by the effect that let them in."""
    if not graph.number_of_edges():
        return None
    counts = Counter((str(d.get("type") or _by_sign(d)), str(d.get("by") or "not recorded")) for *_, d in graph.edges(data=True))
    types = sorted({t for t, _ in counts}, key=lambda t: (list(_TYPES).index(t) if t in _TYPES else 9, t))
    figure = go.Figure()
    for i, effect in enumerate(sorted({b for _, b in counts}, key=lambda b: -sum(n for (_, e), n in counts.items() if e == b))):
        amounts = [counts.get((t, effect), 0) for t in types]
        figure.add_bar(
            x=amounts,
            y=[t.replace("_", " ") for t in types],
            orientation="h",
            name=plain(effect),
            showlegend=False,
            text=[plain(effect) if n else "" for n in amounts],
            textposition="inside",
            insidetextanchor="middle",
            marker={"color": [_TYPES.get(t, MUTED) for t in types], "opacity": _SHADES[min(i, len(_SHADES) - 1)]},
            hovertemplate="%{y} by " + plain(effect) + ": %{x:,} edges<extra></extra>",
        )
    for t in types:
        total = sum(n for (kind, _), n in counts.items() if kind == t)
        figure.add_annotation(x=total, y=t.replace("_", " "), text=f"{total:,}", xanchor="left", xshift=5, showarrow=False)
    figure.update_layout(barmode="stack", uniformtext={"mode": "hide", "minsize": 10})
    return styled(figure, "Edges by type and by the effect that passed", "edges", "")


def plot_layer_matrix(graph: nx.DiGraph) -> go.Figure | None:
    """Number of edges from each layer to each later one, or from each site to each later one where a layer has several."""
    if not graph.number_of_edges():
        return None
    sites = site_sequence(graph)
    unit = "site" if sites.several else "layer"
    names = list(sites.names) if sites.several else [f"{layer}" for layer in sites.layers]
    table = np.zeros((len(names), len(names)))
    for u, v in graph.edges:
        table[sites.place[u], sites.place[v]] += 1
    shown = np.where(table > 0, table, np.nan)
    text = [[f"{int(n):,}" if n else "" for n in row] for row in table]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=names,
            y=names,
            text=text,
            texttemplate="%{text}",
            colorscale=[[0, "#e8f1f8"], [1, EXCITES]],
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate=f"{unit} %{{y}} → {unit} %{{x}}: %{{z:,}} edges<extra></extra>",
        )
    )
    styled(figure, f"Edges between {unit}s", f"to {unit}", f"from {unit}")
    return figure.update_xaxes(type="category").update_yaxes(type="category", autorange="reversed")


def plot_strengths(graph: nx.DiGraph) -> go.Figure | None:
    """Histogram of |strength| (logarithmic) for edges that excite, that inhibit, and that take from a copy, where there are some."""
    strengths = np.array([edge_strength(d) for *_, d in graph.edges(data=True)])
    does = np.array([acts(d) for *_, d in graph.edges(data=True)])
    taking = np.array([takes_from_copy(d) for *_, d in graph.edges(data=True)], dtype=bool) & (strengths != 0)
    sizes = np.abs(strengths[strengths != 0])
    if not len(sizes):
        return None
    edges = np.linspace(np.log10(sizes.min()) - 0.01, np.log10(sizes.max()) + 0.01, 31)
    middle = 10 ** ((edges[:-1] + edges[1:]) / 2)
    figure = go.Figure()
    parts = [(EXCITES, does > 0), (INHIBITS, does < 0), *([(OPPOSES, taking)] if taking.any() else [])]
    for color, chosen in parts:
        count, _ = np.histogram(np.log10(np.abs(strengths[chosen])), edges)
        figure.add_scatter(
            x=middle,
            y=count,
            name=SIGN_NAMES[color],
            mode="lines",
            line={"color": color, "shape": "hvh", "width": 2},
            fill="tozeroy",
            opacity=0.6,
        )
    return styled(figure, "Strengths", "|strength|, target units per source unit", "edges").update_xaxes(**_log_axis(middle))


def plot_copy_share(graph: nx.DiGraph) -> go.Figure | None:
    """Each edge's copied part beside its total effect: on the diagonal it is only passed along, on the level line it is computed."""
    known = [
        (d["total"], d["copy"], f"{u} → {v}", edge_color(d, d["total"]))
        for u, v, d in graph.edges(data=True)
        if _finite(d.get("total")) and _finite(d.get("copy"))
    ]
    if not known:
        return None
    known = sorted(known, key=lambda k: -abs(k[0]))[:3000]
    total, copy, names, colors = zip(*known, strict=True)
    low, high = min(*total, *copy, 0.0), max(*total, *copy, 0.0)
    figure = go.Figure()
    for x, y, name in (([low, high], [low, high], "all copied"), ([low, high], [0, 0], "all computed")):
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            name=name,
            line={"color": "#c7ccd4", "dash": "dot" if name == "all computed" else "solid", "width": 1.5},
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=total,
        y=copy,
        mode="markers",
        showlegend=False,
        text=[plain(n) for n in names],
        marker={"size": 5, "color": colors, "opacity": 0.5},
        hovertemplate="%{text}<br>total %{x:.3g}, copied %{y:.3g}<extra></extra>",
    )
    return styled(figure, "Copied or computed", "total effect", "part the identity path alone gives")


def styled(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    """The look that all figures share."""
    grid = {
        "gridcolor": "#eef0f3",
        "zerolinecolor": "#d5d9e0",
        "linecolor": "#c7ccd4",
        "ticks": "outside",
        "tickcolor": "#c7ccd4",
        "automargin": True,
    }
    figure.update_layout(
        title={"text": title, "x": 0.02, "font": {"size": 15}},
        height=340,
        margin={"l": 60, "r": 24, "t": 44, "b": 48},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"family": FONT, "color": INK, "size": 12},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(title=x, **grid)
    figure.update_yaxes(title=y, **grid)
    return figure


def _log_axis(values: Iterable[float]) -> dict[str, object]:
    """A logarithmic axis over ``values`` with ticks at 1, 2, 5 of each decade, or at decades only where there are many."""
    known = [v for v in values if v > 0]
    low, high = math.log10(min(known)), math.log10(max(known))
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    ticks = [s * 10.0**e for e in range(math.floor(low) - 1, math.ceil(high) + 1) for s in steps]
    pad = 0.06 * (high - low) + 0.05
    shown = [t for t in ticks if low - pad <= math.log10(t) <= high + pad]
    return {"type": "log", "range": [low - pad, high + pad], "tickvals": shown, "ticktext": [f"{t:g}" for t in shown]}


def _by_sign(data: dict[str, object]) -> str:
    return "inhibitory" if edge_strength(data) < 0 else "excitatory"


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
