"""Edges of one's own: what is read, what is converted, what is refused and in which words, and the examples of the how-to page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import igraph
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingest
from feature_graph.artifacts import InteractionSet
from feature_graph.graph import build_interaction_graph, load_graph, save_graph
from ingest import FormatError, InvalidRun
from ingest.formats import FEATURES, INTERACTIONS, read_table
from ingest.frames import from_frames, read_frames
from ingest.rundir import open_run
from ingest.validate import Validated, validate
from tests.attribution_json import random_document
from tests.rundirs import random_run

PAGE = Path(__file__).parents[2] / "docs/howto-own-edges.md"
EDGES = pd.DataFrame({"source": ["L0_F1", "L0_F2", "L3_F4"], "target": ["L3_F4", "L3_F4", "L7_F0"], "strength": [0.5, -0.25, 1.0]})


def loaded(root: Path) -> tuple[Validated, pd.DataFrame]:
    return validate(open_run(root)), read_table(root / INTERACTIONS.name, INTERACTIONS).to_pandas()


# --- the least that is needed ---


def test_three_columns_are_enough(tmp_path: Path) -> None:
    root = ingest.from_frames(None, EDGES, model="gpt2", method="attribution", out=tmp_path / "run")
    assert root == tmp_path / "run"
    seen, rows = loaded(root)
    assert (seen.edges, seen.methods) == (3, ("attribution",))
    assert seen.features["id"].tolist() == ["L0_F1", "L0_F2", "L3_F4", "L7_F0"]
    assert rows["mean_strength"].tolist() == [0.5, -0.25, 1.0]
    assert rows["abs_strength"].tolist() == [0.5, 0.25, 1.0]
    assert rows["interaction_type"].tolist() == ["excitatory", "inhibitory", "excitatory"]
    assert rows["span"].tolist() == [1, 1, 1]
    assert set(rows["significant_by"]) == {"direct"}
    assert open_run(root).facts["tests"] == "none: every edge that is given counts"
    graph = build_interaction_graph(InteractionSet.load(root / INTERACTIONS.name))
    assert graph.edges["L0_F2", "L3_F4"]["strength"] == -0.25


def test_the_order_of_rows_does_not_matter_and_twice_is_once(tmp_path: Path) -> None:
    one = from_frames(None, EDGES, out=tmp_path / "one")
    other = from_frames(None, EDGES.iloc[::-1], out=tmp_path / "other")
    assert ingest.run_id(one) == ingest.run_id(other)
    assert from_frames(None, EDGES, out=one) == one
    with pytest.raises(FormatError, match="one exists and holds something else; nothing was written"):
        from_frames(None, EDGES.assign(strength=1.0), out=one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


@pytest.mark.parametrize("empty", [None, np.nan])
def test_an_empty_column_is_unknown(tmp_path: Path, empty: float | None) -> None:
    edges = pd.DataFrame({"source": ["L0_F1", "L2_F4"], "target": ["L3_F2", "L3_F2"], "strength": [0.5, -0.2], "blocks": [empty, empty]})
    edges.to_parquet(tmp_path / "edges.parquet")
    for made in (
        from_frames(None, edges, out=tmp_path / "a"),
        from_frames(None, read_frames(tmp_path / "edges.parquet").edges, out=tmp_path / "b"),
    ):
        assert read_table(made / INTERACTIONS.name, INTERACTIONS)["blocks"].to_pylist() == [3, 1]


def test_any_names_with_a_layer(tmp_path: Path) -> None:
    edges = pd.DataFrame({"src": ["cat", 7], "tgt": ["sat", "sat"], "weight": [1, 2], "source_layer": [0, 0], "target_layer": [2, 2]})
    seen, _ = loaded(from_frames(None, edges, out=tmp_path / "a"))
    assert seen.features[["id", "label"]].to_numpy().tolist() == [["L0_F0", "7"], ["L0_F1", "cat"], ["L2_F0", "sat"]]
    features = pd.DataFrame(
        {"id": ["cat", "7", "sat", "alone"], "layer": [0, 0, 2, 5], "label": ["Cat", None, "sat", ""], "density": [0.3, 0, None, 1]}
    )
    seen, _ = loaded(from_frames(features, edges.drop(columns=["source_layer", "target_layer"]), out=tmp_path / "b"))
    assert dict(zip(seen.features["id"], seen.features["label"], strict=True)) == {
        "L0_F0": "7",
        "L0_F1": "cat: Cat",
        "L2_F0": "sat",
        "L5_F0": "alone",
    }
    assert seen.features["dead"].tolist() == [True, False, False, False]
    assert [None if pd.isna(v) else bool(v) for v in seen.features["dense"]] == [False, True, None, True]


def test_names_that_runs_share(tmp_path: Path) -> None:
    def uids(name: str, **given: Any) -> list[str]:
        return list(loaded(from_frames(None, EDGES, out=tmp_path / name, **given))[0].features["uid"])

    assert uids("a", model="gpt2@0123abcd", release="res-jb")[0] == "gpt2@0123abcd/res-jb/layer.0/1"
    assert uids("b", model="google/gemma 2", release="a/b")[0] == "google/gemma-2@00000000/a-b/layer.0/1"
    own = uids("c", model="gpt2")
    assert own == uids("d", model="gpt2") != uids("e", model="gpt3")
    other = from_frames(None, EDGES.iloc[:1], model="gpt2", out=tmp_path / "f")
    assert not set(own) & set(loaded(other)[0].features["uid"])


def test_edges_within_a_layer_need_the_order_of_its_sites(tmp_path: Path) -> None:
    edges = pd.DataFrame({"source": ["L5.attn_F1", "L5.mlp_F1"], "target": ["L5.mlp_F1", "L6.attn_F1"], "strength": [1.0, -1.0]})
    other = edges.replace(r"\.attn", ".heads", regex=True)
    with pytest.raises(InvalidRun, match=r"edges, row 0: source layer 5 is not before target layer 5; edges go forward only"):
        from_frames(None, other, out=tmp_path / "none")
    with pytest.raises(InvalidRun, match=r"edges, row 0: source layer 5 is not before"):
        from_frames(None, edges, site_order=["mlp", "attn"], out=tmp_path / "none")
    root = from_frames(None, edges, site_order=["attn", "mlp"], out=tmp_path / "run")
    seen, rows = loaded(root)
    assert seen.features["id"].tolist() == ["L5.attn_F1", "L5.mlp_F1", "L6.attn_F1"]
    assert rows["span"].tolist() == [1, 1]
    graph = build_interaction_graph(InteractionSet.load(root / INTERACTIONS.name))
    assert list(graph.edges) == [("L5.attn_F1", "L5.mlp_F1"), ("L5.mlp_F1", "L6.attn_F1")]
    features = pd.DataFrame({"id": ["x", "y"], "layer": [0, 0], "site": ["up", "down"], "site_order": [1, 0]})
    back = pd.DataFrame({"source": ["y"], "target": ["x"], "strength": [1.0]})
    assert loaded(from_frames(features, back, out=tmp_path / "own"))[1]["src_id"].tolist() == ["L0.down_F0"]


def test_sites_of_known_kinds_have_their_order(tmp_path: Path) -> None:
    inside = [("z", "attn"), ("attn", "mid"), ("mid", "mlpin"), ("mlpin", "tc"), ("tc", "mlp"), ("mlp", "")]
    ids = [tuple(f"L1.{site}_F2" if site else "L1_F2" for site in pair) for pair in inside]
    edges = pd.DataFrame(ids, columns=["source", "target"]).assign(strength=1.0)
    features, rows = loaded(from_frames(None, edges, out=tmp_path / "run"))
    assert list(zip(rows["src_id"], rows["tgt_id"], strict=True)) == ids
    assert features.features["id"].tolist() == [*(source for source, _ in ids), "L1_F2"]
    for k, pair in enumerate(ids):
        with pytest.raises(InvalidRun, match="edges go forward only"):
            from_frames(None, pd.DataFrame([pair[::-1]], columns=["source", "target"]).assign(strength=1.0), out=tmp_path / f"back{k}")


# --- what counts ---

COUNTS: list[tuple[dict[str, Any], list[bool], str]] = [
    ({}, [True, True, True], "none"),
    ({"strength": [0.5, 0.0, 1.0]}, [True, False, True], "none"),
    ({"p": [0.2, 0.01, 0.01]}, [False, True, True], "p, not adjusted, below 0.05"),
    ({"p": [0.2, 0.01, 0.01], "q": [0.3, 0.02, 0.06]}, [False, True, False], "adjusted p below 0.05"),
    ({"q": [0.3, None, 0.01]}, [False, False, True], "adjusted p below 0.05"),
    ({"significant": [1, 0, 1]}, [True, False, True], "as the table says (significant)"),
    ({"by": ["total", "", "direct+later"], "later": [None, None, 0.1]}, [True, False, True], "as the table says (significant_by)"),
]


@pytest.mark.parametrize(("columns", "kept", "said"), COUNTS, ids=[", ".join(c) or "nothing" for c, _, _ in COUNTS])
def test_which_edges_count(tmp_path: Path, columns: dict[str, Any], kept: list[bool], said: str) -> None:
    root = from_frames(None, EDGES.assign(**columns), out=tmp_path / "run")
    assert loaded(root)[1]["significant"].tolist() == kept
    assert open_run(root).facts["tests"].startswith(said)


# --- types ---

FRAME = EDGES.assign(n=[1, 2, 3], significant=[True, False, True], replicated=[True, None, False], label="x", layer=1)
TYPES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "as they are": lambda f: f,
    "object": lambda f: f.astype(object),
    "float32": lambda f: f.astype({"strength": np.float32}),
    "small": lambda f: f.astype({"strength": np.float16, "n": np.int8}),
    "unsigned": lambda f: f.astype({"n": np.uint64}),
    "whole floats": lambda f: f.astype({"n": float}),
    "nullable": lambda f: f.astype({"n": "Int64", "significant": "boolean", "replicated": "boolean", "strength": "Float32"}),
    "category": lambda f: f.astype({"source": "category", "target": "category"}),
    "strings": lambda f: f.astype({"source": "string", "target": "str"}),
    "arrow": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "numbers for truth": lambda f: f.astype({"significant": np.int64}),
    "index": lambda f: f.set_index(pd.Index([7, 7, 9])),
    "table": lambda f: pa.Table.from_pandas(f),
}


@pytest.mark.parametrize("change", TYPES.values(), ids=TYPES)
def test_types_that_hold_the_same_values_are_one(tmp_path: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    plain = from_frames(None, FRAME, out=tmp_path / "plain")
    assert ingest.run_id(from_frames(None, change(FRAME), out=tmp_path / "other")) == ingest.run_id(plain)


REFUSED: list[tuple[Any, str]] = [
    (lambda f: f.assign(strength=["a", 1, 2]), r"edges: column strength, row 0: found 'a' \(str\), expected double"),
    (lambda f: f.assign(n=[1, 2.5, 3]), r"edges: column n, row 1: found 2.5 \(double\), expected int32 without loss"),
    (lambda f: f.assign(n=[1, 2, 2**40]), r"edges: column n, row 2: found 1099511627776 \(int64\), expected int32 without loss"),
    (
        lambda f: f.assign(strength=[1, 2, 2**60 + 1]),
        r"edges: column strength, row 2: found 1152921504606846977 \(int64\), expected double",
    ),
    (lambda f: f.assign(significant=[1, 0, 2]), r"edges: column significant, row 2: found 2 \(int64\), expected bool without loss"),
    (lambda f: f.assign(strength=[1, None, 2]), r"edges, row 1: strength = None; a value is required"),
    (lambda f: f.assign(strength=[1, np.inf, 2]), r"edges, row 1: strength = inf; expected a finite number"),
    (lambda f: f.assign(source=["L0_F1", None, "L3_F4"]), r"edges, row 1: source = None; a value is required"),
    (lambda f: f.assign(source=["L0_F1", 1.5, "L3_F4"]), r"edges, row 1: source = 1.5 \(float\); expected a name"),
    (lambda f: f.rename(columns={"strength": "strenght"}), r"no column for the strength; found source, target, strenght; expected one of"),
    (lambda f: f.drop(columns="source"), r"no column for the source; found target, strength; expected one of source, src, src_id"),
    (lambda f: pd.concat([f, f]), r"edges, row 3: L0_F1 → L3_F4 by imported appears twice; expected one row per pair and method"),
    (lambda f: f.iloc[:0], r"edges: there are none"),
    (lambda f: f.assign(source="L05_F1"), r"the layer of 'L05_F1' is not known"),
    (lambda f: f.assign(source="L9999999999_F1"), r"the layer of 'L9999999999_F1' is not known: got 9999999999"),
    (lambda f: f.assign(source="L0_F9999999999"), r"features, row \d: index = 9999999999; expected 0 or more, in 32 bits"),
    (lambda f: f.assign(source="L٣_F1"), r"the layer of 'L٣_F1' is not known"),
    (lambda f: f.assign(source="cat"), r"the layer of 'cat' is not known: got .*; expected ids such as L5_F12, a column layer"),
    (lambda f: f.assign(method="IG"), r"method of edges, row 0: got 'IG'; expected a lower-case name"),
    (lambda f: f.assign(method="clamping", se=[0.1, None, 0.1]), r"column se has nulls in rows of method clamping; none are allowed there"),
    (lambda f: f.to_dict(), r"edges: got dict; expected a data frame"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[m[:40] for _, m in REFUSED])
def test_what_would_be_lost_is_refused_in_words(tmp_path: Path, change: Callable[[pd.DataFrame], Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        from_frames(None, change(EDGES), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


CONTRADICTING: list[tuple[Any, str]] = [
    (lambda f: f.assign(type="excitatory"), r"edges, row 1: interaction_type = 'excitatory', mean_strength = -0.25.*expected inhibitory"),
    (lambda f: f.assign(source=["L9_F1", "L0_F2", "L3_F4"]), r"edges, row 0: source layer 9 is not before target layer 3"),
    (lambda f: f.assign(span=4), r"edges, row \d: span = 4 from 'L0_F1' to 'L3_F4': there are not so many sites between"),
    (lambda f: f.assign(q=2.0, significant=False), r"edges, row \d: q_value = 2.0; expected a value in \[0, 1\]"),
]


@pytest.mark.parametrize(("change", "message"), CONTRADICTING, ids=[m[:40] for _, m in CONTRADICTING])
def test_contradictions_name_the_rows_that_were_given(tmp_path: Path, change: Callable[[pd.DataFrame], Any], message: str) -> None:
    with pytest.raises(InvalidRun, match=message):
        from_frames(None, change(EDGES).iloc[::1], out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


FEATURES_REFUSED: list[tuple[pd.DataFrame, str]] = [
    (pd.DataFrame({"id": ["L0_F1"]}), r"edges name 3 features that are not in the table of features, such as 'L0_F2'"),
    (pd.DataFrame({"id": ["L0_F1", "L0_F1"]}), r"not in the table|features, row 1: 'L0_F1' appears twice"),
    (pd.DataFrame({"name": ["L0_F1"]}), r"features: no column for the id; found name; expected id, or layer and index"),
    (
        pd.DataFrame({"id": ["L0_F1", "L0_F2", "L3_F4", "L7_F0"], "layer": [0, 0, 3, 6]}),
        r"features, row 3: layer = 6, id = 'L7_F0': they contradict",
    ),
    (
        pd.DataFrame({"id": ["L0_F1", "L0_F2", "L3_F4", "L7_F0"], "density": [0, 0, 0, "x"]}),
        r"features: column density, row 3: found 'x' \(str\)",
    ),
]


@pytest.mark.parametrize(("features", "message"), FEATURES_REFUSED, ids=[m[:40] for _, m in FEATURES_REFUSED])
def test_features_that_do_not_fit(tmp_path: Path, features: pd.DataFrame, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        from_frames(features, EDGES, out=tmp_path / "run")


# --- run directories made by hand ---


def by_hand(root: Path, features: pd.DataFrame, edges: pd.DataFrame) -> Path:
    """A run directory as ``DataFrame.to_parquet`` writes it, with kind and version."""
    root.mkdir()
    (root / "config.json").write_text("{}")
    for kind, frame in (("features", features), ("interactions", edges)):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table.replace_schema_metadata({b"kind": kind.encode(), b"version": b"1"}), root / f"{kind}.parquet")
    return root


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What pandas 3 writes by itself: int64, large_string; and only the columns that are known."""
    ids = ["L0_F5", "L1_F6", "L2_F7"]
    features = pd.DataFrame(
        {
            "fid": range(3),
            "id": ids,
            "uid": [f"toy@00000001/rel/sae.{i}/{5 + i}" for i in range(3)],
            "layer": range(3),
            "index": range(5, 8),
        }
    )
    ends = {
        f"{end}_{key}": features[key].iloc[part].tolist()
        for end, part in (("src", slice(0, 2)), ("tgt", slice(1, 3)))
        for key in ("fid", "id", "layer")
    }
    return features, pd.DataFrame(ends | {"method": "attribution", "span": 1, "mean_strength": [0.5, -0.25], "significant_by": "direct"})


