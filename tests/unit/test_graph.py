from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.artifacts import InteractionSet
from feature_graph.config import Config
from feature_graph.graph import GraphFileError, build_interaction_graph, edge_strength, load_graph, restated, save_graph, scale, structural
from tests.strategies import interaction_graphs, interaction_sets, random_features, random_interactions


def same(a: Any, b: Any) -> bool:
    """Equality of values and types in which NaN equals NaN."""
    return type(a) is type(b) and (a == b or (a != a and b != b))


def assert_same_graph(a: nx.DiGraph, b: nx.DiGraph) -> None:
    assert list(a.nodes) == list(b.nodes)
    assert list(a.edges) == list(b.edges)
    parts = [(a.graph, b.graph), *((a.nodes[n], b.nodes[n]) for n in a), *((a.edges[e], b.edges[e]) for e in a.edges)]
    for x, y in parts:
        assert list(x) == list(y)
        assert all(same(x[k], y[k]) for k in x), [(k, x[k], y[k]) for k in x if not same(x[k], y[k])]


# --- build ---


@given(interaction_sets())
@settings(max_examples=25, deadline=None)
def test_edges_are_the_significant_results(interactions: InteractionSet) -> None:
    graph = build_interaction_graph(interactions)
    kept = [r for r in interactions if r.significant]
    assert {(r.src_id, r.tgt_id) for r in kept} == set(graph.edges)
    assert set(graph) == {i for r in kept for i in (r.src_id, r.tgt_id)}
    for r in kept:
        edge = graph.edges[r.src_id, r.tgt_id]
        assert edge["strength"] == (r.later_strength if r.significant_by == "later" else r.mean_strength)
        assert edge["weight"] == abs(edge["strength"])
        assert edge["sign"] == (edge["strength"] > 0) - (edge["strength"] < 0)
        assert (edge["total"], edge["direct"], edge["copy"], edge["q"]) == (r.mean_strength, r.direct_strength, r.copy_strength, r.q_value)
        assert edge["structural"] == (r.span == 1 or "direct" in r.significant_by)
    for _, data in graph.nodes(data=True):
        assert type(data["layer"]) is int
        assert data["label"] == ""


def test_a_list_of_results_gives_the_same_graph_as_the_set() -> None:
    interactions = random_interactions(seed=1)
    assert_same_graph(_without_facts(build_interaction_graph(interactions)), _without_facts(build_interaction_graph(list(interactions))))


def _without_facts(graph: nx.DiGraph) -> nx.DiGraph:
    graph.graph.clear()
    return graph


def test_a_later_only_edge_carries_its_later_strength() -> None:
    base = random_interactions(seed=2)[0]
    later = dataclasses.replace(
        base, significant=True, significant_by="later", mean_strength=0.001, abs_strength=0.001, later_strength=-0.4, span=2
    )
    graph = build_interaction_graph([later])
    edge = graph.edges[later.src_id, later.tgt_id]
    assert (edge["strength"], edge["kind"], edge["sign"], edge["structural"]) == (-0.4, "later", -1, False)


def test_features_give_labels() -> None:
    interactions = random_interactions(seed=3)
    features = random_features(interactions)
    graph = build_interaction_graph(interactions, features=features)
    row = features.set_index("id").loc[next(iter(graph))]
    node = graph.nodes[row.name]
    assert (node["label"], node["uid"], node["layer"], node["density"]) == (row["label"], row["uid"], row["layer"], row["density"])


def test_facts_come_from_the_results_then_from_the_configuration() -> None:
    interactions = random_interactions(seed=4)
    cfg = Config(model_name="elsewhere", significance_level=0.01)
    assert build_interaction_graph(interactions, cfg).graph["alpha"] == 0.05
    facts = build_interaction_graph(list(interactions), cfg).graph
    assert (facts["alpha"], facts["model"], facts["method"]) == (0.01, "elsewhere", "clamping")
    assert facts["scale"] == max(abs(r.direct_strength) for r in interactions if r.significant)


def test_one_edge_a_pair_prefers_clamping() -> None:
    clamped = random_interactions(seed=5)
    jacobian = [dataclasses.replace(r, method="jacobian", mean_strength=9.0) for r in clamped]
    both = [*clamped, *jacobian]
    assert build_interaction_graph(both).graph["method"] == "clamping"
    graph = build_interaction_graph(both, method="jacobian")
    assert {d["total"] for _, _, d in graph.edges(data=True)} == {9.0}
    assert build_interaction_graph(jacobian).graph["method"] == "jacobian"
    with pytest.raises(ValueError, match="method: got 'dowsing'; the interactions were measured by clamping, jacobian"):
        build_interaction_graph(both, method="dowsing")


def test_backward_and_double_results_are_refused() -> None:
    r = dataclasses.replace(random_interactions(seed=6)[0], significant=True)
    with pytest.raises(ValueError, match="must go to a later layer"):
        build_interaction_graph([dataclasses.replace(r, tgt_layer=r.src_layer)])
    with pytest.raises(ValueError, match="for one pair and method"):
        build_interaction_graph([r, r])


def test_nothing_significant_gives_an_empty_graph() -> None:
    for interactions in ([], random_interactions(n_edges=0), [r for r in random_interactions() if not r.significant]):
        graph = build_interaction_graph(interactions, Config())
        assert len(graph) == 0
        assert graph.graph["scale"] == 1.0


