"""Which sites paths lead through: of runs, of graphs made here and elsewhere, and after a graph was written and read."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from feature_graph.graph import PassedSites, load_graph, save_graph
from feature_graph.steering import NO_INTERVALS, predict_cascade


@pytest.mark.parametrize(
    ("sites", "method", "passed"),
    [
        (["L3", "L7"], "clamping", None),
        (["L3", "L3.attn", "L4.mid", "L7"], "clamping", set()),
        (["L3", "L4.tc", "L4.mlp", "L4.mlpin", "L5.mlp", "L5.mlpin", "L6.mlpin", "L6.z"], "clamping", {"L4.tc", "L5.mlp", "L6.mlpin"}),
        (["L3.attn", "L4.tc"], "jacobian", {"L4.tc"}),
        (["L3.attn", "L4.mlp"], "integrated_gradients", None),
        (["L3.resid", "L4.s1"], "clamping", None),
    ],
)
def test_of_several_dictionaries_of_an_mlp_one_is_taken(sites: list[str], method: str, passed: set[str] | None) -> None:
    assert PassedSites.of_sites(sites, method).names == passed


def through_attention(**facts: str) -> nx.DiGraph:
    graph = nx.DiGraph(**facts)
    for source, target in (("L3_F1", "L4.attn_F1"), ("L4.attn_F1", "L5_F1"), ("L3_F1", "L4.tc_F2"), ("L4.tc_F2", "L5_F1")):
        graph.add_edge(source, target, direct=2.0, strength=2.0, span=1)
    return graph


def forecast(graph: nx.DiGraph) -> float:
    return predict_cascade(graph, "L3_F1", 1.0, uncertainty=NO_INTERVALS).effects["L5_F1"]


def test_a_graph_that_names_no_method_leads_through_everything() -> None:
    assert forecast(through_attention()) == 8.0
    assert forecast(through_attention(method="clamping")) == 4.0
    by_edges = through_attention()
    nx.set_edge_attributes(by_edges, "clamping", "method")
    assert forecast(by_edges) == 4.0


@pytest.mark.parametrize("ending", ["graphml", "json"])
@pytest.mark.parametrize("named", ["L4.tc", "", "L4.attn L4.tc"])
def test_what_a_graph_says_is_kept_in_files(named: str, ending: str, tmp_path: Path) -> None:
    written = through_attention(method="clamping", passed_sites=named)
    read = load_graph(save_graph(written, tmp_path / f"graph.{ending}"))
    assert PassedSites.of(read) == PassedSites.of(written) == PassedSites(frozenset(named.split()))
