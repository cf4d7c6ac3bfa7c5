"""Where nodes go: one column per site, in the order of the model, and within a column such that edges are short and cross little.

The method of Sugiyama, Tagawa and Toda (1981) for layered graphs: sweeping to and fro, each column is ordered by the weighted mean height
of its neighbours (barycentre), then each node is put as near to that mean as a least distance to its column neighbours allows (an isotonic
regression). The sweep with the shortest edges is kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from feature_graph.artifacts import SiteSequence, site_sequence
from feature_graph.graph import edge_strength

_SWEEPS = 24
#: Distance between columns of one layer, those of two layers being 1 apart.
_WITHIN = 0.75


@dataclass(frozen=True)
class Layout:
    """Positions of all nodes, in pixels from the left and from the top.

    Attributes:
        x: Node → column.
        y: Node → height.
        columns: Heading → x of its column, left to right: the layer, or the name of the site where a layer has several.
        width: Of the whole picture.
        height: Of the whole picture.
        sites: The sites, of which those that have nodes are columns.
    """

    x: dict[str, float]
    y: dict[str, float]
    columns: dict[str, float]
    width: float
    height: float
    sites: SiteSequence


@dataclass(frozen=True)
class Margins:
    """Room around and between the columns, in pixels."""

    left: float = 60
    right: float = 210
    top: float = 54
    bottom: float = 24
    least_gap: float = 150
    most_gap: float = 330
    width: float = 1180
    pitch: float = 13
    least_height: float = 420
    most_height: float = 1500


def layered_layout(graph: nx.DiGraph, frame: Margins | None = None, sites: SiteSequence | None = None) -> Layout:
    """Place the nodes of ``graph`` (ids, and attribute ``layer``); the same graph always gives the same picture.

    Args:
        graph: What is drawn.
        frame: Room around and between the columns.
        sites: Order of the sites. Default: as the graph itself says it; of a part of a graph, that of the whole is better.
    """
    frame, sites = frame or Margins(), sites or site_sequence(graph)
    columns: dict[int, list[str]] = defaultdict(list)
    for node in graph:
        columns[sites.place[node]].append(node)
    used = sorted(columns)
    tallest = max((len(c) for c in columns.values()), default=1)
    inner = float(np.clip(tallest * frame.pitch, frame.least_height, frame.most_height))
    steps = np.cumsum([0.0, *(_WITHIN if sites.layers[a] == sites.layers[b] else 1.0 for a, b in pairwise(used))])
    gap = (frame.width - frame.left - frame.right) / max(steps[-1], 1)
    gap = float(np.clip(gap, frame.least_gap, frame.most_gap))
    places = {column: frame.left + step * gap for column, step in zip(used, steps.tolist(), strict=False)}
    heights = _heights(graph, [columns[column] for column in used], inner)
    return Layout(
        x={node: places[column] for column in used for node in columns[column]},
        y={node: frame.top + h for node, h in heights.items()},
        columns={_heading(sites, column): x for column, x in places.items()},
        width=frame.left + gap * float(steps[-1]) + frame.right,
        height=inner + frame.top + frame.bottom,
        sites=sites,
    )


def _heading(sites: SiteSequence, column: int) -> str:
    return sites.names[column] if sites.several else f"layer {sites.layers[column]}"


def _heights(graph: nx.DiGraph, columns: list[list[str]], inner: float) -> dict[str, float]:
    """Height of every node within 0 … ``inner``."""
    neighbours = _neighbours(graph)
    height = {node: h for column in columns for node, h in zip(column, _even(len(column), inner), strict=True)}
    best, shortest = dict(height), _length(graph, height)
    for sweep in range(_SWEEPS):
        before, after = (sweep % 3 != 1), (sweep % 3 != 0)
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            _settle(column, neighbours, height, inner, before, after)
        if (length := _length(graph, height)) < shortest:
            best, shortest = dict(height), length
    return _stretched(best, inner)


def _stretched(height: dict[str, float], inner: float) -> dict[str, float]:
    """The same picture drawn apart until it fills 0 … ``inner``."""
    low, high = min(height.values(), default=0.0), max(height.values(), default=0.0)
    room = inner / (high - low) if high > low else 1.0
    return {node: (h - low) * room if high > low else inner / 2 for node, h in height.items()}


def _settle(
    column: list[str],
    neighbours: dict[str, list[tuple[str, float, bool]]],
    height: dict[str, float],
    inner: float,
    before: bool,
    after: bool,
) -> None:
    """Order one column by the mean height of its neighbours and move each node towards it."""
    wish = np.array([_mean(neighbours[n], height, height[n], before, after) for n in column])
    order = np.argsort(wish, kind="stable")
    least = inner / (len(column) + 1) * 0.8
    for i, h in zip(order, _spaced(wish[order], least, inner), strict=True):
        height[column[i]] = float(h)


def _spaced(wish: NDArray[np.float64], least: float, inner: float) -> NDArray[np.float64]:
    """The ascending heights nearest to ``wish`` (least squares) with at least ``least`` between neighbours, within 0 … ``inner``."""
    steps = np.arange(len(wish)) * least
    free = np.asarray(isotonic_regression(wish - steps).x)
    return np.clip(free, 0, inner - steps[-1]) + steps


def _mean(links: list[tuple[str, float, bool]], height: dict[str, float], own: float, before: bool, after: bool) -> float:
    used = [(height[n], w) for n, w, ahead in links if (after if ahead else before)]
    total = sum(w for _, w in used)
    return sum(h * w for h, w in used) / total if total else own


def _neighbours(graph: nx.DiGraph) -> dict[str, list[tuple[str, float, bool]]]:
    """Node → (neighbour, weight, whether it lies ahead)."""
    links: dict[str, list[tuple[str, float, bool]]] = {n: [] for n in graph}
    for u, v, data in graph.edges(data=True):
        weight = abs(edge_strength(data)) ** 0.5 + 1e-9
        links[u].append((v, weight, True))
        links[v].append((u, weight, False))
    return links


def _length(graph: nx.DiGraph, height: dict[str, float]) -> float:
    return sum(abs(height[u] - height[v]) for u, v in graph.edges)


def _even(n: int, inner: float) -> NDArray[np.float64]:
    return (np.arange(n) + 0.5) * inner / max(n, 1)
