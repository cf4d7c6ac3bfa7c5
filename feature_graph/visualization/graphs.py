"""Whole graphs and neighbourhoods, as pages and as static pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import networkx as nx

from feature_graph.graph import Collapse, Effect, as_asked, edge_strength, none_left
from feature_graph.utils import whole_file
from feature_graph.visualization.errors import VisualizationError
from feature_graph.visualization.page import PlotlyJs, write_graph_page
from feature_graph.visualization.scene import MAX_EDGES, MAX_NODES, Scene, network_scene
from feature_graph.visualization.svg import svg_text

log = logging.getLogger(__name__)


def render_interactive_graph(
    graph: nx.DiGraph,
    path: str | Path,
    title: str = "Feature interaction graph",
    *,
    seed_nodes: Iterable[str] = (),
    max_nodes: int = MAX_NODES,
    max_edges: int = MAX_EDGES,
    plotlyjs: PlotlyJs = "inline",
    effect: Effect | None = None,
    collapse: Collapse | None = None,
) -> Path:
    """Write an interactive page: layered picture, search, filters, causes and effects of any feature on a click.

    Args:
        graph: Interaction graph; an empty one gives a page that says so.
        path: HTML file; folders are made.
        title: Heading of the page.
        seed_nodes: Features to ring; ids that are not in the graph are ignored.
        max_nodes: Most features drawn.
        max_edges: Most edges drawn, the strongest; the page says what was left out.
        plotlyjs: ``inline``: the page is one file. ``directory``: the drawing library lies next to it, once per folder.
        effect: Effect that lines show: strength (the edges' own), total, direct, later, computed, specific or copy; edges without it, or
            below their floor, are not drawn. Default: specific where the run measured it, else strength. The page says which.
        collapse: ``families``: each copy family is drawn as one feature (:func:`feature_graph.graph.collapsed`).

    Raises:
        InteractionGraphError: If the effect is unknown or was not measured, or ``collapse`` is unknown.
    """
    scene = _asked_scene(graph, title, (effect, collapse), seed_nodes, max_nodes, max_edges)
    return _written(write_graph_page(scene, path, plotlyjs), len(scene.nodes), len(scene.edges))


def render_neighborhood(
    graph: nx.DiGraph,
    node: str,
    n_hops: int = 1,
    output_path: str | Path | None = None,
    *,
    max_nodes: int = 120,
    max_edges: int = 400,
    plotlyjs: PlotlyJs = "inline",
    effect: Effect | None = None,
) -> nx.DiGraph:
    """The features within ``n_hops`` edges of one feature, in either direction, and the edges among them; drawn if a path is given.

    A feature that is not in the graph gives an empty neighbourhood, and a page that says so. The picture shows the edges by the effect
    that is asked for, as :func:`render_interactive_graph` does; what is returned has all edges of the graph, as they are.

    Returns:
        The neighbourhood as a graph.

    Raises:
        VisualizationError: If ``n_hops`` is negative.
        InteractionGraphError: If the effect is unknown or was not measured.
    """
    if n_hops < 0:
        raise VisualizationError(f"n_hops: got {n_hops}, expected 0 or more")
    if node not in graph:
        log.warning("%s is not in the graph; its neighbourhood is empty", node)
    near = {node} & set(graph)
    front = set(near)
    for _ in range(n_hops):
        front = {m for n in front for m in (*graph.predecessors(n), *graph.successors(n))} - near
        near |= front
    part: nx.DiGraph = nx.DiGraph(graph.subgraph(near))
    if output_path is not None:
        stated = as_asked(part, effect)
        kept = part.subgraph(_nearest(stated, node, max_nodes))
        label = str(graph.nodes[node].get("label", "")) if node in graph else ""
        title = f"Neighbourhood of {node}" + (f" · {label}" if label else "")
        scene = _asked_scene(kept, title, (effect, None), [node], max_nodes, max_edges)
        _written(write_graph_page(scene, output_path, plotlyjs), len(scene.nodes), len(scene.edges))
    return part


def render_static_graph(
    graph: nx.DiGraph,
    path: str | Path,
    title: str = "",
    *,
    seed_nodes: Iterable[str] = (),
    max_nodes: int = MAX_NODES,
    max_edges: int = MAX_EDGES,
    effect: Effect | None = None,
    collapse: Collapse | None = None,
) -> Path:
    """Write the layered picture as SVG, for papers and web pages; nothing is needed to show it but an image viewer.

    ``effect`` and ``collapse`` as for :func:`render_interactive_graph`.
    """
    scene = _asked_scene(graph, title, (effect, collapse), seed_nodes, max_nodes, max_edges)
    with whole_file(path) as part:
        part.write_text(svg_text(scene), encoding="utf-8")
    return _written(Path(path), len(scene.nodes), len(scene.edges))


def _asked_scene(
    graph: nx.DiGraph,
    title: str,
    asked: tuple[Effect | None, Collapse | None],
    seeds: Iterable[str],
    max_nodes: int,
    max_edges: int,
) -> Scene:
    """The picture by the effect that was asked for; where none of its edges is left, it says why."""
    drawn = as_asked(graph, *asked)
    scene = network_scene(drawn, title, seeds=_named(drawn, seeds), max_nodes=max_nodes, max_edges=max_edges)
    reason = none_left(graph, drawn)
    return replace(scene, notes=(*scene.notes, f"Nothing is drawn: {reason}.")) if reason else scene


def _named(graph: nx.DiGraph, features: Iterable[str]) -> list[str]:
    """Features by the nodes that stand for them: a member of a collapsed family by its family."""
    nodes = {member: node for node, data in graph.nodes(data=True) for member in str(data.get("members", "")).split()}
    return [nodes.get(feature, feature) for feature in features]


def _nearest(part: nx.DiGraph, node: str, limit: int) -> nx.DiGraph:
    """If there are too many, the features most strongly tied to ``node``, so that the centre keeps its own edges."""
    if len(part) <= limit or node not in part:
        return part
    tie = dict.fromkeys(part, 0.0)
    for u, v, data in [*part.in_edges(node, data=True), *part.out_edges(node, data=True)]:
        tie[v if u == node else u] = abs(edge_strength(data))
    kept = sorted(part, key=lambda m: (m != node, -tie[m]))[:limit]
    return nx.DiGraph(part.subgraph(kept))


def _written(path: Path, nodes: int, edges: int) -> Path:
    log.info("wrote %s (%d features, %d edges)", path, nodes, edges)
    return path
