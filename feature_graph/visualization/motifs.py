"""Motifs drawn: a picture of each pattern, and every count against its null distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup, escape

from feature_graph.motifs import TOTALS, NullTest, Pattern, motif_type, parse_pattern
from feature_graph.terminal import percent, visible
from feature_graph.utils import whole_file
from feature_graph.visualization.page import css, figure_section, plotly_script, render_template
from feature_graph.visualization.style import EXCITES, FAINT, FONT, INHIBITS, INK, MUTED, PAPER, PASSES, number, plain

_WIDTH, _HEIGHT, _RADIUS = 168.0, 104.0, 11.0
_COLORS = {1: EXCITES, -1: INHIBITS, 0: PASSES}


def motif_svg(pattern: Pattern | str, title: str = "") -> str:
    """A pattern as SVG: layers from left to right, blue arrows excite, vermilion bars inhibit, grey is either, dashed must be absent."""
    drawn = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    places = _places(drawn)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="{_WIDTH:g}" height="{_HEIGHT:g}" role="img">'
    )
    parts = [head, f"<title>{escape(visible(title or drawn.text))}</title>"]
    for edge in drawn.edges:
        parts += _edge(places[edge.source], places[edge.target], _COLORS[edge.sign], edge.sign < 0, edge.absent)
    for node, (x, y) in zip(drawn.nodes, places, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="{PAPER}" stroke="{INK}" stroke-width="1.5"/>')
        text = f'font-family="{escape(FONT)}" font-size="11" font-weight="600" fill="{INK}" text-anchor="middle"'
        parts.append(f'<text x="{x:.1f}" y="{y + 3.9:.1f}" {text}>{escape(node.name[:3])}</text>')
    return "".join([*parts, "</svg>"])


def _places(pattern: Pattern) -> list[tuple[float, float]]:
    """Where the letters stand: one column per depth, over the whole height; a letter alone between two others is beside their edge."""
    graph = nx.DiGraph((e.source, e.target) for e in pattern.present)
    columns = [sorted(column) for column in nx.topological_generations(graph)]
    depth = {letter: i for i, column in enumerate(columns) for letter in column}
    skipped = {k for e in pattern.edges for k in range(depth[e.source] + 1, depth[e.target])}
    at = {}
    for i, column in enumerate(columns):
        x = 22 + (_WIDTH - 44) * i / max(len(columns) - 1, 1)
        for k, letter in enumerate(column):
            middle = 0.74 if len(column) == 1 and skipped and i not in skipped else 0.5
            share = (0.24 if i in skipped and i % 2 else 0.5 if i not in skipped else 0.9) if len(column) == 1 else k / (len(column) - 1)
            y = _HEIGHT * (middle if len(column) == 1 and i not in skipped else 0.16 + 0.68 * share if len(column) > 1 else share)
            at[letter] = (x, y)
    return [at[i] for i in range(len(pattern.nodes))]


def _edge(a: tuple[float, float], b: tuple[float, float], color: str, bar: bool, absent: bool) -> list[str]:
    start, end = np.array(a), np.array(b)
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    start, end = start + along * (_RADIUS + 2), end - along * (_RADIUS + 3)
    tip = end - along * (0 if bar or absent else 6)
    dash = ' stroke-dasharray="3 4"' if absent else ""
    color = MUTED if absent else color
    parts = [_line(start, tip, color, 2.0, dash)]
    if absent:
        middle = (start + end) / 2
        parts.append(_line(middle + 5 * (along + across), middle - 5 * (along + across), color, 2.0))
        parts.append(_line(middle + 5 * (along - across), middle - 5 * (along - across), color, 2.0))
    elif bar:
        parts.append(_line(end + across * 7, end - across * 7, color, 3.0))
    else:
        corners = (end, end - along * 9 + across * 5, end - along * 9 - across * 5)
        parts.append(f'<polygon points="{" ".join(f"{p[0]:.1f},{p[1]:.1f}" for p in corners)}" fill="{color}"/>')
    return parts


def _line(a: np.ndarray, b: np.ndarray, color: str, width: float, dash: str = "") -> str:
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{color}" stroke-width="{width}" '
        f'stroke-linecap="round"{dash}/>'
    )


def plot_motif_nulls(result: NullTest, level: float = 0.05) -> go.Figure | None:
    """z of every tested motif as a bar, over the null graphs' own range (grey boxes); None if no count varies."""
    table = result.table[result.table["null_sd"] > 0]
    table = table[table["p"].notna()].iloc[::-1]
    if table.empty:
        return None
    names = [plain(name.replace("_", " ")) for name in table["motif"]]
    figure = go.Figure()
    found = table["q"] < level
    colors = [FAINT if not f else EXCITES if z > 0 else INHIBITS for f, z in zip(found, table["z"], strict=True)]
    lines = ["#9aa1ac" if not f else c for f, c in zip(found, colors, strict=True)]
    rows = table.to_dict("records")
    facts = [
        f"{plain(r['motif'])}<br>{r['count']:,} here, {r['null_mean']:,.1f} ± {r['null_sd']:,.1f} in the nulls"
        f"<br>z {number(r['z'])}, p {number(r['p'])}, q {number(r['q'])}"
        for r in rows
    ]
    figure.add_bar(
        x=table["z"],
        y=names,
        orientation="h",
        marker={"color": colors, "line": {"color": lines, "width": 1}},
        width=0.62,
        hovertext=facts,
        hoverinfo="text",
        showlegend=False,
        name="observed",
    )
    for name, row in zip(names, rows, strict=True):
        standard = (result.nulls[row["motif"]] - row["null_mean"]) / row["null_sd"]
        q = np.quantile(standard, [0.025, 0.25, 0.5, 0.75, 0.975])
        figure.add_box(
            y=[name],
            lowerfence=[q[0]],
            q1=[q[1]],
            median=[q[2]],
            q3=[q[3]],
            upperfence=[q[4]],
            orientation="h",
            width=0.28,
            line={"color": INK, "width": 1},
            fillcolor="rgba(31,36,48,0.16)",
            showlegend=False,
            hoverinfo="skip",
        )
    figure.update_layout(
        height=90 + 25 * len(names),
        margin={"l": 210, "r": 24, "t": 52, "b": 46},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"family": FONT, "color": INK, "size": 12},
        bargap=0.2,
        title={"text": f"Motifs against {result.n_nulls:,} null graphs", "x": 0.02, "font": {"size": 15}},
    )
    title = "z: standard deviations from the nulls' mean; boxes: the nulls themselves (95 %)"
    return figure.update_xaxes(title=title, gridcolor="#eef0f3", zerolinecolor=INK).update_yaxes(gridcolor="#f6f7f9")


