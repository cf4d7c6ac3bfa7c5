"""Where dictionaries sit on components, sums over paths count each influence once: they are the total effects."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from feature_graph.graph import PassedSites
from feature_graph.steering import NO_INTERVALS, DirectEffects, between, predict_cascade
from tests.support.one_token import effects_at_a_token, graph_of, site_codecs, tiny_model

#: Dictionaries on each block, and those of which paths lead through features.
SETTINGS = {
    "transcoders": (("", "attn", "tc"), "tc"),
    "MLP outputs": (("mid", "attn", "mlp"), "mlp"),
    "MLP inputs": (("", "attn", "mlpin"), "mlpin"),
    "three on an MLP": (("", "mlpin", "mlp", "tc"), "tc"),
}
CASES = [(name, parallel) for name in SETTINGS for parallel in (False, True) if not (parallel and name == "MLP outputs")]


def path_sums(graph: nx.DiGraph) -> dict[tuple[str, str], float]:
    effects = DirectEffects.of(graph)
    found = {}
    for source in graph:
        forecast = predict_cascade(effects, source, 1.0, min_effect=0, top_paths=0, uncertainty=NO_INTERVALS)
        found |= {(source, target): value for target, value in forecast.effects.items()}
    return found


def largest_error(frame: pd.DataFrame, sums: dict[tuple[str, str], float]) -> float:
    return max(abs(row.total - sums.get((row.source, row.target), 0.0)) for row in frame.itertuples())


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}{', parallel' if case[1] else ''}")
def measured(request: pytest.FixtureRequest) -> tuple[pd.DataFrame, str]:
    (name, parallel) = request.param
    parts, passed = SETTINGS[name]
    model = tiny_model(parallel)
    return effects_at_a_token(model, site_codecs(model, parts)), passed


def test_sums_over_paths_are_the_total_effects(measured: tuple[pd.DataFrame, str]) -> None:
    frame, passed = measured
    graph = graph_of(frame)
    assert PassedSites.of(graph).names == {f"L1.{passed}", f"L2.{passed}"}
    assert frame["total"].abs().max() > 1
    assert (frame["total"] - frame["direct"]).abs().max() > 0.3
    assert largest_error(frame, path_sums(graph)) < 1e-6  # dictionaries are float32
    everywhere = graph.copy()
    everywhere.graph["method"] = "attribution"  # of another program, which holds every feature in between
    assert largest_error(frame, path_sums(everywhere)) > 1


def test_what_lies_between_and_the_best_paths_follow_the_same_rule(measured: tuple[pd.DataFrame, str]) -> None:
    frame, passed = measured
    graph = graph_of(frame)
    source = next(n for n in graph if n.startswith("L0_"))
    target = frame.loc[frame["target"].str.startswith("L2"), "target"].iloc[-1]
    whole = [
        (tuple(path), float(np.prod([graph.edges[step]["direct"] for step in itertools.pairwise(path)])))
        for path in nx.all_simple_paths(graph, source, target)
        if all(node.partition("_F")[0].endswith(f".{passed}") for node in path[1:-1])
    ]
    rows = between(graph, source, target).set_index("id")
    assert set(rows.index) == {node for path, _ in whole for node in path[1:-1]}
    for node, row in rows.iterrows():
        mine = [effect for path, effect in whole if node in path]
        assert (row["effect"], row["paths"]) == (pytest.approx(sum(mine), abs=1e-12), len(mine))
        assert row["share"] == pytest.approx(sum(mine) / sum(effect for _, effect in whole), rel=1e-6)
    listed = predict_cascade(graph, source, 1.0, n_hops=3, top_paths=10_000, uncertainty=NO_INTERVALS)
    assert {p.nodes: p.effect for p in listed.paths if p.nodes[-1] == target} == pytest.approx(
        {path: effect for path, effect in whole if effect}
    )
    assert all(node.partition("_F")[0].endswith(f".{passed}") for p in listed.paths for node in p.nodes[1:-1])
    two = predict_cascade(graph, source, 1.0, n_hops=2, top_paths=10_000, uncertainty=NO_INTERVALS)
    assert two.effects == listed.effects
    assert {p.nodes for p in two.paths} == {p.nodes for p in listed.paths if len(p.nodes) <= 3}