def test_a_run_directory_of_pandas_is_read(tmp_path: Path) -> None:
    root = by_hand(tmp_path / "run", *tables())
    assert str(pq.read_schema(root / FEATURES.name).field("id").type) == "large_string"
    assert str(pq.read_schema(root / INTERACTIONS.name).field("span").type) == "int64"
    seen, rows = loaded(root)
    assert (seen.edges, seen.features["label"].tolist(), seen.features["dead"].tolist()) == (2, [""] * 3, [False] * 3)
    assert rows["interaction_type"].tolist() == ["excitatory", "inhibitory"]
    assert rows["abs_strength"].tolist() == [0.5, 0.25]
    assert rows["direct_strength"].tolist() == [0.5, -0.25]
    assert rows["significant"].tolist() == [True, True]
    assert rows["p_value"].isna().all()
    assert (rows["n_samples"] == 1).all()


HAND: list[tuple[str, Any, str]] = [
    (
        "features",
        {"uid": [None, "toy@00000001/rel/sae.1/6", "toy@00000001/rel/sae.2/7"]},
        r"features.parquet, row 0: uid = None; a value is required",
    ),
    ("features", {"layer": ["0", "1", "2"]}, r"features.parquet: column layer: found large_string, expected int32"),
    ("features", {"layer": [0, 1.5, 2]}, r"features.parquet: column layer, row 1: found 1.5 \(double\), expected int32 without loss"),
    (
        "interactions",
        {"span": [1, 2**40]},
        r"interactions.parquet: column span, row 1: found 1099511627776 \(int64\), expected int32 without loss",
    ),
    (
        "interactions",
        {"mean_strength": None},
        r"column mean_strength is missing, expected float64|mean_strength = None; a value is required",
    ),
]


