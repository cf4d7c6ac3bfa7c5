"""What is drawn: marks with places, colours and words, before any drawing library is involved.

The same scene becomes an interactive page (``network``) or a static picture (``svg``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import networkx as nx

from feature_graph.artifacts import site_sequence
from feature_graph.graph import edge_strength, effect_of, interval, is_structural, standardised, structural_degrees
from feature_graph.visualization.errors import VisualizationError
from feature_graph.visualization.layout import Layout, Margins, layered_layout
from feature_graph.visualization.style import edge_color, layer_colors, number, short_label
from ingest import counted

MAX_NODES, MAX_EDGES, MAX_LABELS = 400, 1500, 36
LABEL_SIZE = 11.0
_CHARACTER = 0.56


@dataclass(frozen=True)
class NodeMark:
    """One feature: place, radius and colour in pixels; ``facts`` are the lines shown when it is pointed at.

    A twin is a second, ringed circle to its right, for a second value of the same kind; radius 0 is none.
    """

    id: str
    x: float
    y: float
    radius: float
    color: str
    label: str
    layer: int
    url: str = ""
    seed: bool = False
    facts: tuple[str, ...] = ()
    twin_radius: float = 0.0
    twin_color: str = ""

    @property
    def twin_x(self) -> float:
        """Middle of the twin."""
        return self.x + self.radius + self.twin_radius + 1.5


@dataclass(frozen=True)
class EdgeMark:
    """One edge between two node marks, by their numbers; dashed if it acts only on later positions."""

    source: int
    target: int
    strength: float
    width: float
    color: str
    opacity: float
    dashed: bool = False
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextMark:
    """A line of text beginning at (x, y) for anchor start, ending there for anchor end; y is its middle."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Scene:
    """A whole picture.

    Attributes:
        title: Heading.
        notes: Sentences under it: what is shown, what was left out.
        width: Pixels.
        height: Pixels.
        nodes: Features.
        edges: Edges, weakest first, so that strong ones lie on top.
        labels: Names of the most connected features, none overlapping another.
        columns: Headings of the columns.
        seed_name: What a ringed feature is.
    """

    title: str
    notes: tuple[str, ...]
    width: float
    height: float
    nodes: tuple[NodeMark, ...] = ()
    edges: tuple[EdgeMark, ...] = ()
    labels: tuple[TextMark, ...] = ()
    columns: tuple[TextMark, ...] = field(default=())
    seed_name: str = "seed feature"


def select(
    graph: nx.DiGraph, max_nodes: int = MAX_NODES, max_edges: int = MAX_EDGES, keep: Collection[str] = ()
) -> tuple[nx.DiGraph, tuple[str, ...]]:
    """The part of a graph that can be drawn legibly, and a note on what was left out.

    The strongest edges are kept, taken in order of |strength| while their features fit; features in ``keep`` stay whatever their edges.

    Raises:
        VisualizationError: If a limit is below 1.
    """
    if max_nodes < 1 or max_edges < 1:
        raise VisualizationError(f"max_nodes and max_edges: got {max_nodes} and {max_edges}, expected 1 or more")
    if len(graph) <= max_nodes and graph.number_of_edges() <= max_edges:
        return graph, ()
    nodes = {n for n in keep if n in graph}
    edges: list[tuple[str, str]] = []
    for u, v, _ in sorted(graph.edges(data=True), key=lambda e: -abs(edge_strength(e[2]))):
        if len(edges) == max_edges:
            break
        if len(nodes | {u, v}) <= max_nodes:
            nodes |= {u, v}
            edges.append((u, v))
    part: nx.DiGraph = nx.DiGraph(**graph.graph)
    part.add_nodes_from((n, graph.nodes[n]) for n in graph if n in nodes)
    part.add_edges_from((u, v, graph.edges[u, v]) for u, v in edges)
    return part, (_left_out(graph, part),)


def network_scene(
    graph: nx.DiGraph,
    title: str,
    *,
    seeds: Iterable[str] = (),
    max_nodes: int = MAX_NODES,
    max_edges: int = MAX_EDGES,
    frame: Margins | None = None,
    seed_name: str = "seed feature",
) -> Scene:
    """The layered picture of a graph: columns are layers, circles grow with degree, lines are coloured by sign and grow with |strength|.

    Where a layer has several sites, columns are sites. The degree of a feature is its number of structural edges (without an analysed site
    in between, or with a significant direct effect); totals over several sites are drawn, and counted apart.

    Ids in ``seeds`` that are not in the graph are ignored.
    """
    seeded = {s for s in seeds if s in graph}
    part, notes = select(graph, max_nodes, max_edges, seeded)
    layout = layered_layout(part, frame, site_sequence(graph))
    nodes = node_marks(part, layout, seeded, graph)
    first = (
        f"{counted(len(part), 'feature')}, {counted(part.number_of_edges(), 'edge')}{_stated(part)}"
        if len(part)
        else "The graph has no features: no interaction was significant."
    )
    return Scene(
        title=title,
        notes=(first, *notes, *_not_onward(part, layout)),
        width=layout.width,
        height=layout.height,
        nodes=nodes,
        edges=edge_marks(part, {n.id: i for i, n in enumerate(nodes)}),
        labels=place_labels(nodes, layout, _by_importance(nodes)),
        columns=column_marks(layout),
        seed_name=seed_name,
    )


def _not_onward(part: nx.DiGraph, layout: Layout) -> tuple[str, ...]:
    """What an edge within a column or backward means; none is drawn unless copy families are collapsed."""
    place = layout.sites.place
    n = sum(place[v] <= place[u] for u, v in part.edges if "members" in part.nodes[v])
    meaning = "a later member of a copy family, which is drawn where its first member is, so that a line runs within a column or backward."
    return (f"{n:,} edge{'s end' if n > 1 else ' ends'} at {meaning}",) if n else ()


