"""Pictures of what one steering does: side effects forecast and measured, the output's change, counter-steers before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import networkx as nx
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from feature_graph.visualization.cascade import CascadeLike, cascade_scene
from feature_graph.visualization.charts import styled
from feature_graph.visualization.page import PlotlyJs, figure_section, graph_script, graph_section, write_page
from feature_graph.visualization.style import EXCITES, INHIBITS, INK, MUTED, PASSES, plain, short_label

_FORECAST, _RANDOM = "#9aa3b2", "#e3e6eb"
_ROW = 22
Columns = Mapping[Any, Sequence[Any]]


class SideEffectsLike(Protocol):
    """What is drawn of a steering (``steering.side_effects`` gives one)."""

    @property
    def source(self) -> str:
        """Id of the steered feature."""

    @property
    def features(self) -> pd.DataFrame:
        """One row per later feature."""

    @property
    def output(self) -> pd.DataFrame:
        """One row per position."""

    @property
    def tokens(self) -> pd.DataFrame:
        """Tokens gained and lost."""

    @property
    def measured(self) -> dict[str, float]:
        """Feature → mean change."""

    def summary(self) -> str:
        """In words."""


class CompensationLike(Protocol):
    """What is drawn of counter-steers (``steering.compensate`` gives one)."""

    @property
    def effects(self) -> pd.DataFrame:
        """Named side effects and the target."""

    @property
    def output(self) -> pd.DataFrame:
        """One row per position."""

    def summary(self) -> str:
        """In words."""


def render_side_effects(
    graph: nx.DiGraph,
    effects: SideEffectsLike,
    path: str | Path,
    *,
    cascade: CascadeLike | None = None,
    compensation: CompensationLike | None = None,
    title: str | None = None,
    plotlyjs: PlotlyJs = "inline",
) -> Path:
    """Write a page on one steering: largest side effects with the forecast beside them, tokens gained and lost, divergence by position.

    Args:
        graph: Interaction graph.
        effects: What was measured.
        path: HTML file; folders are made.
        cascade: The forecast; its picture is added, with the measured changes beside the forecast ones.
        compensation: Counter-steers; their effect is added.
        title: Heading.
        plotlyjs: ``inline``: the page is one file. ``directory``: the drawing library lies next to it, once per folder.
    """
    shown = [
        plot_side_effects(effects.features.to_dict("list")),
        plot_token_changes(effects.tokens.to_dict("list")),
        plot_divergence(effects.output.to_dict("list")),
    ]
    countered = [] if compensation is None else [
        plot_compensation(compensation.effects.to_dict("list")), plot_divergence_change(compensation.output.to_dict("list"))
    ]  # fmt: skip
    scene = None if cascade is None else cascade_scene(graph, cascade, measured=effects.measured)
    return write_page(
        "steering.html.j2",
        path,
        plotlyjs,
        title=title or f"Steering {effects.source}",
        summary=effects.summary(),
        figures=[figure_section(figure) for figure in shown if figure is not None],
        compensation="" if compensation is None else compensation.summary(),
        countered=[figure_section(figure) for figure in countered if figure is not None],
        notes=() if scene is None else scene.notes,
        graph=None if scene is None else graph_section(scene),
        script=graph_script(),
    )


def plot_side_effects(features: Columns, top: int = 24, level: float = 0.05) -> go.Figure | None:
    """The features that moved most: measured change with its interval, the forecast, and how far random directions move them.

    All in units of each feature's own mean activation, so that features of all layers can be compared. None if nothing moved.

    Args:
        features: Columns ``feature``, ``label``, ``hop``, ``unit``, ``forecast``, ``measured``, ``ci_low``, ``ci_high``, ``placebo``,
            ``q_value`` (``SideEffects.features``), largest first.
        top: Features drawn.
        level: Only features with a q below this.
    """
    rows = [i for i, q in enumerate(features["q_value"]) if q < level and features["unit"][i] > 0][:top]
    if not rows:
        return None
    names = [f"{plain(features['feature'][i])}  {plain(short_label(features['label'][i], 26))}" for i in rows]

    def scaled(name: str) -> list[float]:
        return [float(features[name][i]) / float(features["unit"][i]) for i in rows]

    measured, forecast, low, high, placebo = (scaled(name) for name in ("measured", "forecast", "ci_low", "ci_high", "placebo"))
    reached = [features["hop"][i] > 0 for i in rows]
    figure = go.Figure()
    figure.add_bar(
        y=names, x=[2 * p if math.isfinite(p) else 0 for p in placebo], base=[-p if math.isfinite(p) else 0 for p in placebo],
        orientation="h", marker={"color": _RANDOM}, name="random directions", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        y=names, x=forecast, mode="markers", name="forecast", customdata=[features["hop"][i] for i in rows],
        marker={"size": 10, "color": _FORECAST, "symbol": ["circle" if r else "circle-open" for r in reached], "line": {"width": 1.5}},
        hovertemplate="forecast %{x:.3f}, hop %{customdata} (0: not reached)<extra>%{y}</extra>",
    )  # fmt: skip
    error = {
        "type": "data", "array": [h - m for h, m in zip(high, measured, strict=True)],
        "arrayminus": [m - v for v, m in zip(low, measured, strict=True)], "color": INK, "thickness": 1.2, "width": 0,
    }  # fmt: skip
    figure.add_scatter(
        y=names, x=measured, mode="markers", name="measured", error_x=error,
        marker={"size": 9, "symbol": "diamond", "color": [EXCITES if m > 0 else INHIBITS for m in measured]},
        hovertemplate="measured %{x:.3f}<extra>%{y}</extra>",
    )  # fmt: skip
    styled(
        figure, "Largest side effects (open circle: the graph does not reach it)", "change, in units of the feature's mean activation", ""
    )
    figure.update_layout(
        height=150 + _ROW * len(rows), legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"}
    )
    figure.update_layout(margin={"t": 84}, title={"y": 0.99, "yanchor": "top", "pad": {"t": 8}})
    return figure.update_yaxes(autorange="reversed", tickfont={"size": 11})


def plot_token_changes(tokens: Columns) -> go.Figure | None:
    """Tokens whose probability rises (blue) and falls (vermilion) most: at the steered position, and over the later ones.

    Args:
        tokens: Columns ``when``, ``side``, ``text``, ``change``, ``p_before``, ``p_after`` (``SideEffects.tokens``).
    """
    whens = [when for when in ("here", "later") if when in set(tokens["when"])]
    if not whens:
        return None
    titles = {"here": "next token at the steered position", "later": "next tokens at the later positions"}
    figure = make_subplots(rows=1, cols=len(whens), subplot_titles=[titles[w] for w in whens], horizontal_spacing=0.16)
    most = 1
    for column, when in enumerate(whens, 1):
        rows = [i for i, w in enumerate(tokens["when"]) if w == when]
        rows = sorted(rows, key=lambda i: -float(tokens["change"][i]))
        most = max(most, len(rows))
        figure.add_bar(
            x=[tokens["change"][i] for i in rows],
            y=list(range(len(rows))),
            orientation="h",
            showlegend=False,
            marker={"color": [EXCITES if tokens["side"][i] == "gained" else INHIBITS for i in rows]},
            customdata=[[tokens["p_before"][i], tokens["p_after"][i], plain(repr(tokens["text"][i]))] for i in rows],
            hovertemplate="%{customdata[2]}: %{customdata[0]:.4f} → %{customdata[1]:.4f}<extra></extra>",
            row=1,
            col=column,
        )
        figure.update_yaxes(
            tickvals=list(range(len(rows))),
            ticktext=[plain(repr(str(tokens["text"][i]))) for i in rows],
            autorange="reversed",
            row=1,
            col=column,
        )
    styled(figure, "Tokens gained and lost", "change of probability, mean over documents", "")
    return figure.update_layout(height=150 + 19 * most, margin={"t": 84})


def plot_divergence(output: Columns) -> go.Figure | None:
    """KL(steered ‖ clean) at the steered position and after it, with its interval; dotted: random directions of the same size.

    Args:
        output: Columns ``offset``, ``kl``, ``kl_low``, ``kl_high``, ``placebo_kl``, ``measure`` (``SideEffects.output``).
    """
    if not len(output["offset"]):
        return None
    title, unit = _moved_by(output)
    kl = [float(v) for v in output["kl"]]
    error = {
        "type": "data", "array": [float(h) - v for h, v in zip(output["kl_high"], kl, strict=True)],
        "arrayminus": [v - float(low) for low, v in zip(output["kl_low"], kl, strict=True)], "color": EXCITES, "thickness": 1.2,
    }  # fmt: skip
    figure = go.Figure()
    figure.add_scatter(
        x=list(output["offset"]), y=list(output["placebo_kl"]), mode="lines+markers", name="random directions",
        line={"color": MUTED, "dash": "dot"}, hovertemplate=f"%{{y:.3g}} {unit}<extra>random directions</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=list(output["offset"]), y=kl, mode="lines+markers", name="steered", error_y=error, line={"color": EXCITES, "width": 2},
        hovertemplate=f"%{{y:.3g}} {unit}<extra>steered</extra>",
    )  # fmt: skip
    styled(figure, f"How far the output moves: {title}", "positions after the steered one", unit)
    return figure.update_xaxes(dtick=1).update_yaxes(rangemode="tozero")


def plot_compensation(effects: Columns) -> go.Figure | None:
    """Named side effects and the target, by the steer alone and with the counter-steers, in units of each feature's mean activation.

    Args:
        effects: Columns ``role``, ``feature``, ``label``, ``unit``, ``before``, ``after`` and their ``…_low``, ``…_high``
            (``Compensation.effects``).
    """
    n = len(effects["feature"])
    if not n:
        return None
    names = [
        f"{plain(effects['feature'][i])}  {plain(short_label(effects['label'][i], 24))}"
        + (" (target)" if effects["role"][i] == "target" else "")
        for i in range(n)
    ]
    units = [float(u) or 1.0 for u in effects["unit"]]
    figure = go.Figure()
    for name, color, shown in (("before", _FORECAST, "steer alone"), ("after", EXCITES, "with counter-steers")):
        value = [float(v) / u for v, u in zip(effects[name], units, strict=True)]
        low, high = ([float(v) / u for v, u in zip(effects[f"{name}_{end}"], units, strict=True)] for end in ("low", "high"))
        error = {
            "type": "data", "array": [h - v for h, v in zip(high, value, strict=True)],
            "arrayminus": [v - w for w, v in zip(low, value, strict=True)], "thickness": 1.2, "color": INK,
        }  # fmt: skip
        figure.add_bar(
            y=names, x=value, orientation="h", name=shown, error_x=error, marker={"color": color},
            hovertemplate="%{x:.3f}<extra>" + shown + "</extra>",
        )  # fmt: skip
    styled(figure, "Counter-steers: before and after", "change, in units of the feature's mean activation", "")
    figure.update_layout(height=150 + 46 * n, barmode="group", legend={"traceorder": "normal"})
    return figure.update_yaxes(autorange="reversed")


def plot_divergence_change(output: Columns) -> go.Figure | None:
    """KL against the clean run by position, by the steer alone and with the counter-steers.

    Args:
        output: Columns ``offset``, ``kl_before``, ``kl_after``, ``measure`` (``Compensation.output``).
    """
    if not len(output["offset"]):
        return None
    title, unit = _moved_by(output)
    figure = go.Figure()
    for name, color, shown in (("kl_before", PASSES, "steer alone"), ("kl_after", EXCITES, "with counter-steers")):
        figure.add_scatter(
            x=list(output["offset"]), y=list(output[name]), mode="lines+markers", name=shown, line={"color": color, "width": 2},
            hovertemplate=f"%{{y:.3g}} {unit}<extra>{shown}</extra>",
        )  # fmt: skip
    styled(figure, f"Compared with the clean run: {title}", "positions after the steered one", unit)
    return figure.update_xaxes(dtick=1).update_yaxes(rangemode="tozero")


def _moved_by(output: Columns) -> tuple[str, str]:
    """What the output's change is measured by, and its unit."""
    if "measure" in output and "|Δ output|" in set(output["measure"]):
        return "mean |change of the output|", "units of the output"
    return "KL(steered ‖ clean)", "nats"
