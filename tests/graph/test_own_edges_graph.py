"""Edges of one's own in Neo4j: from files and data frames, within a layer, and back from what ``runs export`` wrote, value for value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ingest
from feature_graph.database.store import Store
from ingest import digest
from ingest.formats import FEATURES, INTERACTIONS, write_table
from ingest.rows import EDGE_PROPERTIES
from tests.mixed_runs import mixed_run
from tests.rundirs import random_run
from tests.support.commands import Run

pytestmark = pytest.mark.graph

LABELS = ["plain", 'a "quoted", comma', "two\nlines\r\nthree", "", "NaN", "null", " \x1b[31m ", "été ↵", "bare \r return"]


def edge_rows(database: Store, run: str) -> list[list[Any]]:
    properties = ", ".join(f"e.{name}" for name in EDGE_PROPERTIES)
    text = "MATCH (r:Run {id: $run}) MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = r.n "
    return list(database.cypher(f"{text} RETURN [s.uid, t.uid, {properties}] AS row", run=run)["row"])


@pytest.fixture
def measured(database: Store, tmp_path: Path) -> tuple[Store, str, Path]:
    """A run by clamping, with labels that are hard on files."""
    root = random_run(tmp_path / "run", n_features=12, n_edges=200, seed=5)
    features = pd.read_parquet(root / FEATURES.name)
    features["label"] = [LABELS[i % len(LABELS)] for i in range(len(features))]
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    return database, database.ingest(root).run, root


def test_what_an_export_holds_is_read_back_with_the_same_digest(
    command: Run,
    measured: tuple[Store, str, Path],
    tmp_path: Path,
) -> None:
    database, run, _ = measured
    rows = edge_rows(database, run)
    labels = database.fetch_features(run).set_index("uid")["label"].to_dict()
    assert len(rows) > 50
    for kind in ("csv", "parquet", "graphml"):
        folder = tmp_path / kind
        command("runs", "export", run, folder, "-f", kind)
        done = command("ingest", folder)
        assert done.exit_code == 0, done.output
        back = ingest.run_id(tmp_path / f"{kind}-run")
        assert back != run
        assert digest.of_rows(edge_rows(database, back)) == digest.of_rows(rows), kind
        assert database.fetch_features(back).set_index("uid")["label"].to_dict() == labels, kind
        assert database.verify(tmp_path / f"{kind}-run").ok
    counts = database.cypher("MATCH (f:Feature) RETURN count(f) AS n")["n"].iloc[0]
    assert counts == len(labels)  # the same features, by uid


@pytest.mark.parametrize("kind", ["csv", "parquet", "graphml"])
def test_an_export_with_several_dictionaries_a_layer_is_read_back(command: Run, database: Store, tmp_path: Path, kind: str) -> None:
    run = database.ingest(mixed_run(tmp_path / "run")).run
    rows = edge_rows(database, run)
    inside = EDGE_PROPERTIES.index("blocks") + 2
    assert sum(row[inside] == 0 for row in rows) > 10
    command("runs", "export", run, tmp_path / "out", "-f", kind)
    done = command("ingest", tmp_path / "out")
    assert done.exit_code == 0, done.output
    back = edge_rows(database, ingest.run_id(tmp_path / "out-run"))
    held = EDGE_PROPERTIES.index("structural") + 2  # follows from the number of held features, which a graph does not have
    assert digest.of_rows([row[:held] + row[held + 1 :] for row in back]) == digest.of_rows([row[:held] + row[held + 1 :] for row in rows])
    assert database.verify(tmp_path / "out-run").ok


def test_a_file_of_edges_answers_questions(command: Run, database: Store, tmp_path: Path) -> None:
    edges = pd.DataFrame({"source": ["L0_F1", "L0_F2", "L3_F4"], "target": ["L3_F4", "L3_F4", "L7_F0"], "strength": [0.5, -0.25, 1.0]})
    edges.to_csv(tmp_path / "edges.csv", index=False)
    done = command("ingest", tmp_path / "edges.csv", "--model", "gpt2", "--method", "attribution", "--output-dir", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    assert "4 features, 3 edges" in done.output
    again = command("ingest", tmp_path / "edges.csv", "--model", "gpt2", "--method", "attribution", "--output-dir", tmp_path / "mine")
    assert "is already there" in again.output
    strongest = json.loads(command("query", "strongest", "--json").stdout)
    assert len(strongest) == 3
    hubs = json.loads(command("query", "hubs", "--json").stdout)
    assert hubs[0]["id"] == "L3_F4"
    wrong = command("ingest", tmp_path / "edges.csv", "--features", tmp_path / "none.csv", "--output-dir", tmp_path / "other")
    assert wrong.exit_code == 1
    assert "none.csv: no such file" in wrong.output.replace("\n", "")


def test_edges_within_a_layer(database: Store, tmp_path: Path) -> None:
    pairs = [("L5.attn_F1", "L5.mlp_F1", 0.5), ("L5.mlp_F1", "L6.attn_F1", -0.5), ("L5.attn_F1", "L6.attn_F1", 0.1)]
    edges = pd.DataFrame(pairs, columns=["source", "target", "strength"])
    root = ingest.from_frames(None, edges, model="gpt2", method="attribution", site_order=["attn", "mlp"], out=tmp_path / "run")
    report = database.ingest(root)
    assert (report.nodes, report.edges) == (3, 3)
    assert database.verify(root).ok
    found = database.fetch_edges(report.run)
    assert set(zip(found["source"], found["target"], found["span"], strict=True)) == {
        ("L5.attn_F1", "L5.mlp_F1", 1),
        ("L5.mlp_F1", "L6.attn_F1", 1),
        ("L5.attn_F1", "L6.attn_F1", 2),
    }
    assert len(database.cypher("MATCH (p:Site) RETURN p")) == 3
    assert len(database.query("strongest", run=report.run)) == 3
    answer = database.query("neighbours", run=report.run, feature="L5.mlp_F1")
    assert set(answer["id"]) == {"L5.attn_F1", "L6.attn_F1"}


def test_a_run_directory_of_other_types(database: Store, tmp_path: Path) -> None:
    """The same result in pandas' own types, and without the columns that follow, is the same graph."""
    root = random_run(tmp_path / "run", n_features=8, n_edges=60, seed=6)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes((root / "config.json").read_bytes())
    for fmt in (FEATURES, INTERACTIONS):
        frame = pd.read_parquet(root / fmt.name).drop(columns=["abs_strength", "interaction_type", "significant"], errors="ignore")
        frame = frame.astype(dict.fromkeys(frame.select_dtypes("int32"), "int64"))
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata({"kind": fmt.kind, "version": "1"})
        pq.write_table(table, other / fmt.name)
    one, two = database.ingest(root), database.ingest(other)
    assert one.edges == two.edges > 20
    names = [i for i, name in enumerate(EDGE_PROPERTIES) if name != "type"]
    rows = [sorted(repr([row[0], row[1], *(row[i + 2] for i in names)]) for row in edge_rows(database, run)) for run in (one.run, two.run)]
    assert rows[0] == rows[1]
    assert database.verify(other).ok