@pytest.mark.parametrize(("kind", "values", "message"), HAND, ids=[m[:50] for _, _, m in HAND])
def test_a_run_directory_that_would_lose_something(tmp_path: Path, kind: str, values: dict[str, Any], message: str) -> None:
    frames = dict(zip(("features", "interactions"), tables(), strict=True))
    frames[kind] = frames[kind].assign(**values)
    with pytest.raises(InvalidRun, match=message) as caught:
        loaded(by_hand(tmp_path / "run", frames["features"], frames["interactions"]))
    assert len([p for p in caught.value.problems if "--bad-rows" not in p]) <= 2


@pytest.mark.parametrize("column", ["uid", "fid", "src_id", "mean_strength", "method", "span"])
def test_a_column_that_must_be_there(tmp_path: Path, column: str) -> None:
    features, edges = (frame.drop(columns=column, errors="ignore") for frame in tables())
    with pytest.raises(InvalidRun, match=rf"column {column} is missing, expected \w+"):
        loaded(by_hand(tmp_path / "run", features, edges))


# --- files ---


def igraph_file(path: Path) -> None:
    graph = igraph.Graph(directed=True)
    graph.add_vertices(["L0_F1", "L0_F2", "L3_F4", "L7_F0"])
    graph.add_edges(list(zip(EDGES["source"], EDGES["target"], strict=True)), {"weight": EDGES["strength"].tolist()})
    graph.write_graphml(str(path))


