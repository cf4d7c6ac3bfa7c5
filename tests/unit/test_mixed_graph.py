"""A graph of several dictionaries a layer, in process: order of sites, families, motifs, null graphs, statistics, pictures, report."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from feature_graph.analysis import compute_graph_statistics
from feature_graph.artifacts import InteractionSet, SitePlace, can_drive, ordered_sites, site_kind, site_sequence
from feature_graph.graph import acts, build_interaction_graph, collapsed, copy_families, load_graph, save_graph, structural
from feature_graph.graph.run import graph_of_run
from feature_graph.motifs import SignedGraph, census, null_test
from feature_graph.motifs.counts import _by_census, plain_counts
from feature_graph.motifs.swaps import SwapGraph, swap
from feature_graph.report import write_report
from feature_graph.steering.effects import DirectEffects
from feature_graph.visualization import render_static_graph
from feature_graph.visualization.charts import plot_layer_distance_decay, plot_layer_matrix
from feature_graph.visualization.layout import layered_layout
from feature_graph.visualization.scene import network_scene
from ingest.feature_ids import site_of_feature
from ingest.formats import INTERACTIONS
from tests.mixed_runs import PLACES, mixed_run
from tests.support.report_run import words

NAMES = tuple(place.name for place in PLACES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed_run(tmp_path_factory.mktemp("mixed") / "run")


@pytest.fixture(scope="module")
def graph(root: Path) -> nx.DiGraph:
    return graph_of_run(root)


# --- the order of sites ---


def test_sites_stand_in_the_order_of_the_model(graph: nx.DiGraph) -> None:
    found = site_sequence(graph)
    assert found.several
    assert found.names == tuple(place.name for place in ordered_sites(PLACES)) == NAMES
    assert found.layers == tuple(place.layer for place in PLACES)
    assert all(found.names[place] == site_of_feature(node) for node, place in found.place.items())
    assert {graph.edges[u, v]["span"] for u, v in graph.edges if graph.nodes[u]["layer"] == graph.nodes[v]["layer"]} == {0}


def test_a_plain_graph_has_its_layers() -> None:
    plain = nx.DiGraph([("L9_F1", "L12_F1"), ("L1_F1", "L9_F1")])
    nx.set_node_attributes(plain, {"L9_F1": 9, "L12_F1": 12, "L1_F1": 1}, "layer")
    found = site_sequence(plain)
    assert (found.names, found.layers, found.several) == (("L1", "L9", "L12"), (1, 9, 12), False)
    assert found.place == {"L9_F1": 1, "L12_F1": 2, "L1_F1": 0}


def test_edges_put_sites_where_their_kinds_do_not() -> None:
    """A residual stream that is read before its block, and sites that another program named."""
    made = nx.DiGraph([("L5_F1", "L5.attn_F1"), ("L5.attn_F1", "L5.mlp_F1"), ("L5.z9_F1", "L5.a7_F1"), ("L5.a7_F1", "L5_F1")])
    nx.set_node_attributes(made, 5, "layer")
    assert site_sequence(made).names == ("L5.z9", "L5.a7", "L5", "L5.attn", "L5.mlp")
    made.add_edge("L5.mlp_F1", "L5.z9_F1")  # a circle says nothing
    assert site_sequence(made).names == ("L5.attn", "L5.mlp", "L5.a7", "L5.z9", "L5")


def test_edges_within_a_layer_that_go_in_a_circle_are_refused(root: Path) -> None:
    frame = InteractionSet.load(root / INTERACTIONS.name).frame
    inside = frame[(frame["src_layer"] == frame["tgt_layer"]) & frame["significant"]].iloc[0]
    back = inside.copy()
    back[["src_id", "tgt_id", "src_fid", "tgt_fid"]] = inside[["tgt_id", "src_id", "tgt_fid", "src_fid"]].to_numpy()
    with pytest.raises(ValueError, match=r"edges within a layer go in a circle: (L\S+) → (L\S+) → \1"):
        build_interaction_graph(InteractionSet(pd.DataFrame([inside, back])))
    back[["src_id", "tgt_id"]] = "L2.mlp_F1", "L2.mlp_F3"
    with pytest.raises(ValueError, match=r"L2\.mlp_F1 → L2\.mlp_F3: an edge must go to a later layer, or to a later site of its layer"):
        build_interaction_graph(InteractionSet(pd.DataFrame([back])))


def test_the_residual_stream_may_be_driven_by_its_own_block(root: Path, graph: nx.DiGraph) -> None:
    ends = {(site_of_feature(u), site_of_feature(v)) for u, v in graph.edges}
    assert ("L2.attn", "L2") in ends
    places = {name: SitePlace(*site_kind(name)) for name in NAMES}
    assert all(can_drive(places[a], places[b]) for a, b in ends)
    assert len(ends) > 20


def test_structural_edges_have_no_site_in_between_or_a_direct_effect(root: Path, graph: nx.DiGraph) -> None:
    frame = InteractionSet.load(root / INTERACTIONS.name).frame.set_index(["src_id", "tgt_id"])
    kinds = set()
    for u, v, data in graph.edges(data=True):
        row = frame.loc[(u, v)]
        between = row["held_features"] > 0 or row["span"] > 1
        assert data["structural"] == (not between or "direct" in row["significant_by"])
        kinds.add((data["structural"], data["span"]))
    assert {(True, 0), (False, 0), (True, 1), (False, 1), (True, 2), (False, 2)} <= kinds


def test_totals_over_sites_are_known_apart(root: Path, graph: nx.DiGraph) -> None:
    effects = DirectEffects.of(graph)
    held = InteractionSet.load(root / INTERACTIONS.name).frame.set_index(["src_id", "tgt_id"])["held_features"] > 0
    wanted = {(u, v) for u, v, d in graph.edges(data=True) if d["kind"] != "later" and (d["span"] > 1 or held[u, v])}
    assert {(effects.nodes[u], effects.nodes[v]) for u, v in effects.total_ends.T.tolist()} == wanted
    assert any(graph.edges[pair]["span"] == 0 for pair in wanted)


# --- families ---


def test_families_have_one_member_a_site_in_order(graph: nx.DiGraph) -> None:
    place = site_sequence(graph).place
    families = copy_families(graph)
    assert len(families) > 3
    for family in families:
        places = [place[member] for member in family.members]
        assert places == sorted(set(places))
        assert (family.first_layer, family.last_layer) == (
            graph.nodes[family.members[0]]["layer"],
            graph.nodes[family.members[-1]]["layer"],
        )


def test_the_nearest_site_of_a_layer_is_chosen_first() -> None:
    """Two copies at one layer: the middle of the stream comes before the stream after the block; backward the other way round."""
    row = {"src_layer": 2, "tgt_layer": 3, "span": 1, "mean_strength": 1.0, "significant": True, "method": "clamping"}
    rows = [
        ("L2_F1", "L3.mid_F1", 0.6),
        ("L2_F1", "L3_F1", 0.9),
        ("L3.mid_F1", "L3_F1", 0.7),
        ("L3.mid_F1", "L4_F1", 0.99),
        ("L3_F1", "L4_F1", 0.8),
    ]
    frame = pd.DataFrame([row | {"src_id": u, "tgt_id": v, "copy_strength": c} for u, v, c in rows])
    frame.loc[2, ["src_layer", "span"]] = 3, 0
    frame.loc[[3, 4], ["src_layer", "tgt_layer"]] = 3, 4
    (family,) = copy_families(frame)
    assert family.members == ("L2_F1", "L3.mid_F1", "L3_F1", "L4_F1")


def test_collapsing_keeps_the_order(graph: nx.DiGraph) -> None:
    small = collapsed(graph)
    heads = [node for node, data in small.nodes(data=True) if "members" in data]
    assert heads
    for node in heads:
        members = small.nodes[node]["members"].split()
        assert members == sorted(members, key=site_sequence(graph).place.get)
        assert members[0] == node
    assert site_sequence(small).names == NAMES


# --- motifs ---


def test_motifs_are_counted_with_edges_within_a_layer(graph: nx.DiGraph) -> None:
    part = structural(graph)
    assert plain_counts(SignedGraph.of(part)) == _by_census(SignedGraph.of(part))
    table = census(part).by_span()
    chains = table[table["motif"].str.startswith("chain")]
    assert set(chains["first_span"]) == {0, 1}
    assert set(chains["second_span"]) == {0, 1, 2}
    spans: dict[tuple[int, int], int] = {}
    acting = [edge for edge in part.edges(data=True) if acts(edge[2])]  # what takes from a copy neither excites nor inhibits
    assert len(acting) < part.number_of_edges()
    for a, b, first in acting:
        for _, c, second in (edge for edge in acting if edge[0] == b):
            assert c != a
            pair = int(first["span"]), int(second["span"])
            spans[pair] = spans.get(pair, 0) + 1
    assert chains.groupby(["first_span", "second_span"])["count"].sum().to_dict() == spans


def test_null_graphs_keep_sites(graph: nx.DiGraph) -> None:
    signed = SignedGraph.of(graph)
    edges = SwapGraph.of(signed)
    found = swap(edges, edges.targets, 50 * signed.n_edges, 3)
    assert found.accepted > signed.n_edges / 2
    assert signed.sites is not None
    places = [sorted(zip(edges.sources, signed.sites[t], edges.negative, strict=True)) for t in (edges.targets, found.targets)]
    assert places[0] == places[1]
    assert (signed.sites[edges.sources] < signed.sites[found.targets]).all()
    assert not np.array_equal(edges.targets, found.targets)
    assert null_test(graph, 19, seed=1).table["p"].notna().any()


# --- statistics ---


def test_density_counts_pairs_of_different_sites(graph: nx.DiGraph) -> None:
    sizes = np.bincount(list(site_sequence(graph).place.values()))
    possible = sum(int(a) * int(b) for i, a in enumerate(sizes) for b in sizes[i + 1 :])
    assert compute_graph_statistics(graph).density == pytest.approx(graph.number_of_edges() / possible)
    assert compute_graph_statistics(graph).edges_per_span.keys() == {0, 1, 2}


# --- files ---


@pytest.mark.parametrize("form", ["graphml", "json"])
def test_files_keep_the_order(graph: nx.DiGraph, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"graph.{form}"
    save_graph(graph, path, format=form)  # type: ignore[arg-type]
    again = load_graph(path)
    assert site_sequence(again) == site_sequence(graph)
    assert nx.utils.graphs_equal(again, graph) or form == "graphml"


# --- pictures ---


def test_columns_are_sites_within_their_layers(graph: nx.DiGraph) -> None:
    layout = layered_layout(graph)
    assert tuple(layout.columns) == NAMES
    x = list(layout.columns.values())
    steps = np.diff(x)
    same = [a.layer == b.layer for a, b in pairwise(PLACES)]
    assert (steps > 0).all()
    assert np.allclose(steps[same], 0.75 * steps[~np.array(same)][0])
    assert all(layout.x[node] == layout.columns[site_of_feature(node)] for node in graph)
    assert all(layout.x[u] < layout.x[v] for u, v in graph.edges)
    assert layout.width > x[-1]


def test_a_part_of_a_graph_has_the_columns_of_the_whole(graph: nx.DiGraph) -> None:
    scene = network_scene(graph, "part", max_nodes=12, max_edges=15)
    texts = [mark.text for mark in scene.columns]
    assert texts == [name for name in NAMES if name in texts]
    assert len(texts) > 2
    assert all(f"site {site_of_feature(mark.id)} · drives" in mark.facts[0] for mark in scene.nodes)
    assert all(scene.nodes[e.source].x < scene.nodes[e.target].x for e in scene.edges)


def test_names_of_columns_do_not_overlap(graph: nx.DiGraph, tmp_path: Path) -> None:
    scene = network_scene(graph, "mixed")
    wide = [(mark.x - 3.5 * len(mark.text), mark.x + 3.5 * len(mark.text)) for mark in scene.columns]
    assert all(a[1] < b[0] for a, b in pairwise(wide))
    text = render_static_graph(graph, tmp_path / "graph.svg").read_text(encoding="utf-8")
    assert [name for name in re.findall(r">(L\d+(?:\.\w+)?)<", text) if name in NAMES] == list(NAMES)


def test_charts_name_sites(graph: nx.DiGraph) -> None:
    matrix = plot_layer_matrix(graph)
    assert matrix is not None
    assert list(matrix.data[0].x) == list(NAMES)
    counts = np.nan_to_num(np.array(matrix.data[0].z, float))
    assert counts.sum() == graph.number_of_edges()
    assert not np.tril(counts).any()
    decay = plot_layer_distance_decay(graph)
    assert decay is not None
    assert {box.name for box in decay.data if box.name and box.name.startswith("span")} == {"span 0", "span 1", "span 2"}


# --- report ---


def test_the_report_names_sites(root: Path) -> None:
    config = json.loads((root / "config.json").read_text())
    chosen = [{"layer": place.layer, "kind": place.kind} for place in PLACES]
    (root / "config.json").write_text(json.dumps(config | {"layers": [2, 3, 5], "sites": chosen}))
    saes = {name: {"hook": f"hook of {name}", "d_sae": 8} for name in reversed(NAMES)}
    (root / "manifest.json").write_text(json.dumps({"saes": saes}))
    text = words(write_report(root))
    assert "Floors by pair of sites" in text
    for piece in ("at 9 sites of 3 layers", "L2.attn → L2.mlp", "L2.attn → L2 ", "L3.tc → L5.tc"):
        assert piece in text, piece
    shown = [text.index(f"hook of {name} ") for name in NAMES]
    assert shown == sorted(shown)
