from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.graph import build_interaction_graph, restated, structural
from feature_graph.visualization import (
    network_scene,
    plot_copy_share,
    plot_degree_distribution,
    plot_interaction_type_breakdown,
    plot_layer_distance_decay,
    plot_layer_matrix,
    plot_strengths,
    render_cascade_overlay,
    render_interactive_graph,
    render_neighborhood,
    render_static_graph,
)
from feature_graph.visualization.cascade import cascade_scene
from feature_graph.visualization.layout import layered_layout
from feature_graph.visualization.network import network_figure
from feature_graph.visualization.scene import LABEL_SIZE, select
from feature_graph.visualization.style import EXCITES, INHIBITS, OPPOSES, PASSES, layer_colors, number, short_label
from tests.strategies import interaction_graphs, random_features, random_interactions

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
FIGURES = [
    plot_copy_share,
    plot_degree_distribution,
    plot_interaction_type_breakdown,
    plot_layer_distance_decay,
    plot_layer_matrix,
    plot_strengths,
]


@pytest.fixture(scope="module")
def graph() -> nx.DiGraph:
    interactions = random_interactions(5, 15, 200, seed=1)
    return build_interaction_graph(interactions, features=random_features(interactions))


def payload(page: Path) -> dict:
    found = re.search(r'<script type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert found is not None
    return json.loads(found[1])


# --- layout ---


@settings(max_examples=15, deadline=None)
@given(interaction_graphs())
def test_layout_is_layered_inside_and_never_on_top_of_another(graph: nx.DiGraph) -> None:
    layout = layered_layout(graph)
    assert set(layout.x) == set(layout.y) == set(graph)
    for u, v in graph.edges:
        assert layout.x[u] < layout.x[v]
    for n in graph:
        assert layout.x[n] == layout.columns[f"layer {graph.nodes[n]['layer']}"]
        assert 0 < layout.x[n] < layout.width
        assert 0 < layout.y[n] < layout.height
    for layer in layout.columns:
        heights = sorted(layout.y[n] for n in graph if graph.nodes[n]["layer"] == layer)
        assert all(b - a >= 8 for a, b in pairwise(heights))
    assert layered_layout(graph) == layout


def test_layout_untangles_crossed_pairs() -> None:
    """Six parallel lines whose ends are given in reverse order can be drawn without a crossing."""
    graph = nx.DiGraph()
    for i in range(6):
        graph.add_node(f"L0_F{i}", layer=0)
    for i in range(6):
        graph.add_node(f"L1_F{i}", layer=1)
        graph.add_edge(f"L0_F{5 - i}", f"L1_F{i}", strength=1.0)
    y = layered_layout(graph).y
    assert crossings(graph, y) == 0


def crossings(graph: nx.DiGraph, y: dict[str, float]) -> int:
    """Crossings of edges that run between the same two layers."""
    layer = nx.get_node_attributes(graph, "layer")
    pairs = [((a, b), (c, d)) for (a, b), (c, d) in combinations(graph.edges, 2) if (layer[a], layer[b]) == (layer[c], layer[d])]
    return sum((y[a] - y[c]) * (y[b] - y[d]) < 0 for (a, b), (c, d) in pairs)


def test_layout_has_fewer_crossings_than_the_given_order(graph: nx.DiGraph) -> None:
    part = structural(graph).edge_subgraph([(u, v) for u, v, d in graph.edges(data=True) if d["span"] == 1])
    given_order = {n: i for i, n in enumerate(graph)}
    assert crossings(part, layered_layout(graph).y) < 0.8 * crossings(part, given_order)


# --- scene ---


def test_scene_shows_sign_strength_and_degree(graph: nx.DiGraph) -> None:
    scene = network_scene(graph, "T")
    assert {n.id for n in scene.nodes} == set(graph)
    assert len(scene.edges) == graph.number_of_edges()
    for e in scene.edges:
        data = graph.edges[scene.nodes[e.source].id, scene.nodes[e.target].id]
        by_type = {"pass_through": PASSES, "attenuates_copy": OPPOSES, "erases_copy": OPPOSES}
        expected = by_type.get(data["type"], EXCITES if data["strength"] > 0 else INHIBITS)
        assert (e.strength, e.color, e.dashed) == (data["strength"], expected, data["kind"] == "later")
    widths = [e.width for e in scene.edges]
    assert widths == sorted(widths)
    kept = nx.DiGraph([(u, v) for u, v, d in graph.edges(data=True) if d["structural"]])
    kept.add_nodes_from(graph)
    by_degree = sorted(scene.nodes, key=lambda n: kept.degree(n.id))
    facts = {n.id: n.facts for n in scene.nodes}
    assert all(f"drives {kept.out_degree(n)} · driven by {kept.in_degree(n)}" in facts[n][0] for n in graph)
    more = {n: graph.degree(n) - kept.degree(n) for n in graph}
    assert any(more.values())
    assert all(any(f"{more[n]} more edges" in fact for fact in facts[n]) == (more[n] > 0) for n in graph)
    assert all(a.radius <= b.radius for a, b in pairwise(by_degree))


@settings(max_examples=20, deadline=None)
@given(interaction_graphs(max_features=12, max_edges=120))
def test_labels_never_overlap(graph: nx.DiGraph) -> None:
    labels = network_scene(graph, "").labels
    boxes = [(t.x, t.y - 7, t.x + len(t.text) * LABEL_SIZE * 0.56, t.y + 7) for t in labels]
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_limits_keep_the_strongest_and_say_what_is_missing(graph: nx.DiGraph) -> None:
    part, notes = select(graph, max_nodes=400, max_edges=20)
    sizes = sorted((abs(d["strength"]) for *_, d in graph.edges(data=True)), reverse=True)
    assert sorted((abs(d["strength"]) for *_, d in part.edges(data=True)), reverse=True) == sizes[:20]
    assert f"{graph.number_of_edges() - 20} of {graph.number_of_edges()} edges" in notes[0]
    few, _ = select(graph, max_nodes=7, max_edges=1500, keep=[list(graph)[-1], "L9_F9"])
    assert len(few) <= 7
    assert list(graph)[-1] in few
    assert select(graph) == (graph, ())
    with pytest.raises(ValueError, match="max_nodes and max_edges: got 0 and 5"):
        select(graph, 0, 5)


def test_words_and_colours() -> None:
    assert short_label("Paris, Rome: the capital of «Paris»") == "Paris, Rome"
    assert short_label("a very long label indeed, far too long for a picture", 12) == "a very long…"
    assert [number(x) for x in (0.12345, -2.0, math.nan, None)] == ["0.123", "−2", "–", "–"]
    assert list(layer_colors([8, 0, 4])) == [0, 4, 8]
    assert len(set(layer_colors(range(12)).values())) == 12


# --- interactive pages ---


def test_figure_has_every_edge_as_a_curve_between_its_ends(graph: nx.DiGraph) -> None:
    scene = network_scene(graph, "T")
    figure = network_figure(scene)
    groups = [t for t in figure.data if t.meta["role"] == "edges"]
    assert sorted(m for t in groups for m in t.meta["members"]) == list(range(len(scene.edges)))
    for trace in groups:
        breaks = [-1, *(i for i, x in enumerate(trace.x) if x is None)]
        for member, (a, b) in zip(trace.meta["members"], pairwise(breaks), strict=True):
            edge = scene.edges[member]
            source, target = scene.nodes[edge.source], scene.nodes[edge.target]
            assert (trace.x[a + 1], trace.y[a + 1]) == pytest.approx((source.x, source.y), abs=0.1)
            assert (trace.x[b - 1], trace.y[b - 1]) == pytest.approx((target.x, target.y), abs=0.1)
            assert trace.line.color == edge.color
    nodes = next(t for t in figure.data if t.meta["role"] == "nodes")
    assert list(nodes.ids) == [n.id for n in scene.nodes]


def test_page_stands_alone_and_carries_the_graph(graph: nx.DiGraph, tmp_path: Path) -> None:
    page = render_interactive_graph(graph, tmp_path / "new" / "g.html", title="My graph", seed_nodes=[next(iter(graph)), "L9_F9"])
    text = page.read_text(encoding="utf-8")
    assert "<h1>My graph</h1>" in text
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="?(https?:)?//', text)
    data = payload(page)
    assert {n["id"] for n in data["nodes"]} == set(graph)
    drawn = restated(graph, "specific")
    assert 0 < len(data["edges"]) == drawn.number_of_edges() < graph.number_of_edges()
    assert f"{drawn.number_of_edges():,} edges, by their specific effect" in text
    assert [n["id"] for n in data["nodes"] if n["seed"]] == [next(iter(graph))]


def test_drawing_library_can_lie_beside_many_pages(graph: nx.DiGraph, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        render_interactive_graph(graph, tmp_path / name, plotlyjs="directory")
    assert {p.name for p in tmp_path.iterdir()} == {"a.html", "b.html", "plotly.min.js"}
    assert (tmp_path / "a.html").stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="plotlyjs: got 'cdn', expected inline or directory"):
        render_interactive_graph(graph, tmp_path / "c.html", plotlyjs="cdn")  # type: ignore[arg-type]


def test_labels_and_titles_cannot_run(graph: nx.DiGraph, tmp_path: Path) -> None:
    evil = graph.copy()
    for n in evil:
        evil.nodes[n]["label"] = EVIL
        evil.nodes[n]["neuronpedia_url"] = "javascript:alert(1)"
    hub = max(evil, key=evil.degree)
    pages = [tmp_path / f"{i}.html" for i in range(3)]
    render_interactive_graph(evil, pages[0], title=EVIL, seed_nodes=[EVIL], plotlyjs="directory")
    render_neighborhood(evil, hub, output_path=pages[1], plotlyjs="directory")
    render_cascade_overlay(evil, Toy(hub, 1.0, dict.fromkeys(evil.successors(hub), 0.5)), pages[2], title=EVIL, plotlyjs="directory")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img" not in text
        assert any(n["label"].startswith("<script>") or EVIL[:8] in n["label"] for n in payload(page)["nodes"])
    figure = network_figure(network_scene(evil, "T"))
    words = [a.text for a in figure.layout.annotations] + [
        t for trace in figure.data if trace.hovertext is not None for t in trace.hovertext
    ]
    assert words
    assert not any("<script" in w or "<img" in w for w in words)
    svg = render_static_graph(evil, tmp_path / "g.svg", EVIL).read_text(encoding="utf-8")
    assert not any(e.tag.endswith(("script", "img")) for e in ET.fromstring(svg).iter())


def test_empty_graph_gives_a_page_that_says_so(tmp_path: Path) -> None:
    for i, page in enumerate(
        [
            render_interactive_graph(nx.DiGraph(), tmp_path / "0.html", seed_nodes=["L0_F1"], plotlyjs="directory"),
            render_cascade_overlay(nx.DiGraph(), Toy("L0_F1", 1.0), tmp_path / "1.html", plotlyjs="directory"),
        ]
    ):
        text = page.read_text(encoding="utf-8")
        assert ("Nothing to draw" in text, '<script type="application/json">' in text) == (True, False), i
    assert len(render_neighborhood(nx.DiGraph(), "L0_F1", output_path=tmp_path / "2.html")) == 0
    assert "no features" in render_static_graph(nx.DiGraph(), tmp_path / "g.svg").read_text(encoding="utf-8")
    assert all(plot(nx.DiGraph()) is None for plot in FIGURES)


# --- neighbourhoods, static pictures ---


def test_neighbourhood_is_what_lies_within_the_hops(graph: nx.DiGraph, tmp_path: Path) -> None:
    hub = max(graph, key=graph.degree)
    undirected = graph.to_undirected()
    for hops in (0, 1, 2):
        part = render_neighborhood(graph, hub, n_hops=hops, output_path=tmp_path / f"{hops}.html", plotlyjs="directory")
        assert set(part) == set(nx.single_source_shortest_path_length(undirected, hub, cutoff=hops))
        assert set(part.edges) == {(u, v) for u, v in graph.edges if u in part and v in part}
    assert [n["id"] for n in payload(tmp_path / "1.html")["nodes"] if n["seed"]] == [hub]
    assert render_neighborhood(graph, hub).number_of_edges() >= graph.degree(hub)
    crowded = render_neighborhood(graph, hub, 2, tmp_path / "few.html", max_nodes=5, plotlyjs="directory")
    assert len(crowded) > 5
    assert hub in {n["id"] for n in payload(tmp_path / "few.html")["nodes"]}
    with pytest.raises(ValueError, match="n_hops: got -1"):
        render_neighborhood(graph, hub, -1)


def test_static_picture_has_every_mark(graph: nx.DiGraph, tmp_path: Path) -> None:
    root = ET.parse(render_static_graph(graph, tmp_path / "g.svg", "A title & more", seed_nodes=[next(iter(graph))])).getroot()
    tags = [e.tag.rpartition("}")[2] for e in root.iter()]
    assert tags.count("title") == len(graph)
    assert tags.count("circle") == len(graph) + 1
    assert tags.count("path") >= restated(graph, "specific").number_of_edges()


# --- cascades ---


@dataclass(frozen=True)
class ToyPath:
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Toy:
    """A cascade as steering gives it."""

    source: str
    steer_delta: float
    effects: dict[str, float] = field(default_factory=dict)
    hops: dict[str, int] = field(default_factory=dict)
    paths: tuple[ToyPath, ...] = ()
    n_hops: int = 9


def chain() -> nx.DiGraph:
    graph = nx.DiGraph()
    for i, name in enumerate("abcd"):
        graph.add_node(name, layer=i, label=f"label {name}")
    for u, v, strength, span in [("a", "b", 0.5, 1), ("b", "c", -1.0, 1), ("a", "c", 9.0, 2), ("c", "d", 0.1, 1)]:
        graph.add_edge(u, v, strength=strength, weight=abs(strength), direct=strength, span=span, structural=span == 1, by="total")
    return graph


def test_cascade_shows_the_change_along_its_paths() -> None:
    cascade = Toy(
        "a", 2.0, {"b": 1.0, "c": -1.0, "gone": 3.0}, {"b": 1, "c": 2, "gone": 3}, (ToyPath(("a", "b", "c")), ToyPath(("a", "b")))
    )
    scene = cascade_scene(chain(), cascade)
    marks = {n.id: n for n in scene.nodes}
    assert set(marks) == {"a", "b", "c"}
    assert (marks["b"].color, marks["c"].color, marks["a"].seed) == (EXCITES, INHIBITS, True)
    assert {(scene.nodes[e.source].id, scene.nodes[e.target].id) for e in scene.edges} == {("a", "b"), ("b", "c")}
    assert "+1" in " ".join(t.text for t in scene.labels)
    assert "Steering a by +2" in scene.title
    near = cascade_scene(chain(), replace(cascade, n_hops=1))
    assert {n.id for n in near.nodes} == {"a", "b"}
    assert "1 of them is more than 1 edge away and not drawn." in near.notes
    without_paths = cascade_scene(chain(), Toy("a", 2.0, {"b": 1.0, "c": -1.0}, {"b": 1, "c": 2}))
    assert len(without_paths.edges) == 2


def test_cascade_of_steering_is_drawn(graph: nx.DiGraph, tmp_path: Path) -> None:
    from feature_graph.steering import predict_cascade

    hub = max(graph, key=graph.out_degree)
    cascade = predict_cascade(graph, hub, steer_delta=2.0, n_hops=2)
    page = render_cascade_overlay(graph, cascade, tmp_path / "c.html", plotlyjs="directory")
    assert {n["id"] for n in payload(page)["nodes"]} == {hub, *(n for n, hop in cascade.hops.items() if hop <= 2)}
    nothing = render_cascade_overlay(graph, Toy(hub, 2.0), tmp_path / "n.html", plotlyjs="directory")
    assert "Nothing is reached" in nothing.read_text(encoding="utf-8")


# --- figures ---


def test_figures_show_the_counts(graph: nx.DiGraph) -> None:
    edges = graph.number_of_edges()
    matrix = plot_layer_matrix(graph)
    assert np.nansum(matrix.data[0].z) == edges
    strengths = plot_strengths(graph)
    assert sum(sum(t.y) for t in strengths.data) == edges
    types = plot_interaction_type_breakdown(graph)
    assert sum(sum(t.x) for t in types.data) == edges
    decay = plot_layer_distance_decay(graph)
    assert [t.median[0] for t in decay.data] == [
        float(np.median([abs(d["strength"]) for *_, d in graph.edges(data=True) if d["span"] == s])) for s in (1, 2)
    ]
    out = plot_degree_distribution(graph).data[0]
    kept = nx.DiGraph([(u, v) for u, v, d in graph.edges(data=True) if d["structural"]])
    assert list(out.y) == [sum(d >= k for _, d in kept.out_degree()) for k in out.x]
    copies = plot_copy_share(graph).data[-1]
    assert len(copies.x) == edges


@settings(max_examples=15, deadline=None)
@given(interaction_graphs(), st.sampled_from(FIGURES))
def test_figures_take_any_graph(graph: nx.DiGraph, plot: object) -> None:
    figure = plot(graph)  # type: ignore[operator]
    assert (figure is None) == (graph.number_of_edges() == 0)
    bare = nx.DiGraph(graph.edges)
    assert plot(bare) is None or bare.number_of_edges()  # type: ignore[operator]