def networkx_file(path: Path) -> None:
    graph = nx.from_pandas_edgelist(EDGES.rename(columns={"strength": "weight"}), edge_attr="weight", create_using=nx.DiGraph)
    nx.write_graphml(graph, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "e.csv": lambda p: EDGES.to_csv(p, index=False),
    "bom.csv": lambda p: EDGES.to_csv(p, index=False, encoding="utf-8-sig"),
    "e.tsv": lambda p: EDGES.to_csv(p, index=False, sep="\t"),
    "e.parquet": lambda p: EDGES.to_parquet(p, index=False),
    "networkx.graphml": networkx_file,
    "igraph.graphml": igraph_file,
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_other_programs(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = read_frames(tmp_path / name)
    root = from_frames(found.features, found.edges, out=tmp_path / "run", texts=found.texts)
    assert loaded(root)[1]["mean_strength"].tolist() == [0.5, -0.25, 1.0]
    assert loaded(root)[0].features["id"].tolist() == ["L0_F1", "L0_F2", "L3_F4", "L7_F0"]


FILES: list[tuple[str, str, str]] = [
    ("e.csv", "source,target,strength\nL0_F1,L1_F1,much\n", r"edges: column strength, row 0: found 'much' \(str\), expected double"),
    ("e.csv", "source,target,strength\nL0_F1,L1_F1,\n", r"edges, row 0: strength = None; a value is required"),
    (
        "e.csv",
        "source,target,strength,n\nL0_F1,L1_F1,1,2.5\n",
        r"edges: column n, row 0: found 2.5 \(double\), expected int32 without loss",
    ),
    (
        "e.csv",
        "source,target,strength,significant\nL0_F1,L1_F1,1,maybe\n",
        r"edges: column significant, row 0: found 'maybe' \(str\), expected bool",
    ),
    ("e.csv", "", r"e.csv: not a readable table"),
    ("e.parquet", "no", r"e.parquet: not a readable Parquet file"),
    ("e.graphml", "<a>", r"e.graphml: not readable as XML"),
    ("e.graphml", "<a/>", r"e.graphml: XML, but no GraphML: no <graph> element"),
    ("e.graphml", "<graphml><graph edgedefault='undirected'/></graphml>", r"e.graphml: got an undirected graph; expected a directed one"),
    ("e.txt", "", r"e.txt: expected a run directory, or a file of edges that ends in .csv, .tsv, .parquet, .graphml"),
]


@pytest.mark.parametrize(("name", "text", "message"), FILES, ids=[f"{n} {m[:30]}" for n, _, m in FILES])
def test_files_that_are_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)

    def read() -> None:
        found = read_frames(tmp_path / name)
        from_frames(found.features, found.edges, out=tmp_path / "run", texts=found.texts)

    with pytest.raises(FormatError, match=message):
        read()


def test_the_graph_file_of_a_run_is_read_back(tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_layers=4, n_features=8, n_edges=80, seed=4)
    measured = InteractionSet.load(root / INTERACTIONS.name)
    features = read_table(root / FEATURES.name, FEATURES).to_pandas()
    graph = build_interaction_graph(measured, features=features)
    found = read_frames(save_graph(graph, tmp_path / "graph.graphml"))
    back = from_frames(found.features, found.edges, out=tmp_path / "back")
    seen, rows = loaded(back)
    assert set(zip(rows["src_id"], rows["tgt_id"], strict=True)) == set(graph.edges)
    again = build_interaction_graph(InteractionSet.load(back / INTERACTIONS.name), features=seen.features)
    for ends, data in graph.edges.items():
        names = ("strength", "total", "direct", "later", "q", "by", "type", "span", "n", "replicated", "method", "structural")
        assert [repr(again.edges[ends][n]) for n in names] == [repr(data[n]) for n in names]
    assert {n: d["uid"] for n, d in again.nodes.items()} == {n: d["uid"] for n, d in graph.nodes.items()}
    assert load_graph(tmp_path / "graph.graphml").number_of_edges() == len(rows)


ODD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(ODD, min_size=2, max_size=6, unique=True), data=st.data())
def test_any_names_and_strengths_come_through(tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject) -> None:
    layers = list(range(len(names)))
    pairs = [(i, j) for i in layers for j in layers if i < j]
    strengths = data.draw(st.lists(st.floats(-1e300, 1e300, allow_subnormal=False), min_size=len(pairs), max_size=len(pairs)))
    edges = pd.DataFrame({"source": [names[i] for i, _ in pairs], "target": [names[j] for _, j in pairs], "strength": strengths})
    features = pd.DataFrame({"id": names, "layer": layers})
    seen, rows = loaded(from_frames(features, edges, out=tmp_path_factory.mktemp("own") / "run"))
    assert dict(zip(zip(rows["src_layer"], rows["tgt_layer"], strict=True), rows["mean_strength"], strict=True)) == dict(
        zip(pairs, strengths, strict=True)
    )
    assert seen.edges == sum(s != 0 for s in strengths)


