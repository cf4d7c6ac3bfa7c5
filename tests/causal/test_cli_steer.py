"""``feature-graph steer`` on a tiny run: table, JSON and page; what cannot be steered is said before any work."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.artifacts import CONFIRM, SELECT, ActivationStore, RunPaths, parse_feature_id
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.graph import load_graph, structural
from feature_graph.steering import Compensation, SideEffects, predict_cascade
from feature_graph.steering.results.serialization import as_frame
from tests.support.changed_dictionary import changed_dictionary
from tests.tiny_run import write_tiny_run

runner = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    from feature_graph.pipeline import run as do

    cfg = write_tiny_run(tmp_path_factory.mktemp("steer"), behaviors=[])
    for stage in ("collect", "atlas", "candidates", "measure", "graph"):
        do(cfg, only=stage)
    return cfg


def documents(store: ActivationStore, name: str) -> int:
    """The fewer of the documents of the two splits in which a feature is active."""
    layer, index = parse_feature_id(name)
    rows = store.activations[layer].tocsc()[:, index].indices
    active = set((rows // store.context_length).tolist())
    return min(sum(store.splits[d] == split for d in active) for split in (SELECT, CONFIRM))


@pytest.fixture(scope="module")
def source(run: Config) -> str:
    """The feature of most edges among those active in enough held-out documents."""
    paths = RunPaths.of(run.output_dir)
    store, degree = ActivationStore.load(paths.activations), dict(structural(load_graph(paths.graph_json)).out_degree())
    return max(sorted(n for n in degree if documents(store, n) >= 6), key=lambda n: degree[n])


@pytest.fixture(scope="module")
def reached(run: Config, source: str) -> list[str]:
    return list(predict_cascade(load_graph(RunPaths.of(run.output_dir).graph_json), source, 1.0, 3, min_effect=0.0).effects)


def words(text: str) -> str:
    return " ".join(re.sub(r"[│┃]", " ", text).split())


def test_side_effects_and_counter_steers_are_printed_and_drawn(run: Config, source: str, reached: list[str], tmp_path: Path) -> None:
    page = tmp_path / "deep" / "steer.html"
    asked = ["--quiet", "steer", run.output_dir, "--feature", source, "--delta", "0.5", "--compensate", reached[0], "--output", str(page)]
    shown = runner.invoke(app, asked, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    text = words(shown.stdout)
    assert f"Side effects of {source} by +" in text
    assert "(+0.5 × its mean activation)" in text
    assert "Output: KL(steered ‖ clean) in nats" in text
    assert f"Compensating {source}" in text
    assert f"written to {page}" in text
    html = page.read_text(encoding="utf-8")
    for part in (f"Steering {source}", "Tokens gained and lost", "Counter-steers", "Forecast and measurement along the graph"):
        assert part in html
    assert "https://" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_json_is_all_that_was_measured(run: Config, source: str) -> None:
    result = runner.invoke(app, ["--quiet", "steer", run.output_dir, "--feature", source, "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["compensation"] is None
    values = printed["side_effects"]
    found = SideEffects(**(values | {k: as_frame(values[k]) for k in ("features", "output", "tokens")}))
    layer, index = parse_feature_id(source)
    unit = float(ActivationStore.load(RunPaths.of(run.output_dir).activations).mean_activations[layer][index])
    assert found.delta == pytest.approx(-0.5 * unit)  # units of the feature's mean activation, half of it down if not said otherwise
    later = {n for n in load_graph(RunPaths.of(run.output_dir).graph_json) if parse_feature_id(n)[0] > layer}
    assert set(found.features["feature"]) == later
    assert (found.output["kl"] >= 0).all()
    assert found.output["kl"].iloc[0] > 0


def test_counter_steers_come_as_json_too(run: Config, source: str, reached: list[str]) -> None:
    asked = [
        "--quiet",
        "steer",
        run.output_dir,
        "--feature",
        source,
        "--compensate",
        reached[0],
        "--measured",
        "--compensate-directly",
        "--max-counter-steers",
        "1",
        "--json",
    ]
    result = runner.invoke(app, asked)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)["compensation"]
    assert values["aim"] == "measured"
    assert values["effects"]["feature"][0] == reached[0]
    assert len(values["counters"]["feature"]) <= 1
    assert set(values) == {item.name for item in fields(Compensation)}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--feature", "7"], 2, "got '7', expected L<layer>_F<index>"),
        (["--feature", "L0_F1", "--delta", "0"], 2, "got 0.0; expected a finite number other than 0"),
        (["--feature", "L0_F1", "--delta", "nan"], 2, "got nan; expected a finite number"),
        (["--feature", "L0_F1", "--compensate", ","], 2, "expected ids such as L11_F5,L15_F7"),
        (["--feature", "L0_F1", "--compensate", "L1_F1,all"], 2, "got 'all', expected L<layer>_F<index>"),
        (["--feature", "L0_F1", "--target", "L1_F1"], 2, "name them by --compensate"),
        (["--feature", "L0_F1", "--measured"], 2, "name them by --compensate"),
        (["--feature", "L0_F1", "--compensate-directly"], 2, "name them by --compensate"),
        (["--feature", "L0_F1", "--compensate", "L1_F1", "--target", "goal"], 2, "got 'goal', expected L<layer>_F<index>"),
        (["--feature", "L0_F1", "--output", "picture.png"], 2, "expected a name that ends in .html"),
        (["--feature", "L0_F999"], 2, "got L0_F999; the SAE of layer 0 has 40 features"),
        ([], 2, "Missing option '--feature'"),
    ],
)
def test_what_cannot_be_steered_is_said(run: Config, arguments: list[str], code: int, message: str) -> None:
    result = runner.invoke(app, ["--quiet", "steer", run.output_dir, *arguments], env={"COLUMNS": "400"})
    assert result.exit_code == code, result.output
    assert message in words(result.output)


def test_side_effects_that_the_graph_does_not_know_are_refused(run: Config, source: str, reached: list[str]) -> None:
    graph = load_graph(RunPaths.of(run.output_dir).graph_json)
    layer = parse_feature_id(source)[0]
    unknown = sorted(n for n in graph if parse_feature_id(n)[0] > layer and n not in reached)
    if unknown:
        result = runner.invoke(
            app, ["--quiet", "steer", run.output_dir, "--feature", source, "--compensate", unknown[0]], env={"COLUMNS": "400"}
        )
        assert result.exit_code == 1
        assert "the graph forecasts no change of" in words(result.output)
    early = runner.invoke(app, ["--quiet", "steer", run.output_dir, "--feature", source, "--compensate", source], env={"COLUMNS": "400"})
    assert early.exit_code == 1
    assert f"expected features of layers after that of {source}" in words(early.output)


def test_a_run_without_files_is_told_what_is_missing(run: Config, tmp_path: Path) -> None:
    run.save(tmp_path / "config.json")
    result = runner.invoke(app, ["steer", str(tmp_path), "--feature", "L0_F1"])
    assert result.exit_code == 1
    assert "activations.h5: no such file" in result.output.replace("\n", "")


def test_a_dictionary_that_changed_since_the_run_is_refused(run: Config, source: str) -> None:
    with changed_dictionary(RunPaths.of(run.output_dir).manifest, "1"):
        result = runner.invoke(app, ["--quiet", "steer", run.output_dir, "--feature", source], env={"COLUMNS": "400"})
    assert result.exit_code == 1
    assert re.search(r"layer 1: the dictionary .* now has weights [0-9a-f]{8}, the run used 00000000", words(result.output))