def render_motif_page(
    result: NullTest, path: str | Path, title: str = "Motifs", examples: Mapping[str, Sequence[Sequence[str]]] | None = None
) -> Path:
    """Write a page: the figure, and a card for every signed motif with its picture, its figures and examples.

    Args:
        result: The test.
        path: Where to; folders are made.
        title: Heading.
        examples: Motif → instances, each the names of the features in the order of the pattern's letters.
    """
    figure = plot_motif_nulls(result)
    mixing = result.mixing
    notes = [
        "Null graphs have the same sites, degrees (to and from each site) and signs; edges are swapped between features. "
        f"{mixing.accepted_per_edge:.1f} swaps per edge were accepted; a null graph shares {percent(mixing.overlap_with_observed)} of its "
        f"edges with this graph and {percent(mixing.overlap_between_nulls)} with another null graph.",
        "Blue: more than the nulls have (q < 0.05), vermilion: fewer, grey: as many. Chains and fans follow from the degrees alone.",
    ]
    cards = [_card(row, (examples or {}).get(row["motif"], ())) for row in result.table.to_dict("records") if row["motif"] not in TOTALS]
    text = render_template(
        "motifs.html.j2", title=title, notes=notes, css=css(), plotly=plotly_script(), cards=cards,
        figure=figure_section(figure) if figure is not None else Markup(""),
    )  # fmt: skip
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def _card(row: Mapping[Any, Any], examples: Sequence[Sequence[str]]) -> dict[str, object]:
    kind = motif_type(str(row["motif"]))
    figures = [f"{row['count']:,}"]
    if row["p"] == row["p"]:
        figures.append(f"{number(row['null_mean'], 4)} ± {number(row['null_sd'])} in the nulls")
        figures.append(f"z {number(row['z'])}, q {number(row['q'])}")
    else:
        figures.append("fixed by the degrees")
    return {
        "name": kind.name.replace("_", " "),
        "svg": Markup(motif_svg(kind.patterns[0], kind.name)),
        "pattern": kind.patterns[0],
        "meaning": kind.meaning,
        "figures": figures,
        "examples": [" → ".join(names) if kind.family == "chain" else ", ".join(names) for names in examples],
    }
