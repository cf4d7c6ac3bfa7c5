"""``feature-graph quality`` on a small model, dictionaries and texts in local folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from tests.support.component_config import write_component_config
from tests.tiny_run import write_tiny_run

FIGURES = {
    "explained_variance",
    "explained_variance_typical",
    "l0",
    "dead",
    "ce_recovered_zero",
    "ce_recovered_mean",
    "skip_share",
    "error_share",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    cfg = write_tiny_run(root)
    cfg.save(root / "tiny.yaml")
    return root / "tiny.yaml"


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})


def test_json_holds_every_figure_of_every_dictionary(config: Path, runner: CliRunner) -> None:
    done = runner.invoke(app, ["-q", "quality", str(config), "--tokens", "512", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["dictionaries"]) == ["L0", "L1", "L2"]
    assert found["text"].endswith("text.txt")
    for one in found["dictionaries"].values():
        assert set(one) >= FIGURES
        assert one["response_ev"] == {"decoders": None, "arrivals": None, "random": None}
        assert set(one["l0"]) == {"value", "n", "ci_low", "ci_high"}
        assert one["l0"]["ci_low"] <= one["l0"]["value"] <= one["l0"]["ci_high"]
        assert one["l0"]["n"] == found["tokens"] >= 480
        assert one["published"] == {"l0": None, "explained_variance": None}
        assert one["verdict"].endswith(".")
    again = runner.invoke(app, ["-q", "quality", str(config), "--tokens", "512", "--json"])
    assert json.loads(again.stdout) == found


def test_people_get_tables_of_eighty_columns_and_a_sentence_each(config: Path, runner: CliRunner) -> None:
    done = runner.invoke(app, ["-q", "quality", str(config), "--tokens", "512"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split(":")[0] for line in lines if line[:2] in {"L0", "L1", "L2"} and ":" in line[:4]} == {"L0", "L1", "L2"}
    assert "typical" in done.stdout


def test_the_text_is_the_users_choice(config: Path, runner: CliRunner, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the river sees a light " * 200)
    done = runner.invoke(app, ["-q", "quality", str(config), "--tokens", "256", "--text", str(other), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["text"] == str(other)


def test_a_run_is_measured_on_the_contexts_that_it_recorded(runner: CliRunner, tmp_path: Path) -> None:
    cfg = write_tiny_run(tmp_path)
    cfg.save(tmp_path / "tiny.yaml")
    assert runner.invoke(app, ["-q", "run", str(tmp_path / "tiny.yaml"), "--only", "collect"]).exit_code == 0
    (tmp_path / "text.txt").unlink()  # not needed any more
    done = runner.invoke(app, ["-q", "quality", cfg.output_dir, "--tokens", "512", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["documents"], list(found["dictionaries"])) == (32, ["L0", "L1", "L2"])


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["nowhere"], 2, "got 'nowhere'; expected a .yaml or .json file"),
        (["CONFIG", "--text", "nothing.txt"], 2, "there is no file nothing.txt"),
        (["CONFIG", "--set", "sae_release=nowhere/at/all"], 1, "nowhere/at/all"),
    ],
)
def test_errors_are_one_sentence_and_json_where_the_answer_is(
    words: list[str], code: int, error: str, config: Path, runner: CliRunner, in_tmp_path: Path
) -> None:
    given = [str(config) if word == "CONFIG" else word for word in words]
    done = runner.invoke(app, ["quality", *given, "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["exit_code"]) == (code, code), told
    assert error in told["error"]


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("components")
    write_component_config(root).save(root / "components.yaml")
    return root / "components.yaml"


def test_dictionaries_on_components_get_their_responses(components: Path, runner: CliRunner) -> None:
    done = runner.invoke(app, ["-q", "quality", str(components), "--tokens", "512", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["dictionaries"]
    assert list(found) == ["L0", "L1.attn", "L1.tc", "L1.mlp", "L2"]
    for name in ("L1.attn", "L1.mlp"):
        assert all(figure["value"] == pytest.approx(1, abs=1e-4) for figure in found[name]["response_ev"].values())
        assert (found[name]["skip_share"], found[name]["shares_along"]) == (None, "arrivals")
        assert found[name]["explained_variance"]["value"] == pytest.approx(1, abs=1e-4)
    transcoder = found["L1.tc"]
    assert all(figure["ci_low"] <= figure["value"] <= figure["ci_high"] < 1 for figure in transcoder["response_ev"].values())
    assert transcoder["skip_share"]["n"] == transcoder["response_ev"]["arrivals"]["n"] > 100
    assert found["L0"]["response_ev"] == {"decoders": None, "arrivals": None, "random": None}
    shown = runner.invoke(app, ["-q", "quality", str(components), "--tokens", "512"])
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "Response EV by kind of direction" in shown.stdout
