"""Results of other programs on the real server: attribution graphs, and Parquet files written from docs/artifacts.md alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ingest
import queries
from feature_graph.cli import app
from feature_graph.database.store import Store, export_run
from tests.attribution_json import crm_document, downloaded, feature, link, random_document, write

pytestmark = pytest.mark.graph

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "artifacts.md"


@pytest.fixture
def attribution(database: Store, tmp_path: Path) -> Path:
    """A run directory that the script made of an attribution graph, loaded."""
    path = write(tmp_path / "graph.json", random_document(seed=4, layers=6, per_layer=8))
    command = [sys.executable, "-m", "ingest.attribution_graphs", str(path), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert f"feature-graph ingest {tmp_path / 'run'}" in done.stdout
    report = database.ingest(tmp_path / "run")
    assert (report.already, report.behaviors) == (False, 1)
    return tmp_path / "run"


def test_an_attribution_graph_is_loaded_as_it_is(database: Store, attribution: Path) -> None:
    wanted = pd.read_parquet(attribution / "interactions.parquet")
    edges = database.fetch_edges()
    assert len(edges) == len(wanted) > 100
    assert set(edges["method"]) == {"attribution"}
    assert edges["strength"].tolist() == edges["direct"].tolist() == wanted["direct_strength"].tolist()
    assert edges["later"].tolist() == wanted["later_strength"].tolist()
    assert edges[["p", "q", "se", "ci_low", "copy", "q_direct"]].isna().all(axis=None)
    assert database.verify(attribution).ok
    assert database.ingest(attribution).already


def test_features_of_two_dictionaries_stay_apart_and_those_of_one_are_shared(database: Store, tmp_path: Path) -> None:
    """Two downloads of one model with different dictionaries, and a second prompt for one of them: through the command, loaded, asked."""
    nodes = [feature(0, 12284, 1, 2.0, "quantities and ratings"), feature(3, 10726, 1, 2.0)]
    made = {}
    for name, weight in (("gemmascope-transcoder-16k", 1.0), ("clt-hp", 1.0), ("clt-hp", 3.0)):
        path = write(tmp_path / f"{len(made)}.json", downloaded(nodes, [link("0_12284_1", "3_10726_1", weight)], name, f"prompt {weight}"))
        command = ["import", "attribution", str(path), "--output-dir", str(tmp_path / path.stem)]
        assert CliRunner().invoke(app, command).exit_code == 0
        made[path.stem] = database.ingest(tmp_path / path.stem).run
    uids = database.cypher("MATCH (f:Feature) RETURN f.uid AS uid, f.neuronpedia_url AS page ORDER BY uid")
    assert uids["uid"].tolist() == [
        f"gemma-2-2b@00000000/{name}/layer.{place}" for name in ("clt-hp", "gemmascope-transcoder-16k") for place in ("0/12284", "3/10726")
    ]
    assert uids["page"][0] == "https://www.neuronpedia.org/gemma-2-2b/0-clt-hp/12284"
    for run, strength in zip(made.values(), (0.5, 0.5, 1.5), strict=True):
        (row,) = database.ask("strongest", run=run).records
        assert (row["source"], row["target"], row["value"]) == ("L0_F12284", "L3_F10726", strength)


def test_transcoders_and_attention_of_one_layer_are_followed_in_their_order(database: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "crm.json", crm_document())
    assert CliRunner().invoke(app, ["import", "attribution", str(path), "--output-dir", str(tmp_path / "crm")]).exit_code == 0
    run = database.ingest(tmp_path / "crm").run
    assert database.verify(tmp_path / "crm").ok
    rows = {r["id"]: r["effect"] for r in database.ask("cascade", run=run, feature="L0.attn_F5", delta=1.0).records}
    assert rows == pytest.approx({"L0.mlp_F7": 0.5, "L1.attn_F9": -0.125, "L1.mlp_F3": 0.5 * 1 - 0.125 * 0.5})
    between = database.ask("between", run=run, source="L0.attn_F5", target="L1.mlp_F3").records
    assert [(r["id"], r["paths"], r["bottleneck"]) for r in between] == [("L0.mlp_F7", 2, True), ("L1.attn_F9", 1, False)]
    assert all(row["ok"] for row in database.ask("audit", run=run).records)


def test_every_question_can_be_asked_of_it(database: Store, attribution: Path) -> None:
    """With ``method=attribution``, and by itself as the run's only one; unknown values come back empty, never as zeros."""
    run = database.find_run()
    edges = database.fetch_edges()
    busiest = str(pd.concat([edges["source"], edges["target"]]).value_counts().index[0])
    last = edges.sort_values("span")["target"].iloc[-1]
    words = {"feature": busiest, "source": edges["source"].iloc[0], "target": last, "behavior": "texas", "other": "texas", "text": "about"}
    for template in queries.templates().values():
        if template.needs_decoders or any(p.type == "other_run" for p in template.parameters):
            continue
        given = {p.name: words[p.name] for p in template.parameters if p.required and p.name in words}
        given |= {"run": run} if template.name != "runs" else {}
        given |= {p.name: "attribution" for p in template.parameters if p.type == "method"}
        missing = [p.name for p in template.parameters if p.required and p.name not in given]
        assert not missing, (template.name, missing)
        database.ask(template.name, **given)
    strongest = database.ask("strongest", limit=1000).records
    assert [abs(row["value"]) for row in strongest] == sorted(edges["strength"].abs(), reverse=True)
    assert {row["q"] for row in strongest} == {row["copy"] for row in strongest} == {None}
    assert database.ask("strongest", effect="computed").rows == []
    assert {(row["mostly_copy"], row["median_q"]) for row in database.ask("quality").records} == {(None, None)}
    assert all(row["ok"] for row in database.ask("audit").records)
    assert database.ask("hubs", measure="pagerank").rows
    seeds = json.loads((attribution / "behaviors.json").read_text())["behaviors"][0]["seeds"]
    assert len(seeds) > 3
    assert database.ask("behaviors").records[0]["name"] == "texas"


