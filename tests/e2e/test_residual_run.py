"""A run between the bundled residual SAEs, from the pipeline's files into the demo's Neo4j: loaded, verified, asked, reported, dropped.

In `make test` a run between residual SAEs of a small model is loaded (test_worked_example.py), and the band's is loaded and asked
(test_demo.py).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_graph.pipeline import status
from tests.support.demo import Demo

pytestmark = [pytest.mark.long, pytest.mark.graph, pytest.mark.model, pytest.mark.timeout(1800)]


def asked(demo: Demo, *words: object) -> Any:
    done = demo.command(*map(str, words))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_it_goes_all_the_way(demo: Demo, residual_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(residual_run, tmp_path / "run"))
    assert status(run).complete
    edges = pd.read_parquet(run / "interactions.parquet").query("significant")
    loaded = demo.command("ingest", str(run), "--home", str(demo.home))
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    newest, *others = asked(demo, "query", "runs", "--format", "json")
    try:
        assert (newest["status"], newest["edges"]) == ("ready", len(edges))
        checked = demo.command("verify", str(run))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        here = ("--param", f"run={newest['id']}", "--format", "json")
        flow = {(row["source_layer"], row["target_layer"]): row["count"] for row in asked(demo, "query", "layer_flow", *here)}
        by_layers = edges[edges["span"] == 1].groupby(["src_layer", "tgt_layer"]).size().to_dict()
        assert {pair: flow[pair] for pair in by_layers} == by_layers
        families = asked(demo, "query", "families", *here)
        assert families, "residual SAEs have copies"
        source = edges.iloc[edges["abs_strength"].argmax()]
        rows = asked(demo, "query", "neighbours", "--param", f"feature={source['src_id']}", "--param", "limit=1000", *here)
        assert source["tgt_id"] in {row["id"] for row in rows}
        hubs = asked(demo, "query", "hubs", "--param", "measure=pagerank", *here)
        assert hubs[0]["score"] >= hubs[-1]["score"] > 0
        reported = demo.command("report", str(run))
        assert reported.returncode == 0, reported.stderr[-3000:]
        assert source["src_id"] in (run / "report.html").read_text(encoding="utf-8")
    finally:
        dropped = demo.command("runs", "drop", newest["id"], "--yes")
        assert dropped.returncode == 0, dropped.stderr
    gone, *left = asked(demo, "query", "runs", "--format", "json")
    assert (gone["id"], gone["status"]) == (newest["id"], "dropped")
    assert left == others
