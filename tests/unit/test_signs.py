"""An edge that attenuates or erases a copy is never inhibition: the one rule, and every place in process that asks for a sign."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner

import queries
from feature_graph.analysis import compute_graph_statistics
from feature_graph.cli import app
from feature_graph.graph import acts, restated, save_graph, structural
from feature_graph.motifs import SignedGraph, census, compile_cypher, count_motifs, count_pattern, counts, find_pattern, null_test
from feature_graph.visualization import plot_copy_share, plot_strengths
from feature_graph.visualization.style import INHIBITS, OPPOSES
from ingest.strength import takes_from_copy
from queries.signs import takes_from_copy as in_cypher

COPIES = ("attenuates_copy", "erases_copy")
EFFECTS = ("strength", "total", "direct", "later", "computed", "specific", "copy")
_RULE = re.compile(
    r"\((?P<edge>\w+)\.type = 'erases_copy' OR (?P=edge)\.type = 'attenuates_copy' AND "
    r"(?:\(\$effect IN \['computed', 'specific'\] OR (?P<asked>[\w.\[\]]+) < 0\)|(?P<value>[\w.]+) < 0)\)"
)
TEXTS = [(t.name, text) for t in queries.templates().values() for text in (t.text, t.visual) if text]


def edge(total: float, copy: float, kind: str, specific: float | None = None) -> dict[str, object]:
    """One as the graph has it, over one site."""
    computed = total - copy
    of = {"total": total, "direct": total, "copy": copy, "computed": computed, "specific": computed if specific is None else specific}
    more = {"kind": "total", "type": kind, "span": 1, "structural": True, "floor": 0.01, "floor_computed": 0.01, "by": "total+computed"}
    return {"strength": total, "weight": abs(total), "sign": int(np.sign(total)), "standardised": total} | of | more


@pytest.fixture
def planted() -> nx.DiGraph:
    """A → B attenuates a copy, B → C erases one, A → D inhibits, D → C excites, A → C attenuates a copy that lowers C."""
    graph = nx.DiGraph(tested=20, alpha=0.05)
    graph.add_nodes_from((name, {"layer": layer, "label": name}) for name, layer in (("A", 0), ("B", 1), ("D", 1), ("C", 2)))
    graph.add_edge("A", "B", **edge(0.5, 0.9, "attenuates_copy"))
    graph.add_edge("B", "C", **edge(-0.004, 0.4, "erases_copy"))
    graph.add_edge("A", "D", **edge(-0.6, 0.0, "inhibitory"))
    graph.add_edge("D", "C", **edge(0.7, 0.1, "excitatory"))
    graph.add_edge("A", "C", **edge(-0.3, -0.8, "attenuates_copy"))
    return graph


@pytest.mark.parametrize(("kind", "effect", "value"), list(product(COPIES, EFFECTS, (-0.3, 0.3))))
def test_a_copy_is_never_inhibited(kind: str, effect: str, value: float) -> None:
    does = acts({"strength": value, "type": kind, "kind": effect})
    assert does == (kind == "attenuates_copy" and value > 0 and effect not in ("computed", "specific"))
    assert takes_from_copy(value, kind, effect) == (does == 0)


@pytest.mark.parametrize(("kind", "value"), [("inhibitory", -0.3), ("excitatory", 0.3), ("pass_through", 1.0), ("", -2.0), ("", 0.0)])
def test_other_edges_have_the_sign_of_the_effect(kind: str, value: float) -> None:
    assert {acts({"strength": value, "type": kind, "kind": e}) for e in EFFECTS} == {np.sign(value)}
    assert acts({"weight": 2.0}) == 1, "a graph made elsewhere"


@pytest.mark.parametrize(("name", "text"), TEXTS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(TEXTS)])
def test_templates_have_the_rule_in_its_own_words(name: str, text: str) -> None:
    body = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    found = list(_RULE.finditer(body))
    assert len(found) == body.count("erases_copy")
    assert [m[0] for m in found] == [in_cypher(m["edge"], m["asked"] or m["value"], bool(m["asked"])) for m in found]
    assert bool(found) == any(word in body for word in ("$sign", "AS excitatory", "'incoherent'", "'opposed'")), name


def test_a_filter_by_sign_leaves_them_out(planted: nx.DiGraph, tmp_path: Path) -> None:
    named = nx.relabel_nodes(planted, {"A": "L0_F1", "B": "L1_F2", "D": "L1_F3", "C": "L2_F4"})
    save_graph(named, tmp_path / "graph.json")
    for effect, wanted in (("specific", {"inhibitory": 1, "excitatory": 1}), ("total", {"inhibitory": 1, "excitatory": 2})):
        for sign, edges in wanted.items():
            asked = ["analyze", str(tmp_path / "graph.json"), "--sign", sign, "--effect", effect, "--collapse", "nothing", "--json"]
            answer = CliRunner().invoke(app, asked)
            assert answer.exit_code == 0, answer.output
            assert json.loads(answer.stdout)["counted_edges"] == edges, (effect, sign)


def test_a_restated_graph_says_what_its_edges_do(planted: nx.DiGraph) -> None:
    def signs(graph: nx.DiGraph) -> dict[tuple[str, str], int]:
        return {(u, v): d["sign"] for u, v, d in graph.edges(data=True)}

    computed = {("A", "B"): 0, ("B", "C"): 0, ("A", "D"): -1, ("D", "C"): 1, ("A", "C"): 0}
    assert signs(restated(planted, "specific")) == signs(restated(planted, "computed")) == computed
    assert signs(structural(planted)) == computed | {("A", "B"): 1}


def test_figures_count_them_apart(planted: nx.DiGraph) -> None:
    stats = compute_graph_statistics(planted)
    assert (stats.positive_share, stats.negative_share) == (2 / 5, 1 / 5)
    by_specific = compute_graph_statistics(restated(planted, "specific"))
    assert (by_specific.positive_share, by_specific.negative_share) == (1 / 5, 1 / 5)
    drawn = {trace.name: sum(trace.y) for trace in plot_strengths(restated(planted, "specific")).data}
    assert drawn == {"excites": 1, "inhibits": 1, "takes from a copy": 3}
    plain = planted.edge_subgraph([("A", "D"), ("D", "C")])
    assert [trace.name for trace in plot_strengths(plain).data] == ["excites", "inhibits"]
    colors = plot_copy_share(planted).data[-1].marker.color
    assert (colors.count(OPPOSES), colors.count(INHIBITS)) == (3, 1)


def test_motifs_have_no_sign_where_an_edge_has_none(planted: nx.DiGraph) -> None:
    graph = restated(planted, "specific")
    assert graph.edges["A", "B"]["strength"] < 0
    found = count_motifs(graph)
    assert (found["feed_forward_loop"], found["chain"], found["diamond"]) == (2, 2, 1)
    assert found["coherent_feed_forward_loop"] == found["incoherent_feed_forward_loop"] == 0, "A → C has no sign"
    assert counts._by_census(SignedGraph.of(graph)) == counts.plain_counts(SignedGraph.of(graph)) == found
    assert {name: n for name, n in census(graph).counts.items() if n} == {"chain_inhibited_excitation": 1}
    for text, expected in (("A -| B; B -| C", 0), ("A -| B; B -> C", 1), ("A ~> B; B ~> C", 2), ("A -> B; B -> C", 0), ("A -| B", 1)):
        assert count_pattern(graph, text) == len(find_pattern(graph, text)) == expected, text
    assert count_pattern(restated(planted, "total"), "A -> B") == 2, "what is left of the attenuated copy excites"


def test_counts_agree_on_random_graphs() -> None:
    rng = np.random.default_rng(4)
    layers = np.repeat(np.arange(5), 12)
    pairs = np.array([(a, b) for a in range(60) for b in range(60) if layers[a] < layers[b]])
    chosen = pairs[rng.choice(len(pairs), 300, replace=False)]
    taking = rng.random(300) < 0.3
    graph = SignedGraph.from_arrays(*chosen.T, rng.normal(size=300), layers, 60, from_copy=taking)
    assert graph.decided.n_edges == 300 - taking.sum()
    assert not graph.decided.from_copy.any()
    assert counts._by_census(graph) == counts.plain_counts(graph)
    found = count_motifs(graph)
    decided = count_motifs(graph.decided)
    for name in ("coherent_feed_forward_loop", "incoherent_feed_forward_loop"):
        assert found[name] == decided[name] > 0
    assert found["feed_forward_loop"] > decided["feed_forward_loop"]
    assert found["feed_forward_loop"] == count_motifs(replace(graph, from_copy=np.zeros(300, dtype=bool)))["feed_forward_loop"]
    assert census(graph).counts == census(graph.decided).counts == null_test(graph, 19, swaps_per_edge=1.0, workers=1).census.counts


def test_the_command_line_says_what_it_does_not_count(planted: nx.DiGraph, tmp_path: Path) -> None:
    save_graph(planted, tmp_path / "graph.json")
    answer = CliRunner().invoke(app, ["motifs", "--graph", str(tmp_path / "graph.json"), "--json"])
    assert answer.exit_code == 0, answer.output
    assert "3 edges not counted: what takes from a copy neither excites nor inhibits" in " ".join(answer.stderr.split())
    assert {row["motif"]: row["count"] for row in json.loads(answer.stdout)}["chain_disinhibition"] == 0


def test_patterns_in_cypher_have_the_rule_where_they_name_a_sign() -> None:
    assert compile_cypher("A -| B").match.count("erases_copy") == compile_cypher("A -> B").match.count("erases_copy") == 1
    assert "erases_copy" not in compile_cypher("A ~> B; A !> C; C ~> B").match
