"""Ids of features: one reader, one writer; mistyped ones are understood alike by the loader and by questions."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import networkx as nx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queries.feature_ids
from feature_graph.artifacts import ID_SITES, SiteKind, parse_feature_id, read_feature_id
from feature_graph.artifacts.errors import FeatureIdError
from feature_graph.cli.features import _widths
from feature_graph.graph import load_graph
from feature_graph.motifs.pattern import parse_pattern
from feature_graph.steering.names import near_names
from ingest.feature_ids import FeatureId, feature_id, is_site, meant, site_of_feature, sites_of, split_site_name
from queries import Parameter, ParameterError

SITES = st.one_of(st.sampled_from(list(ID_SITES.values())), st.from_regex(r"\A[A-Za-z0-9-]+(_[A-Za-z0-9-]+){0,2}\Z"))
NUMBERS = st.integers(0, 10**9)


@given(NUMBERS, SITES, NUMBERS)
def test_what_is_written_is_read(layer: int, site: str, index: int) -> None:
    text = feature_id(layer, index, site)
    found = FeatureId.read(text)
    assert found == FeatureId(layer, site, index) == read_feature_id(text)
    assert str(found) == text
    assert split_site_name(site_of_feature(text)) == (layer, site)
    assert sites_of(pd.Series([text])).tolist() == [found.site_name] == [site_of_feature(text)]
    assert meant(text) == text == queries.feature_ids.meant(text)
    assert queries.feature_ids.layer_of(text) == layer


def test_every_kind_of_site_has_its_ids() -> None:
    ids = [feature_id(5, 123, ID_SITES[kind]) for kind in get_args(SiteKind)]
    assert ids == ["L5_F123", "L5.mid_F123", "L5.mlp_F123", "L5.attn_F123", "L5.z_F123", "L5.mlpin_F123", "L5.tc_F123"]
    assert all(is_site(site) for site in ID_SITES.values() if site)


@pytest.mark.parametrize(
    ("typed", "id_"),
    [
        ("l15_f2184", "L15_F2184"),
        ("L15_f1", "L15_F1"),
        ("L5F12", "L5_F12"),
        ("L05_F012", "L5_F12"),
        (" L5_F12 ", "L5_F12"),
        ("l5.mlp_f3", "L5.mlp_F3"),
        ("L5.mlpin F3", "L5.mlpin_F3"),
        ("5_F12", "L5_F12"),
        ("L5/F12", "L5_F12"),
    ],
)
def test_mistyped_ids_get_the_same_hint_everywhere(typed: str, id_: str) -> None:
    assert FeatureId.read(typed) is None
    assert meant(typed) == id_ == queries.feature_ids.meant(typed)
    with pytest.raises(FeatureIdError, match=f"did you mean {id_}\\?"):
        read_feature_id(typed)
    with pytest.raises(ParameterError, match=f"did you mean {id_}\\?"):
        Parameter("feature", "feature", "a feature").check(typed)


@given(st.text(alphabet="LlFf0123._-: mz", max_size=12))
def test_both_readers_understand_the_same(text: str) -> None:
    assert meant(text) == queries.feature_ids.meant(text)


@pytest.mark.parametrize("text", ["", "L5", "F12", "L5_", "mlp", "L-1_F3", "a L5_F12", "L5.a__b_F1", "L5._F1"])
def test_what_names_no_feature_gets_no_hint(text: str) -> None:
    assert meant(text) is None
    with pytest.raises(FeatureIdError, match=r"expected L<layer>_F<index>, such as L5_F1024$"):
        read_feature_id(text)


def test_a_feature_of_another_site_is_not_one_of_the_residual_stream() -> None:
    assert parse_feature_id("L5_F3") == (5, 3)
    with pytest.raises(FeatureIdError, match=r"got 'L5\.mlp_F3', a feature of the site L5\.mlp; expected .* such as L5_F3"):
        parse_feature_id("L5.mlp_F3")


def test_near_features_are_of_the_same_site() -> None:
    names = ["L5_F10", "L5.mlp_F12", "L5.mlp_F90", "other", "L5.mlp_F11", "L6.mlp_F13"]
    assert near_names(names, "L5.mlp_F13") == ["L5.mlp_F12", "L5.mlp_F11", "L5.mlp_F90"]
    assert near_names(names, "L5_F13") == ["L5_F10"]


def test_motifs_may_name_features_of_any_site() -> None:
    pattern = parse_pattern("A:L5.mlp_F12 -> B:L7_F3")
    assert [node.feature for node in pattern.nodes] == ["L5.mlp_F12", "L7_F3"]


def test_widths_of_a_run_are_those_of_its_sites() -> None:
    facts = [
        {"layer": 5, "d_sae": 9, "site": "mlp", "order": 1},
        {"layer": 3, "d_sae": 7},
        {"layer": 5, "d_sae": 8, "site": "attn", "order": 0},
    ]
    assert _widths(facts) == {"3": 7, "5.attn": 8, "5.mlp": 9}
    assert _widths([{"layer": 3}]) == {}


def test_layers_of_foreign_graphs_come_from_ids_of_any_site(tmp_path: Path) -> None:
    graph = nx.DiGraph([("L5.mlp_F1", "L6.attn_F2")])
    nx.write_graphml(graph, tmp_path / "g.graphml")
    assert nx.get_node_attributes(load_graph(tmp_path / "g.graphml"), "layer") == {"L5.mlp_F1": 5, "L6.attn_F2": 6}
