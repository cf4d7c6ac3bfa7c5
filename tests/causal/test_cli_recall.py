"""``feature-graph pruning-recall`` on a tiny run, and its figures in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.artifacts import PruningRecall, RunPaths, StageLoss
from feature_graph.artifacts.recall import STAGE_NAMES
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.report import write_report
from tests.support.report_run import make_run, words
from tests.tiny_run import write_tiny_run

runner = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    from feature_graph.pipeline import run as do

    cfg = write_tiny_run(tmp_path_factory.mktemp("recall"))
    for stage in ("collect", "atlas", "candidates"):
        do(cfg, only=stage)
    return cfg


def test_it_measures_prints_and_keeps_the_figures(run: Config) -> None:
    result = runner.invoke(app, ["--quiet", "pruning-recall", run.output_dir, "--sources", "4", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    found = PruningRecall.load(RunPaths.of(run.output_dir).pruning_recall)
    assert printed == json.loads(json.dumps(found.to_dict()))
    assert found.settings["measured_window"] == run.layer_window + 1
    assert {loss.stage for loss in found.losses} == set(STAGE_NAMES)
    assert all(0 <= loss.lost <= loss.edges for loss in found.losses)
    assert sum(d["drawn"] for d in found.sources.values()) == 8  # of two layers; the last one has no targets
    again = runner.invoke(app, ["--quiet", "pruning-recall", run.output_dir, "--sources", "4"])
    assert again.exit_code == 0, again.output
    assert "co-activation" in again.stdout
    assert "inhibitory" in again.stdout
    assert f"{found.tested:,} pairs measured" in again.stdout


def test_a_run_without_candidates_is_told_what_is_missing(run: Config, tmp_path: Path) -> None:
    run.save(tmp_path / "config.json")
    result = runner.invoke(app, ["pruning-recall", str(tmp_path)])
    assert result.exit_code == 1
    assert "activations.h5: no such file" in result.output.replace("\n", "")


def test_the_report_shows_it_where_it_was_measured(tmp_path: Path) -> None:
    paths = make_run(tmp_path / "run")
    assert "What pruning loses" not in words(write_report(paths.root))
    losses = [
        StageLoss(stage, group, sign, 200, 50, 0.25, 0.2, 0.31, 0.125)
        for stage in STAGE_NAMES
        for group in ("all", "top")
        for sign in ("both", "excitatory", "inhibitory")
    ]
    PruningRecall(tuple(losses), 12_345, 678, settings={"measured_window": 3}).save(paths.pruning_recall)
    text = words(write_report(paths.root))
    assert "What pruning loses" in text
    assert "up to 3 sites on: 12,345 pairs, 678 of them significant" in text
    assert "co-activation 50 of 200 25% 20% … 31%" in text
    paths.pruning_recall.write_text("{}")
    assert "pruning_recall.json cannot be read" in words(write_report(paths.root))