def node_marks(part: nx.DiGraph, layout: Layout, seeds: Collection[str], whole: nx.DiGraph) -> tuple[NodeMark, ...]:
    """One mark per feature of ``part``; degrees are those of the whole graph, over its structural edges."""
    sites = layout.sites
    colors = layer_colors([sites.place[node] for node in part])
    degrees = structural_degrees(whole)
    most = max((sum(degrees[n]) for n in part), default=1) or 1
    marks = []
    for node, data in part.nodes(data=True):
        causes, effects = degrees[node]
        where = f"site {sites.names[sites.place[node]]}" if sites.several else f"layer {data.get('layer', 0)}"
        facts = [f"{where} · drives {effects} · driven by {causes}"]
        if family := str(data.get("members", "")).split():
            facts.append(f"a copy family of {len(family)} features, layers {data.get('layer', 0)} to {data['last_layer']}")
        if others := whole.degree(node) - causes - effects:
            facts.append(f"{others} more edges that are totals over several sites")
        if "density" in data:
            facts.append(f"active at {number(100 * data['density'])} % of tokens")
        marks.append(
            NodeMark(
                id=str(node),
                x=layout.x[node],
                y=layout.y[node],
                radius=3.2 + 7.5 * ((causes + effects) / most) ** 0.6,
                color=colors[sites.place[node]],
                label=str(data.get("label", "")),
                layer=data.get("layer", 0),
                url=str(data.get("neuronpedia_url", "")),
                seed=node in seeds,
                facts=tuple(facts),
            )
        )
    return tuple(marks)


def edge_marks(part: nx.DiGraph, number_of: dict[str, int]) -> tuple[EdgeMark, ...]:
    """One mark per edge, weakest first; widths by the square root of |strength| against the strongest."""
    strongest = max((abs(edge_strength(d)) for *_, d in part.edges(data=True)), default=1.0) or 1.0
    crowding = min(1.0, (150 / max(part.number_of_edges(), 1)) ** 0.4)
    marks = []
    for u, v, data in part.edges(data=True):
        strength = edge_strength(data)
        share = (abs(strength) / strongest) ** 0.5
        marks.append(
            EdgeMark(
                source=number_of[str(u)],
                target=number_of[str(v)],
                strength=strength,
                width=0.5 + 4.0 * share,
                color=edge_color(data, strength),
                opacity=round((0.22 + 0.6 * share) * crowding + 0.12 * share, 3),
                dashed=data.get("kind") == "later",
                facts=edge_facts(data, strength),
            )
        )
    return tuple(sorted(marks, key=lambda e: abs(e.strength)))


def edge_facts(data: dict[str, Any], strength: float) -> tuple[str, ...]:
    """What is known of an edge, in lines."""
    facts = [f"strength {number(strength)} target units per source unit" + (" on later positions" if data.get("kind") == "later" else "")]
    if (between := interval(data)) is not None:
        facts[0] += f" (95 % interval: {number(between[0])} … {number(between[1])})"
    if (size := standardised(data)) == size:
        facts.append(f"{number(size)} standard deviations of the target for the source's whole clamp")
    if not is_structural(data):
        facts.append("total over several sites, not structural")
    if "q" in data:
        facts.append(f"q {number(data['q'], 2)} · {data.get('by', '').replace('+', ', ')} · n {data.get('n', 0)}")
    if "copy" in data:
        facts.append(f"copied {number(data['copy'])} · computed {number(data.get('computed'))} · span {data.get('span', 1)}")
    return tuple(facts)


def place_labels(nodes: Sequence[NodeMark], layout: Layout, order: Iterable[int], limit: int = MAX_LABELS) -> tuple[TextMark, ...]:
    """Names for the first nodes of ``order`` beside their circles, left out where they would lie over another name or a larger circle."""
    boxes: list[tuple[float, float, float, float]] = []
    placed: list[TextMark] = []
    gap = min((b - a for a, b in pairwise(sorted(layout.columns.values()))), default=400.0)
    width = int(max(min(gap - 34, 210), 70) / (LABEL_SIZE * _CHARACTER))
    for i in order:
        if len(placed) == limit:
            break
        node = nodes[i]
        text = short_label(node.label, width) or node.id
        long = len(text) * LABEL_SIZE * _CHARACTER
        box = (node.x + node.radius + 4, node.y - 7, node.x + node.radius + 4 + long, node.y + 7)
        if not any(_overlap(box, other) for other in boxes):
            boxes.append(box)
            placed.append(TextMark(box[0], node.y, text))
    return tuple(placed)


def column_marks(layout: Layout) -> tuple[TextMark, ...]:
    """One heading per column."""
    return tuple(TextMark(x, 22, heading, "middle") for heading, x in layout.columns.items())


def _by_importance(nodes: Sequence[NodeMark]) -> list[int]:
    return sorted(range(len(nodes)), key=lambda i: (not nodes[i].seed, -nodes[i].radius, nodes[i].layer, nodes[i].id))


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _stated(graph: nx.DiGraph) -> str:
    """Which effect is drawn, where it is not the edges' own strength."""
    return "" if (effect := effect_of(graph)) == "strength" else f", by their {effect} effect"


def _left_out(graph: nx.DiGraph, part: nx.DiGraph) -> str:
    nodes, edges = len(graph) - len(part), graph.number_of_edges() - part.number_of_edges()
    weakest = min((abs(edge_strength(d)) for *_, d in part.edges(data=True)), default=0.0)
    return (
        f"Shown are the strongest edges (|strength| from {number(weakest)}); {edges:,} of {graph.number_of_edges():,} edges and "
        f"{nodes:,} of {len(graph):,} features are left out of the picture, not of the graph."
    )