@pytest.mark.parametrize("form", ["graphml", "csv", "parquet"])
def test_it_is_exported_with_what_is_unknown_left_out(database: Store, attribution: Path, tmp_path: Path, form: Any) -> None:
    export_run(database, database.find_run(), tmp_path / "out", form)
    files = sorted((tmp_path / "out").iterdir()) if (tmp_path / "out").is_dir() else [tmp_path / "out"]
    assert all(file.stat().st_size > 0 for file in files)
    text = "".join(file.read_text() for file in files if form != "parquet")
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def tables_of_the_page() -> dict[str, list[tuple[str, str, str, str]]]:
    """File → (column, type, whether it may be null, what it is if it is missing) from the tables of docs/artifacts.md."""
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    row = re.compile(r"^\| `(\w+)` \| ([\w<>&;]+) \| ([^|]*) \| ([^|]*) \|", re.MULTILINE)
    return {
        part.split()[0]: [(a, b, c.strip(), d) for a, b, c, d in row.findall(part)]
        for part in parts
        if part.split()[0].endswith(".parquet")
    }


def arrow_type(name: str) -> pa.DataType:
    return {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}[name]


def by_the_page(path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    """Write rows with the columns, types and nulls of the page's table, and the metadata that it asks for."""
    fields, columns = [], []
    for name, type_, null, missing in tables_of_the_page()[path.name]:
        values = [row.get(name) for row in rows]
        if missing.startswith("from ") and not any(name in row for row in rows):
            continue  # the page says what it follows from
        assert null or None not in values, f"{name} must not be null by the page"
        fields.append(pa.field(name, arrow_type(type_)))
        columns.append(pa.array(values, arrow_type(type_)))
    pq.write_table(pa.table(columns, pa.schema(fields, metadata={"kind": kind, "version": "1"})), path)


def another_program(root: Path) -> Path:
    """Six features in a chain of three layers, edges by a method of its own without a test."""
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"seed": 1, "what": "made by hand"}))
    features: list[dict[str, Any]] = [
        {"id": f"L{layer}_F{i}", "uid": f"mine@00000000/set/layer{layer}/{i}", "layer": layer, "index": i, "hook": f"h{layer}"}
        for layer in (1, 4, 9)
        for i in (3, 8)
    ]
    for fid, row in enumerate(features):
        row |= {"fid": fid, "label": "", "dead": False, "neuronpedia_url": ""}
    by_the_page(root / "features.parquet", "features", features)
    pairs = [(s, t) for s in features for t in features if s["layer"] < t["layer"]]
    edges = []
    for number, (s, t) in enumerate(sorted(pairs, key=lambda p: (p[0]["fid"], p[1]["fid"]))):
        strength = (-1) ** number * (number + 1) / 4
        row = {f"{end}_{key}": f[key] for end, f in (("src", s), ("tgt", t)) for key in ("fid", "id", "layer")}
        row |= {
            "method": "guess",
            "interaction_type": "excitatory" if strength > 0 else "inhibitory",
            "span": t["fid"] // 2 - s["fid"] // 2,
        }
        row |= dict.fromkeys(("mean_strength", "direct_strength", "preactivation_strength"), strength) | {"abs_strength": abs(strength)}
        row |= {"significant": True, "significant_by": "total+direct", "n_samples": 5, "n_documents": 5, "n_later": 0, "n_confirm": 0}
        edges.append(row | {"arm": "guess"})
    by_the_page(root / "interactions.parquet", "interactions", edges)
    return root


def test_the_page_is_enough_for_another_program(database: Store, tmp_path: Path) -> None:
    root = another_program(tmp_path / "theirs")
    report = database.ingest(root)
    assert (report.nodes, report.edges) == (6, 12)
    assert database.ask("neighbours", feature="L4_F3", direction="out").records[0]["id"] in {"L9_F3", "L9_F8"}
    assert sorted(abs(row["value"]) for row in database.ask("strongest", method="guess").records) == [n / 4 for n in range(1, 13)]
    assert database.verify(root).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {"method": "clamping"}, r"interactions\.parquet, row 0: \w+ = \w+; a value is required of method 'clamping'"),
        (lambda row: row | {"tgt_fid": 99}, r"row 0: tgt_fid = 99; features\.parquet has 0 to 5"),
        (lambda row: row | {"direct_strength": float("inf")}, r"row 0: direct_strength = inf; expected a finite number"),
        (lambda row: row | {"q_value": 1.5}, r"row 0: q_value = 1\.5; expected a value in \[0, 1\]"),
        (lambda row: row | {"method": "My Method"}, r"row 0: method = 'My Method'; expected a lower-case name"),
    ],
)
def test_what_the_page_forbids_is_refused(
    database: Store, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    root = another_program(tmp_path / "theirs")
    rows = pq.read_table(root / "interactions.parquet").to_pylist()
    by_the_page(root / "interactions.parquet", "interactions", [change(rows[0]), *rows[1:]])
    with pytest.raises(ingest.InvalidRun, match=message):
        database.ingest(root)
    assert database.cypher("MATCH (r:Run) RETURN r").empty