# --- views ---


def test_structural_keeps_all_nodes_and_leaves_the_graph_alone() -> None:
    graph = build_interaction_graph(random_interactions(n_edges=200, seed=7))
    before = graph.number_of_edges()
    view = structural(graph)
    assert set(view) == set(graph)
    assert {d["structural"] for _, _, d in view.edges(data=True)} == {True}
    assert 0 < view.number_of_edges() < before == graph.number_of_edges()
    for u, v, d in view.edges(data=True):
        assert d["strength"] == (graph.edges[u, v]["later"] if d["by"] == "later" else graph.edges[u, v]["direct"])
        assert d["weight"] == abs(d["strength"])


def test_restated_on_computed_strength() -> None:
    graph = build_interaction_graph(random_interactions(n_edges=200, seed=8))
    view = restated(graph, "computed")
    assert 0 < view.number_of_edges() < graph.number_of_edges()
    for u, v, d in view.edges(data=True):
        assert d["strength"] == graph.edges[u, v]["computed"]
        assert d["weight"] == abs(d["strength"]) >= d["floor"]
    with pytest.raises(ValueError, match="effect: got 'magic'"):
        restated(graph, "magic")  # type: ignore[arg-type]


def test_scale_makes_every_cost_non_negative() -> None:
    graph = build_interaction_graph(random_interactions(n_edges=100, seed=9))
    largest = scale(graph)
    assert all(abs(d["direct"]) <= largest for _, _, d in graph.edges(data=True))
    assert (edge_strength({}), edge_strength({"weight": 2}), edge_strength({"weight": 2, "strength": -3})) == (1.0, 2.0, -3.0)


# --- files ---


@settings(max_examples=25, deadline=None)
@given(graph=interaction_graphs())
@pytest.mark.parametrize("kind", ["graphml", "json"])
def test_round_trip_is_exact(kind: str, graph: nx.DiGraph, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("graph") / "new" / f"g.{kind}"
    save_graph(graph, path, format=kind)  # type: ignore[arg-type]
    assert_same_graph(load_graph(path), graph)


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(st.characters(codec=None), max_size=20),  # lone surrogates and control characters too
    number=st.floats(allow_nan=True, allow_infinity=False),
    whole=st.integers(-(2**62), 2**62),
)
@pytest.mark.parametrize("kind", ["graphml", "json"])
def test_any_text_and_number_round_trips(kind: str, text: str, number: float, whole: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = nx.DiGraph(note=text)
    graph.add_node("L0_F1", layer=0, label=text, x=number, yes=True)
    graph.add_node("L3_F2", layer=3, label="\\u0041 \r\n\t ]]> <b>", n=whole)
    graph.add_edge("L0_F1", "L3_F2", strength=number, note=text)
    path = tmp_path_factory.mktemp("graph") / f"g.{kind}"
    save_graph(graph, path)
    assert_same_graph(load_graph(path), graph)


def test_networkx_reads_our_graphml_and_json(tmp_path: Path) -> None:
    interactions = random_interactions(seed=10)
    graph = build_interaction_graph(interactions, features=random_features(interactions))
    theirs = nx.read_graphml(save_graph(graph, tmp_path / "g.graphml"))
    assert set(theirs.edges) == set(graph.edges)
    assert {n: d["layer"] for n, d in theirs.nodes(data=True)} == {n: d["layer"] for n, d in graph.nodes(data=True)}
    assert {e: theirs.edges[e]["strength"] for e in theirs.edges} == {e: graph.edges[e]["strength"] for e in graph.edges}
    data = json.loads(save_graph(graph, tmp_path / "g.json").read_text(encoding="utf-8"))
    assert set(nx.node_link_graph(data, edges="edges").edges) == set(graph.edges)


def test_graphs_made_elsewhere_are_read(tmp_path: Path) -> None:
    made = nx.DiGraph()
    made.add_edge("L2_F7", "other", weight=2.5)
    nx.write_graphml(made, tmp_path / "g.graphml")
    graph = load_graph(tmp_path / "g.graphml")
    assert dict(graph.nodes(data=True)) == {"L2_F7": {"label": "", "layer": 2}, "other": {"label": "", "layer": 0}}
    assert graph.edges["L2_F7", "other"]["weight"] == 2.5


def test_files_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    cases = {
        "missing.json": (None, "no such file"),
        "half.json": ('{"directed": true, "no', "not a readable json graph"),
        "list.json": ("[1]", "node-link JSON"),
        "half.graphml": ("<graphml><graph>", "not a readable graphml graph"),
        "page.graphml": ("<html><body/></html>", "no GraphML"),
        "undirected.graphml": ('<graphml><graph edgedefault="undirected"/></graphml>', "undirected"),
        "later.json": ('{"directed": true, "graph": {"kind": "interaction_graph", "version": 99}, "nodes": [], "edges": []}', "version 99"),
    }
    for name, (text, message) in cases.items():
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(GraphFileError, match=message):
            load_graph(tmp_path / name)
    with pytest.raises(ValueError, match="expected graphml or json"):
        save_graph(nx.DiGraph(), tmp_path / "g.dot")
    graph = nx.DiGraph()
    graph.add_node("a", label=None)
    with pytest.raises(ValueError, match="node a attribute 'label': got NoneType"):
        save_graph(graph, tmp_path / "g.json")
    assert not list(tmp_path.glob("g.*"))
