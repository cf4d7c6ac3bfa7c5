"""The demo, as a command, on the bundled model: pipeline, real Neo4j, questions, GDS; then again, reusing what is there."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from feature_graph.cli.demo import QUESTIONS
from feature_graph.config import Config
from feature_graph.pipeline import stages_of, status
from feature_graph.terminal import percent
from tests.support.demo import Demo

pytestmark = [pytest.mark.slow, pytest.mark.graph, pytest.mark.model, pytest.mark.timeout(1800)]


def test_it_ends_well_and_says_where_everything_is(demo: Demo) -> None:
    assert demo.said.returncode == 0, demo.said.stderr[-3000:]
    assert status(demo.run_dir).complete
    for text in (
        "report         outputs/bundled/report.html",
        "Neo4j Browser  http://127.0.0.1:",
        "db password",
        "db stop",
        "interactions.parquet",
    ):
        assert text in demo.said.stdout
    for question in QUESTIONS:
        assert f"feature-graph query {question.name}" in demo.said.stdout


def test_it_begins_with_what_the_model_computes(demo: Demo) -> None:
    edges = pd.read_parquet(demo.run_dir / "interactions.parquet").query("significant")
    computed = edges[edges["computed_strength"].abs() >= edges["copy_strength"].abs()]
    farthest = edges["tgt_layer"] - edges["src_layer"] == 7
    first = demo.said.stdout.partition(".\n")[0].replace("\n", " ")
    assert first.startswith(f"Of {len(edges):,} edges, {percent(len(computed) / len(edges))} are at least as much computed as copied")
    assert f"of the {int(farthest.sum()):,} that cross 7 blocks" in first


def test_it_says_how_long_every_stage_took(demo: Demo) -> None:
    times = demo.said.stdout.rpartition("seconds")[2]
    names = re.findall(r"^│ ( *\w[\w ]*?) +│ +[\d.]+ │$", times, re.MULTILINE)
    stages = [f"  {stage.name}" for stage in stages_of(Config.load(demo.run_dir / "config.json"))]
    assert names == ["check the disk", "start Neo4j", "run the pipeline", *stages, "ingest", "ask", "all"]


def test_it_never_shows_the_password(demo: Demo) -> None:
    password = (demo.folder / ".feature-graph" / "password").read_text().strip()
    assert len(password) > 8
    assert password not in demo.said.stdout + demo.said.stderr


def test_the_database_holds_what_the_files_hold(demo: Demo) -> None:
    answer = demo.command("query", "runs", "--format", "json")
    assert answer.returncode == 0, answer.stderr
    (run,) = json.loads(answer.stdout)
    interactions = pd.read_parquet(demo.run_dir / "interactions.parquet")
    assert (run["status"], run["nodes"]) == ("ready", len(pd.read_parquet(demo.run_dir / "features.parquet")))
    assert run["edges"] == int(interactions["significant"].sum()) > 0


def test_a_second_call_reuses_what_is_there(demo: Demo) -> None:
    again = demo.demo()
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout.count("up to date") == len(stages_of(Config.load(demo.run_dir / "config.json")))
    assert "is already there" in again.stdout
    times = [re.search(r"start Neo4j\W+([\d.]+)", said.stdout) for said in (demo.said, again)]
    assert all(times)
