"""Copy families: by hand, against a plain search, from a table and from its graph; and the graph in which each counts as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.analysis import collapsed, copy_families, find_hubs
from feature_graph.graph import InteractionGraphError, build_interaction_graph, load_graph, save_graph, structural
from feature_graph.visualization import render_interactive_graph, render_static_graph
from ingest.families import FAMILY_COLUMNS, MIN_COPY_SHARE, MIN_STRENGTH, families_of
from tests.strategies import random_interactions

Link = tuple[str, str, float, float]


def table(links: list[Link]) -> pd.DataFrame:
    """Edges (source, target, total, copy) between features of sites 0, 1, 2 …, each of its own layer."""
    rows = [(u, v, _layer(u), _layer(v), _layer(v) - _layer(u), total, copy) for u, v, total, copy in links]
    return pd.DataFrame(rows, columns=list(FAMILY_COLUMNS))


def _layer(name: str) -> int:
    return int(name[1:].split("_")[0])


def members(links: list[Link]) -> list[tuple[str, ...]]:
    return [family.members for family in families_of(table(links))]


def test_a_chain_of_copies_is_one_family() -> None:
    (family,) = families_of(table([("L0_F1", "L1_F1", 1.0, 0.9), ("L1_F1", "L3_F1", 0.5, 0.4)]))
    assert (family.id, family.members) == ("L0_F1", ("L0_F1", "L1_F1", "L3_F1"))
    assert (family.first_layer, family.last_layer, family.lifetime) == (0, 3, 3)
    assert family.copy_share == pytest.approx((0.9 + 0.8) / 2)


def test_what_is_no_copy_makes_no_family() -> None:
    assert not members([("L0_F1", "L1_F1", 0.5, 0.25)]), "the copy is not more than half"
    assert not members([("L0_F1", "L1_F1", MIN_STRENGTH, 0.2)]), "too weak"
    assert not members([("L0_F1", "L1_F1", -1.0, -0.9)]), "a direction turned round is another one"
    assert not members([("L0_F1", "L1_F1", 1.0, float("nan"))]), "the copy was not measured"
    assert not members([])


def test_the_larger_copy_wins_on_both_sides() -> None:
    split = [("L0_F1", "L1_F1", 1.0, 0.6), ("L0_F1", "L1_F2", 1.0, 0.7)]
    assert members(split) == [("L0_F1", "L1_F2")]
    merged = [("L0_F1", "L1_F1", 1.0, 0.6), ("L0_F2", "L1_F1", 1.0, 0.7)]
    assert members(merged) == [("L0_F2", "L1_F1")]
    crossed = [("L0_F1", "L1_F1", 1.0, 0.7), ("L0_F1", "L1_F2", 1.0, 0.6), ("L0_F2", "L1_F1", 1.0, 0.8)]
    assert members(crossed) == [("L0_F2", "L1_F1")], "the first one's choice chose another"
    assert members([("L0_F1", "L1_F2", 1.0, 0.7), ("L0_F1", "L1_F1", 1.0, 0.7)]) == [("L0_F1", "L1_F1")], "equal copies: by id"


def test_the_nearest_site_comes_first_and_one_may_be_missing() -> None:
    shortcut = [("L0_F1", "L1_F1", 0.4, 0.3), ("L1_F1", "L2_F1", 0.4, 0.3), ("L0_F1", "L2_F1", 1.0, 0.9)]
    assert members(shortcut) == [("L0_F1", "L1_F1", "L2_F1")]
    assert members([("L0_F1", "L2_F1", 1.0, 0.9)]) == [("L0_F1", "L2_F1")]


def test_longest_life_first() -> None:
    links = [("L0_F1", "L1_F1", 1.0, 0.9), ("L0_F2", "L1_F2", 1.0, 0.9), ("L1_F2", "L2_F2", 1.0, 0.9)]
    assert members(links) == [("L0_F2", "L1_F2", "L2_F2"), ("L0_F1", "L1_F1")]


def plain_search(edges: pd.DataFrame) -> set[tuple[str, ...]]:
    """Families by looking at every feature, one after the other."""
    copies = [r for r in edges.to_dict("records") if r["mean_strength"] > 0.25 and r["copy_strength"] / r["mean_strength"] > 0.5]

    def best(end: str, name: str) -> dict[str, Any] | None:
        mine = [r for r in copies if r[end] == name]
        nearest = [r for r in mine if r["span"] == min(r["span"] for r in mine)]
        other = {"src_id": "tgt_id", "tgt_id": "src_id"}[end]
        return min(nearest, key=lambda r: (-r["copy_strength"], r[other])) if nearest else None

    after = {}
    for name in {r["src_id"] for r in copies}:
        chosen = best("src_id", name)
        if chosen is not None and best("tgt_id", chosen["tgt_id"]) is chosen:
            after[name] = chosen["tgt_id"]
    found = set()
    for first in set(after) - set(after.values()):
        chain = [first]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found.add(tuple(chain))
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_families_are_those_of_a_plain_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(5) for b in range(a + 1, min(a + 3, 5))]
    links = [
        (f"L{a}_F{i}", f"L{b}_F{j}", float(total), float(total * rng.uniform(0, 1)))
        for a, b in pairs
        for i in range(4)
        for j in range(4)
        if (total := round(rng.normal(0.2, 0.5), 1)) and rng.random() < 0.5
    ]
    edges = table(links)
    found = families_of(edges)
    assert {family.members for family in found} == plain_search(edges)
    named = [name for family in found for name in family.members]
    assert len(named) == len(set(named)), "a feature is in one family at most"
    for family in found:
        layers = [_layer(name) for name in family.members]
        assert layers == sorted(set(layers)), "one member a site"
        assert family.copy_share > MIN_COPY_SHARE
    assert families_of(edges.sample(frac=1, random_state=seed)) == found, "the order of the rows does not matter"


@pytest.fixture(scope="module")
def graph() -> nx.DiGraph:
    made = random_interactions(5, 12, 300, seed=4, window=2)
    frame = made.frame.copy()
    return build_interaction_graph(type(made)(frame, made.meta))


def test_the_table_and_the_graph_have_the_same_families_and_a_file_keeps_them(graph: nx.DiGraph, tmp_path: Path) -> None:
    frame = random_interactions(5, 12, 300, seed=4, window=2).frame
    found = copy_families(frame)
    assert found
    assert copy_families(graph) == found
    assert copy_families(structural(graph))[0].lifetime <= found[0].lifetime
    named = {name: family.id for family in found for name in family.members}
    assert {node: family for node, family in graph.nodes(data="family") if family} == named
    for name in ("g.json", "g.graphml"):
        again = load_graph(save_graph(graph, tmp_path / name))
        assert copy_families(again) == found
        assert dict(again.nodes(data="family")) == dict(graph.nodes(data="family"))


def test_a_graph_file_from_before_families_were_kept_names_them_when_it_is_read(graph: nx.DiGraph, tmp_path: Path) -> None:
    older = graph.copy()
    for _, data in older.nodes(data=True):
        del data["family"]
    for name in ("g.json", "g.graphml"):
        read = load_graph(save_graph(older, tmp_path / name))
        assert dict(read.nodes(data="family")) == dict(graph.nodes(data="family"))
        assert set(collapsed(structural(read))) == set(collapsed(graph)), "a part has the families of the whole"


def test_a_table_of_several_methods_is_refused() -> None:
    frame = random_interactions(5, 12, 300, seed=4).frame
    frame = pd.concat([frame, frame.assign(method="jacobian")])
    with pytest.raises(InteractionGraphError, match="got those of clamping, jacobian; expected one method"):
        copy_families(frame)


def test_a_family_counts_as_one(graph: nx.DiGraph) -> None:
    families = copy_families(graph)
    made = collapsed(graph, families)
    stands = {name: family.id for family in families for name in family.members}
    assert len(made) == len(graph) - sum(len(family.members) - 1 for family in families)
    ends = {(stands.get(u, u), stands.get(v, v)) for u, v in graph.edges}
    assert set(made.edges) == {(u, v) for u, v in ends if u != v}
    for u, v, data in made.edges(data=True):
        between = [abs(d["strength"]) for a, b, d in graph.edges(data=True) if (stands.get(a, a), stands.get(b, b)) == (u, v)]
        assert abs(data["strength"]) == max(between)
    for family in families:
        node = made.nodes[family.id]
        assert (node["members"].split(), node["last_layer"]) == (list(family.members), family.last_layer)
        assert node["label"] == graph.nodes[family.id]["label"]
    assert {hub["id"] for hub in find_hubs(made, len(made))} == set(made)
    assert len(graph) > len(made), "the graph given stays as it was"
    assert not any("members" in data for _, data in graph.nodes(data=True))


def test_pictures_draw_a_family_as_one_feature(graph: nx.DiGraph, tmp_path: Path) -> None:
    family = copy_families(graph)[0]
    last = family.members[-1]
    apart = render_interactive_graph(graph, tmp_path / "apart.html").read_text(encoding="utf-8")
    page = render_interactive_graph(graph, tmp_path / "one.html", seed_nodes=[last], collapse="families").read_text(encoding="utf-8")
    told = f"a copy family of {len(family.members)} features, layers {family.first_layer} to {family.last_layer}"
    assert told in page
    assert told not in apart
    assert f'"{last}"' in apart
    assert f'"{last}"' not in page
    picture = render_static_graph(graph, tmp_path / "one.svg", collapse="families").read_text(encoding="utf-8")
    assert picture != render_static_graph(graph, tmp_path / "apart.svg").read_text(encoding="utf-8")
    with pytest.raises(InteractionGraphError, match="collapse: got 'layers', expected None or families"):
        render_static_graph(graph, tmp_path / "no.svg", collapse="layers")  # type: ignore[arg-type]


def test_a_line_that_does_not_run_onward_is_explained(tmp_path: Path) -> None:
    """L1_F0 drives the copy at layer 2 of a family that is drawn at layer 0, and so does L0_F1, within its column."""
    G = nx.DiGraph()
    for name, layer in (("L0_F0", 0), ("L0_F1", 0), ("L1_F0", 1), ("L2_F0", 2)):
        G.add_node(name, layer=layer, label="")
    copy = {"strength": 0.9, "total": 0.9, "copy": 0.8, "span": 1}
    for ends, edge in ((("L0_F0", "L2_F0"), copy), (("L1_F0", "L2_F0"), {"strength": 0.5}), (("L0_F1", "L2_F0"), {"strength": 0.4})):
        G.add_edge(*ends, **edge)
    assert [family.members for family in copy_families(G)] == [("L0_F0", "L2_F0")]
    told = "2 edges end at a later member of a copy family, which is drawn where its first member is"
    assert told in render_static_graph(G, tmp_path / "one.svg", collapse="families").read_text(encoding="utf-8")
    assert "later member" not in render_static_graph(G, tmp_path / "apart.svg").read_text(encoding="utf-8")
