"""Hubs, communities, motifs and pictures by another effect of the same edges, in process and on the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner

from feature_graph.analysis import copy_families, count_motifs, detect_communities, find_hubs
from feature_graph.cli import app
from feature_graph.graph import (
    InteractionGraphError,
    as_asked,
    build_interaction_graph,
    collapsed,
    default_effect,
    effect_of,
    restated,
    save_graph,
    structural,
)
from feature_graph.visualization import render_static_graph
from tests.strategies import random_interactions

EFFECTS = ("strength", "total", "direct", "later", "computed", "specific", "copy")


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
    assert effect_of(stated) == effect
    sent = dict.fromkeys(graph, 0.0)
    for u, v, d in stated.edges(data=True):
        assert d["strength"] == graph.edges[u, v][effect]
        assert effect == "strength" or abs(d["strength"]) >= d["floor"]
        sent[u] += abs(graph.edges[u, v][effect])
    hubs = find_hubs(graph, len(graph), "weighted_out_degree", effect=effect, collapse=None)  # type: ignore[arg-type]
    assert {hub["id"]: hub["weighted_out_degree_score"] for hub in hubs} == pytest.approx(sent)
    again = find_hubs(stated, len(graph), "weighted_out_degree", collapse=None)
    assert again == hubs, "what was restated is not restated once more"
    assert detect_communities(graph, effect=effect, collapse=None) == detect_communities(stated, collapse=None)  # type: ignore[arg-type]


def test_the_default_is_specific_between_families(graph: nx.DiGraph) -> None:
    """By hand: the largest |specific| from one family or feature to another."""
    kin = {member: family.id for family in copy_families(graph) for member in family.members}
    assert len(kin) > 4
    largest: dict[tuple[str, str], float] = {}
    for u, v, d in graph.edges(data=True):
        ends, size = (kin.get(u, u), kin.get(v, v)), abs(d["specific"])
        if ends[0] != ends[1] and size >= d["floor_computed"]:
            largest[ends] = max(largest.get(ends, 0.0), size)
    sent = {node: 0.0 for node in graph if kin.get(node, node) == node}
    for (source, _), size in largest.items():
        sent[source] += size
    hubs = find_hubs(graph, len(graph), "weighted_out_degree")
    assert {hub["id"]: hub["weighted_out_degree_score"] for hub in hubs} == pytest.approx(sent)
    assert hubs != find_hubs(graph, len(graph), "weighted_out_degree", effect="strength")
    asked = as_asked(graph, "specific", "families")
    assert (default_effect(graph), effect_of(asked), default_effect(asked)) == ("specific", "specific", "strength")
    assert detect_communities(graph) == detect_communities(asked)
    assert set().union(*detect_communities(graph)) == set(sent)


def test_a_part_of_a_graph_has_the_families_of_the_whole(graph: nx.DiGraph) -> None:
    part = structural(graph)
    members = {member for family in copy_families(graph) for member in family.members[1:]}
    assert set(collapsed(part)) == set(graph) - members
    first = copy_families(graph)[0].id
    without = part.subgraph(set(graph) - {first})
    heir = next(node for node, data in collapsed(without).nodes(data=True) if data["family"] == first)
    assert heir in copy_families(graph)[0].members, "where the first member is missing, the next one stands for the family"


def test_a_smaller_effect_than_counts_is_left_out(graph: nx.DiGraph) -> None:
    """The floor of the computed effect; that of the total one stands in where a graph was saved without it."""
    u, v, d = next((u, v, d) for u, v, d in graph.edges(data=True) if d["specific"])
    one = nx.DiGraph()
    for floors, kept in (({"floor_computed": 1.1}, False), ({"floor_computed": 0.9}, True), ({"floor_computed": math.nan}, False)):
        one.add_edge(u, v, **d | {"floor": 1.1 * abs(d["specific"])} | {k: x * abs(d["specific"]) for k, x in floors.items()})
        assert bool(restated(one, "specific").size()) == kept
    del one.edges[u, v]["floor_computed"]
    assert not restated(one, "specific").size()
    one.edges[u, v]["floor"] = math.nan
    assert restated(one, "specific").size()


def test_where_it_was_not_measured_edges_weigh_their_strength(unmeasured: nx.DiGraph) -> None:
    assert default_effect(unmeasured) == default_effect(nx.DiGraph()) == "strength"
    hubs = find_hubs(unmeasured, 5, "weighted_degree", collapse=None)
    sums = dict.fromkeys(unmeasured, 0.0)
    for u, v, d in unmeasured.edges(data=True):
        sums[u] += abs(d["strength"])
        sums[v] += abs(d["strength"])
    assert [hub["weighted_degree_score"] for hub in hubs] == pytest.approx(sorted(sums.values(), reverse=True)[:5])
    assert count_motifs(unmeasured) == count_motifs(unmeasured, effect="strength")


def test_an_empty_answer_says_why(graph: nx.DiGraph, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = graph.copy()
    for *_, d in small.edges(data=True):
        d["specific"] = d["floor"] / 2
    reason = f"none of the {small.size():,} edges has a specific effect as large as the smallest that counts; effect 'strength' keeps all"
    assert {hub["total_degree_score"] for hub in find_hubs(small)} == {0}
    assert reason in caplog.text
    assert not any(count_motifs(small).values())
    assert f"Nothing is drawn: {reason}." in render_static_graph(small, tmp_path / "g.svg").read_text(encoding="utf-8")
    text = CliRunner().invoke(app, ["analyze", str(save_graph(small, tmp_path / "g.json")), "--all"]).stdout
    assert "0 edges, by their specific effect; each copy family counts as one feature. No edge asked for" in " ".join(text.split())


def test_a_family_as_one_hub_by_an_effect(graph: nx.DiGraph) -> None:
    inside = {name for family in copy_families(graph) for name in family.members[1:]}
    hubs = find_hubs(graph, len(graph), effect="computed", collapse="families")
    assert {hub["id"] for hub in hubs} == set(graph) - inside
    assert {hub["id"] for hub in find_hubs(graph, len(graph), effect="computed", collapse=None)} == set(graph)


def test_what_was_not_measured_is_refused(unmeasured: nx.DiGraph, tmp_path: Path) -> None:
    with pytest.raises(InteractionGraphError, match=r"got 'specific', which this run did not measure; .*specificity_directions above 0"):
        find_hubs(unmeasured, effect="specific")
    with pytest.raises(InteractionGraphError, match="did not measure"):
        render_static_graph(unmeasured, tmp_path / "no.svg", effect="specific")
    with pytest.raises(InteractionGraphError, match="got 'size', expected one of strength, total, direct, later, computed, specific, copy"):
        detect_communities(unmeasured, effect="size")  # type: ignore[arg-type]
    assert not restated(nx.DiGraph(), "specific").size(), "a graph without edges lacks nothing"


def test_a_picture_shows_the_effect_asked_for(graph: nx.DiGraph, tmp_path: Path) -> None:
    texts = {
        effect: render_static_graph(graph, tmp_path / f"{effect}.svg", effect=effect).read_text(encoding="utf-8")  # type: ignore[arg-type]
        for effect in EFFECTS
    }
    assert len(set(texts.values())) == len(EFFECTS)
    assert ", by their computed effect" in texts["computed"]
    assert render_static_graph(graph, tmp_path / "default.svg").read_text(encoding="utf-8") == texts["specific"]


def test_the_commands_take_it(graph: nx.DiGraph, unmeasured: nx.DiGraph, tmp_path: Path) -> None:
    file = str(save_graph(graph, tmp_path / "g.json"))
    asked = CliRunner().invoke(app, ["analyze", file, "--all", "--effect", "specific", "-m", "weighted_degree", "--json"])
    assert asked.exit_code == 0, asked.output
    found = json.loads(asked.stdout)
    assert found["hubs"] == find_hubs(graph, 10, "weighted_degree", effect="specific")
    assert (found["effect"], found["collapse"]) == ("specific", "families")
    one = json.loads(CliRunner().invoke(app, ["analyze", file, "--all", "--json"]).stdout)
    assert one["hubs"] == json.loads(json.dumps(find_hubs(graph, 10)))
    single = CliRunner().invoke(app, ["analyze", file, "--all", "--collapse", "nothing", "--effect", "strength", "--json"]).stdout
    assert json.loads(single)["hubs"] == json.loads(json.dumps(find_hubs(graph, 10, effect="strength", collapse=None)))
    assert [family["id"] for family in one["families"]] == [family.id for family in copy_families(graph)][:10]
    assert one["motifs"] == count_motifs(graph), "motifs are of features, since a graph of families may have cycles"
    text = CliRunner().invoke(app, ["analyze", file]).stdout
    assert f"Copy families ({one['n_families']})" in text
    assert "edges, by their specific effect; each copy family counts as one feature." in " ".join(text.split())
    counted = CliRunner().invoke(app, ["motifs", file, "--all", "--effect", "computed", "--json"])
    plain = CliRunner().invoke(app, ["motifs", file, "--all", "--json"])
    assert counted.exit_code == plain.exit_code == 0
    assert counted.stdout != plain.stdout
    refused = CliRunner().invoke(app, ["motifs", str(save_graph(unmeasured, tmp_path / "u.json")), "--effect", "specific"])
    assert refused.exit_code != 0
    assert "did not measure" in refused.output + str(refused.exception)