# --- the page ---


def prepared(folder: Path) -> None:
    """The files that the page's examples read."""
    one = torch.sparse_coo_tensor([[0, 5, 32768], [3, 32768, 1]], [0.5, 9.0, 9.0], (32769, 32769), check_invariants=True)
    placed = torch.sparse_coo_tensor([[0, 1], [7, 7], [0, 1], [3, 3]], [0.25, 0.5], (2, 32769, 2, 32769), check_invariants=True)
    edges = {"embed": {"attn_0": one}, "attn_0": {"resid_0": placed}, "resid_0": {"y": torch.ones(32769)}}
    torch.save({"examples": [], "nodes": {}, "edges": edges}, folder / "circuit.pt")
    rows = [
        "layer_a,feature_a,layer_b,feature_b,both,a,b,tokens",
        "0,1,2,3,50,100,200,10000",
        "2,3,0,1,50,200,100,10000",
        "0,4,2,3,1,100,200,10000",
    ]
    (folder / "cooccurrence.csv").write_text("\n".join(rows))
    (folder / "graph.json").write_text(json.dumps(random_document()))


BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
EDGES_OF_THE_PAGE = {"my-run": 3, "sfc-run": 2, "pmi-run": 1, "networkx-run": 2}


@pytest.mark.parametrize("block", BLOCKS, ids=[re.findall(r'out="([\w-]+)"', b)[0] for b in BLOCKS])
def test_the_examples_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    prepared(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(PAGE), "exec"), {"__name__": "page"})
    (out,) = re.findall(r'out="([\w-]+)"', block)
    seen, rows = loaded(tmp_path / out)
    assert seen.edges == len(rows) == EDGES_OF_THE_PAGE.get(out, len(rows)) > 0
    if out == "sfc-run":
        assert rows[["src_id", "tgt_id", "mean_strength"]].to_numpy().tolist() == [
            ["L0.embed_F3", "L0.attn_F0", 0.5],
            ["L0.attn_F3", "L0.resid_F7", 0.75],
        ]


def test_the_page_has_every_example() -> None:
    outs = {out for block in BLOCKS for out in re.findall(r'out="([\w-]+)"', block)}
    assert outs == {*EDGES_OF_THE_PAGE, "tracer-run"}


def test_it_needs_no_model_library() -> None:
    code = "import sys, ingest; print([n for n in ('torch', 'feature_graph', 'queries', 'transformer_lens') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
