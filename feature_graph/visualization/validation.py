"""Figures of a validation: forecast against measurement, what behaviours share, faithfulness over size. Plain values in, plotly out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from feature_graph.visualization.charts import styled
from feature_graph.visualization.style import EXCITES, INHIBITS, MUTED, plain

_HOP_COLORS = (EXCITES, "#E69F00", INHIBITS)
_MARKERS = ("circle", "diamond", "x")


def plot_forecast(pairs: Mapping[str, Sequence[Any]]) -> go.Figure | None:
    """Measured change of every feature in reach beside its forecast, by hop, on a root scale; the diagonal is a right forecast.

    Args:
        pairs: Columns ``source``, ``target``, ``hop``, ``forecast``, ``measured``.
    """
    if not pairs.get("forecast"):
        return None
    forecast, measured, hop = (np.asarray(pairs[name], dtype=float) for name in ("forecast", "measured", "hop"))
    names = np.array([f"{plain(str(s))} → {plain(str(t))}" for s, t in zip(pairs["source"], pairs["target"], strict=True)])
    figure = go.Figure()
    most = float(np.abs(_root(np.concatenate([forecast, measured]))).max())
    figure.add_scatter(
        x=[-most, most], y=[-most, most], mode="lines", name="right", line={"color": "#c7ccd4", "width": 1.5}, hoverinfo="skip"
    )
    for i, number in enumerate(sorted(set(hop.astype(int).tolist()))):
        here = hop == number
        figure.add_scatter(
            x=_root(forecast[here]),
            y=_root(measured[here]),
            mode="markers",
            name=f"hop {number}" if number else "no path",
            text=names[here],
            customdata=np.stack([forecast[here], measured[here]], axis=1),
            marker={"size": 6, "color": _HOP_COLORS[i % 3], "symbol": _MARKERS[i % 3], "opacity": 0.6},
            hovertemplate="%{text}<br>forecast %{customdata[0]:.3g}, measured %{customdata[1]:.3g}<extra></extra>",
        )
    ticks = [v for v in (-20, -5, -1, 0, 1, 5, 20) if abs(_root(np.array(v))) <= most]
    axis = {"tickvals": [float(_root(np.array(v))) for v in ticks], "ticktext": [f"{v:g}".replace("-", "−") for v in ticks]}
    styled(figure, "Steering: forecast and measured", "forecast change, activation units", "measured change")
    return figure.update_xaxes(**axis).update_yaxes(**axis)


def plot_overlap(overlap: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Jaccard overlap of every two behaviours' subgraphs; a star where it is more than chance (q < 0.05).

    Args:
        overlap: One mapping per pair: ``a``, ``b``, ``jaccard``, ``expected``, ``shared``, ``q``.
    """
    names = list(dict.fromkeys(name for pair in overlap for name in (pair["a"], pair["b"])))
    if not names:
        return None
    place = {name: i for i, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    text = [[""] * len(names) for _ in names]
    for pair in overlap:
        for a, b in ((pair["a"], pair["b"]), (pair["b"], pair["a"])):
            table[place[a], place[b]] = pair["jaccard"]
            text[place[a]][place[b]] = f"{pair['jaccard']:.2f}{'*' if pair['q'] < 0.05 else ''}"
    shown = [name.replace("_", " ") for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=table, x=shown, y=shown, text=text, texttemplate="%{text}", zmin=0, zmax=1, colorscale=[[0, "#f4f8fb"], [1, EXCITES]],
            showscale=False, xgap=2, ygap=2, hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, "What behaviours share (Jaccard; * more than chance)", "", "")
    return figure.update_yaxes(autorange="reversed")


def plot_faithfulness(behaviors: Mapping[str, Mapping[str, Any]]) -> go.Figure | None:
    """Share of each behaviour that the features of largest attribution keep, over their number; dotted: random features."""
    figure = go.Figure()
    palette = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#666666")
    for i, (name, found) in enumerate(behaviors.items()):
        curve = found.get("curve") or []
        if not curve:
            continue
        sizes = [point["size"] for point in curve]
        for key, dash, shown in (("faithfulness", "solid", True), ("random_faithfulness", "dot", False)):
            figure.add_scatter(
                x=sizes, y=[point[key] for point in curve], mode="lines+markers" if shown else "lines", name=name.replace("_", " "),
                showlegend=shown, line={"color": palette[i % len(palette)], "dash": dash, "width": 2 if shown else 1}, marker={"size": 4},
                hovertemplate=f"{plain(name)}{'' if shown else ', random'}: %{{x}} features, %{{y:.2f}}<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return None
    figure.add_hline(y=0.8, line={"color": MUTED, "dash": "dash", "width": 1})
    styled(figure, "Faithfulness over the number of features kept", "features kept", "share of the behaviour")
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"})
    return figure.update_xaxes(type="log").update_yaxes(range=[-0.5, 1.5])


def _root(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Signed square root: small and large changes both stay visible, and zero stays zero."""
    return np.sign(values) * np.sqrt(np.abs(values))
