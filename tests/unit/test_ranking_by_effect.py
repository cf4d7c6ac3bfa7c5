"""Hubs, communities, motifs and pictures by another effect of the same edges, in process and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner

from feature_graph.analysis import copy_families, count_motifs, detect_communities, find_hubs
from feature_graph.cli import app
from feature_graph.graph import InteractionGraphError, build_interaction_graph, restated, save_graph
from feature_graph.visualization import render_static_graph
from tests.strategies import random_interactions

EFFECTS = ("total", "direct", "later", "computed", "specific", "copy")


@pytest.fixture(scope="module")
def graph() -> nx.DiGraph:
    return build_interaction_graph(random_interactions(5, 12, 300, seed=4))


@pytest.fixture(scope="module")
def unmeasured() -> nx.DiGraph:
    made = random_interactions(5, 12, 300, seed=4)
    return build_interaction_graph(type(made)(made.frame.assign(specific_strength=np.nan), made.meta))


@pytest.mark.parametrize("effect", EFFECTS)
def test_hubs_and_communities_by_an_effect(graph: nx.DiGraph, effect: str) -> None:
    stated = restated(graph, effect)  # type: ignore[arg-type]
    sent = dict.fromkeys(graph, 0.0)
    for u, v, d in stated.edges(data=True):
        assert d["strength"] == graph.edges[u, v][effect]
        assert abs(d["strength"]) >= d["floor"]
        sent[u] += abs(graph.edges[u, v][effect])
    hubs = find_hubs(graph, len(graph), "weighted_out_degree", effect=effect)  # type: ignore[arg-type]
    assert {hub["id"]: hub["weighted_out_degree_score"] for hub in hubs} == pytest.approx(sent)
    assert detect_communities(graph, effect=effect) == detect_communities(stated)  # type: ignore[arg-type]


def test_by_default_nothing_changes(graph: nx.DiGraph) -> None:
    hubs = find_hubs(graph, 5, "weighted_degree")
    sums = dict.fromkeys(graph, 0.0)
    for u, v, d in graph.edges(data=True):
        sums[u] += abs(d["strength"])
        sums[v] += abs(d["strength"])
    assert [hub["weighted_degree_score"] for hub in hubs] == pytest.approx(sorted(sums.values(), reverse=True)[:5])
    assert {hub["id"] for hub in find_hubs(graph, 5, effect="specific")} <= set(graph)


def test_a_family_as_one_hub_by_an_effect(graph: nx.DiGraph) -> None:
    inside = {name for family in copy_families(graph) for name in family.members[1:]}
    hubs = find_hubs(graph, len(graph), effect="computed", collapse="families")
    assert {hub["id"] for hub in hubs} == set(graph) - inside
    groups = detect_communities(graph, collapse="families")
    assert set().union(*groups) == set(graph) - inside


def test_what_was_not_measured_is_refused(unmeasured: nx.DiGraph, tmp_path: Path) -> None:
    with pytest.raises(InteractionGraphError, match=r"got 'specific', which this run did not measure; .*specificity_directions above 0"):
        find_hubs(unmeasured, effect="specific")
    with pytest.raises(InteractionGraphError, match="did not measure"):
        render_static_graph(unmeasured, tmp_path / "no.svg", effect="specific")
    with pytest.raises(InteractionGraphError, match="got 'size', expected one of total, direct, later, computed, specific, copy"):
        detect_communities(unmeasured, effect="size")  # type: ignore[arg-type]
    assert not restated(nx.DiGraph(), "specific").size(), "a graph without edges lacks nothing"


def test_a_picture_shows_the_effect_asked_for(graph: nx.DiGraph, tmp_path: Path) -> None:
    texts = {
        effect: render_static_graph(graph, tmp_path / f"{effect}.svg", effect=effect).read_text(encoding="utf-8")  # type: ignore[arg-type]
        for effect in EFFECTS
    }
    assert len(set(texts.values())) == len(EFFECTS)


def test_the_commands_take_it(graph: nx.DiGraph, unmeasured: nx.DiGraph, tmp_path: Path) -> None:
    file = str(save_graph(graph, tmp_path / "g.json"))
    asked = CliRunner().invoke(app, ["analyze", file, "--all", "--effect", "specific", "-m", "weighted_degree", "--json"])
    assert asked.exit_code == 0, asked.output
    found = json.loads(asked.stdout)
    assert found["hubs"] == find_hubs(graph, 10, "weighted_degree", effect="specific")
    one = json.loads(CliRunner().invoke(app, ["analyze", file, "--all", "--collapse", "families", "--json"]).stdout)
    assert one["hubs"] == json.loads(json.dumps(find_hubs(graph, 10, collapse="families")))
    assert [family["id"] for family in one["families"]] == [family.id for family in copy_families(graph)][:10]
    assert one["motifs"] == count_motifs(graph), "motifs are of features, since a graph of families may have cycles"
    text = CliRunner().invoke(app, ["analyze", file]).stdout
    assert f"Copy families ({one['n_families']})" in text
    counted = CliRunner().invoke(app, ["motifs", file, "--all", "--effect", "computed", "--json"])
    plain = CliRunner().invoke(app, ["motifs", file, "--all", "--json"])
    assert counted.exit_code == plain.exit_code == 0
    assert counted.stdout != plain.stdout
    refused = CliRunner().invoke(app, ["motifs", str(save_graph(unmeasured, tmp_path / "u.json")), "--effect", "specific"])
    assert refused.exit_code != 0
    assert "did not measure" in refused.output + str(refused.exception)
    assert CliRunner().invoke(app, ["analyze", "-a", "degree", "--collapse", "families"]).exit_code == 2
