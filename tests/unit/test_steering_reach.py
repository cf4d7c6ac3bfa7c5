"""What lies between two features and how far one reaches, however deep the graph: against lists of all paths."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from feature_graph.steering import NO_INTERVALS, SteeringError, between, predict_cascade, reach

SITES, WIDTH = 12, 2


def deep() -> nx.DiGraph:
    """Twelve sites of two features: eleven edges from the first to the last, where templates follow six."""
    rng, graph = np.random.default_rng(5), nx.DiGraph()
    names = [f"L{i // WIDTH}_F{i % WIDTH}" for i in range(SITES * WIDTH)]
    graph.add_nodes_from((name, {"layer": i // WIDTH, "label": f"label {name}"}) for i, name in enumerate(names))
    for a, b in itertools.product(range(len(names)), repeat=2):
        span = b // WIDTH - a // WIDTH
        if span == 1 or (span == 2 and rng.random() < 0.3):
            weight = float(rng.normal())
            graph.add_edge(names[a], names[b], direct=weight, strength=weight, span=span, structural=True)
    return graph


def test_between_equals_the_list_of_all_paths() -> None:
    graph = deep()
    source, target = "L0_F0", f"L{SITES - 1}_F1"
    paths = [
        (path, float(np.prod([graph.edges[e]["direct"] for e in itertools.pairwise(path)])))
        for path in nx.all_simple_paths(graph, source, target)
    ]
    assert max(len(path) for path, _ in paths) == SITES
    whole = sum(effect for _, effect in paths)
    found = between(graph, source, target).set_index("id")
    assert set(found.index) == {node for path, _ in paths for node in path[1:-1]}
    for node, row in found.iterrows():
        mine = [effect for path, effect in paths if node in path]
        assert (row["paths"], row["bottleneck"]) == (len(mine), len(mine) == len(paths))
        assert row["effect"] == pytest.approx(sum(mine))
        assert row["share"] == pytest.approx(sum(mine) / whole)
    assert found["effect"].abs().is_monotonic_decreasing
    assert predict_cascade(graph, source, 1.0, n_hops=1, uncertainty=NO_INTERVALS, min_effect=0).effects[target] == pytest.approx(whole)
    assert between(graph, target, source).empty
    strong = between(graph, source, target, min_strength=0.5)
    assert set(strong["id"]) <= set(found.index)


def test_reach_goes_to_the_end_in_both_directions() -> None:
    graph = deep()
    for feature, direction, view in (("L0_F0", "downstream", graph), (f"L{SITES - 1}_F0", "upstream", graph.reverse())):
        found = reach(graph, feature, direction)  # type: ignore[arg-type]
        distances = nx.single_source_shortest_path_length(view, feature)
        assert found["hops"].max() == max(distances.values()) > 5
        assert [set(names) for names in found["features"]] == [{n for n, d in distances.items() if d == hops} for hops in found["hops"]]
        assert found["share"].iloc[-1] == pytest.approx((len(distances) - 1) / len(graph))
    graph.edges["L0_F0", "L1_F0"]["structural"] = graph.edges["L0_F0", "L1_F1"]["structural"] = False
    assert reach(graph, "L0_F0", edges="all")["count"].iloc[0] > len(reach(graph, "L0_F0")["features"].iloc[:1].sum() or [])


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(SteeringError, match="source: 'L0_F9' is not among the 24 features of the graph; near: L0_F1"):
        between(deep(), "L0_F9", "L3_F0")
    with pytest.raises(SteeringError, match="direction: got 'back', expected downstream or upstream"):
        reach(deep(), "L0_F0", "back")  # type: ignore[arg-type]
