"""``feature-graph validate`` on a tiny run, and what behaviours share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from feature_graph.artifacts import RunPaths
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.subgraphs.compare import overlap, shared_features
from tests.support.changed_dictionary import changed_dictionary
from tests.tiny_run import write_tiny_run

runner = CliRunner()

LETTERS = "\n".join(
    f"  - {{group: {g}, clean: 'the {g}', corrupted: 'a {g}', answers: '{right}', wrong: '{wrong}'}}"
    for g, right, wrong in zip("abcdefghij", "klmnopqrst", "ponmlkjihg", strict=True)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    from feature_graph.pipeline import run as do

    cfg = write_tiny_run(tmp_path_factory.mktemp("validate"), behaviors=[])
    for stage in ("collect", "atlas", "candidates", "measure", "graph"):
        do(cfg, only=stage)
    return cfg


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    path = tmp_path / "letters.yaml"
    path.write_text(f"name: letters\ndescription: one letter after another\nprompts:\n{LETTERS}\n", encoding="utf-8")
    return path


def test_it_measures_prints_and_keeps_the_figures(run: Config, letters: Path) -> None:
    asked = ["--quiet", "validate", run.output_dir, "-b", str(letters), "--sources", "4"]
    result = runner.invoke(app, [*asked, "--json"])
    assert result.exit_code == 0, result.output
    printed, path = json.loads(result.stdout), RunPaths.of(run.output_dir).validation
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert (kept["kind"], kept["version"]) == ("validation", 1)
    assert {key: kept[key] for key in printed} == printed
    behavior = printed["behaviors"]["letters"]
    assert {"score", "seeds", "confirmed", "faithfulness", "completeness", "random_faithfulness", "size_for_80"} <= set(behavior)
    assert behavior["able"] or behavior["faithfulness"] is None
    for hop in ("hop1", "hop2", "hop3"):
        assert {"spearman", "ci", "pearson", "slope", "sign", "coverage", "baselines"} <= set(printed["cascade"][hop])
    assert printed["cascade"]["hop1"]["n"] > 0
    assert len(kept["pairs"]["forecast"]) == sum(printed["cascade"][f"hop{h}"]["n"] for h in (1, 2, 3))
    parts = sorted(p.name for p in RunPaths.of(run.output_dir).parts("validate").iterdir())
    assert parts == ["behavior-letters.json", "cascade.json"]
    before = {p: p.stat().st_mtime_ns for p in RunPaths.of(run.output_dir).parts("validate").iterdir()}
    again = runner.invoke(app, asked)
    assert again.exit_code == 0, again.output
    assert "letters" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in before} == before  # nothing was measured anew


def test_an_unknown_behaviour_is_refused_before_any_work(run: Config) -> None:
    result = runner.invoke(app, ["validate", run.output_dir, "-b", "mind_reading"])
    assert result.exit_code == 2
    assert "got 'mind_reading', expected one of factual_recall" in result.output.replace("\n", " ")


def test_a_run_without_files_is_told_what_is_missing(run: Config, tmp_path: Path) -> None:
    run.save(tmp_path / "config.json")
    result = runner.invoke(app, ["validate", str(tmp_path)])
    assert result.exit_code == 1
    assert "activations.h5: no such file" in result.output.replace("\n", "")


def test_a_dictionary_that_changed_since_the_run_is_refused(run: Config, letters: Path) -> None:
    paths = RunPaths.of(run.output_dir)
    with changed_dictionary(paths.manifest, "1"):
        result = runner.invoke(app, ["--quiet", "validate", run.output_dir, "-b", str(letters), "--sources", "5"])
    assert result.exit_code == 1
    assert "layer 1: the dictionary that the configuration names now has weights" in " ".join(result.output.split())


def test_overlap_is_jaccard_and_its_test_knows_chance() -> None:
    pool = [f"L{layer}_F{i}" for layer in (0, 1) for i in range(100)]
    same, half = pool[:10] + pool[100:110], pool[5:15] + pool[105:115]
    found = overlap({"one": same, "two": half, "far": pool[50:60]}, pool).set_index(["a", "b"])
    assert found.loc[("one", "two"), "shared"] == 10
    assert found.loc[("one", "two"), "jaccard"] == pytest.approx(10 / 30)
    assert found.loc[("one", "two"), "expected"] == pytest.approx(2 / 38, abs=0.01)
    assert found.loc[("one", "two"), "p"] < 0.01
    assert found.loc[("one", "far"), "p"] > 0.2
    assert (found["q"] >= found["p"]).all()
    assert shared_features({"one": same, "two": half, "far": half[:1]})[0] == (half[0], ["one", "two", "far"])


def test_p_values_of_random_sets_are_not_too_small() -> None:
    rng = np.random.default_rng(0)
    pool = [f"L0_F{i}" for i in range(200)]
    p = []
    for seed in range(200):
        a, b = ([pool[i] for i in rng.choice(200, 40, replace=False)] for _ in range(2))
        p.append(float(overlap({"a": a, "b": b}, pool, draws=200, seed=seed)["p"].iloc[0]))
    assert np.mean(np.array(p) < 0.05) < 0.09


def test_one_behaviour_has_no_pairs() -> None:
    assert overlap({"one": ["L0_F1"]}, []).empty


def test_the_report_shows_what_was_measured(run: Config, letters: Path) -> None:
    from feature_graph.report import write_report
    from tests.support.report_run import words

    paths = RunPaths.of(run.output_dir)
    assert runner.invoke(app, ["--quiet", "validate", run.output_dir, "-b", str(letters), "--sources", "4"]).exit_code == 0
    page = words(write_report(paths.root))
    assert "Does the graph predict the model?" in page
    assert "Steering: forecast and measured" in paths.report.read_text(encoding="utf-8")
    paths.validation.unlink()
    assert "Does the graph predict the model?" not in words(write_report(paths.root))
