"""The command line as people meet it: help at once, configurations by name, errors in one line, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from feature_graph.cli.common import cell, load_config, shipped_configs
from feature_graph.cli.demo import CASCADE, QUESTIONS, DemoQuestion
from feature_graph.cli.stages import STAGE_HELP
from feature_graph.config import Config, ConfigError
from feature_graph.pipeline import STAGE_NAMES, Manifest
from feature_graph.pipeline.lock import locked

HEAVY = (
    "torch",
    "pandas",
    "numpy",
    "scipy",
    "neo4j",
    "transformer_lens",
    "sae_lens",
    "transformers",
    "networkx",
    "plotly",
    "h5py",
)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})


def test_off_is_a_value_and_not_yamls_false() -> None:
    cfg = load_config("gpt2-small", ["sae_quality=off", "alignment=off"])
    assert (cfg.sae_quality, cfg.alignment) == ("off", "off")


@pytest.mark.parametrize("arguments", [["--help"], ["db", "--help"], ["query", "--help"], ["run", "--help"], ["ingest", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom feature_graph.cli import main\nsys.argv = ['feature-graph', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "Usage: feature-graph" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_every_stage_has_its_command() -> None:
    assert tuple(STAGE_HELP) == STAGE_NAMES
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(STAGE_NAMES) | {"run", "status", "ingest", "query", "analyze", "doctor", "demo", "version"} <= commands


# --- configurations ---


def test_shipped_configurations_load_and_are_listed(runner: CliRunner) -> None:
    shipped = shipped_configs()
    assert {"bundled", "bundled-residual", "gpt2-small", "gpt2-small-full", "pythia-70m", "gemma-2-2b"} <= set(shipped)
    result = runner.invoke(app, ["run", "--list"])
    assert result.exit_code == 0
    for name, path in shipped.items():
        assert f"{Config.load(path).n_tokens:,}" in result.stdout
        assert name in result.stdout


def test_overrides_are_values_of_yaml() -> None:
    cfg = load_config("bundled-residual", ["n_tokens=4000", "layers=[3, 7]", "prepend_bos=null", "min_effect=0.5"], Path("elsewhere"))
    assert (cfg.n_tokens, cfg.layers, cfg.prepend_bos, cfg.min_effect, cfg.output_dir) == (4000, [3, 7], None, 0.5, "elsewhere")


def test_a_run_directory_is_a_configuration(tmp_path: Path) -> None:
    Config(n_tokens=99, output_dir="as it was").save(tmp_path / "config.json")
    cfg = load_config(str(tmp_path))
    assert (cfg.n_tokens, cfg.output_dir) == (99, str(tmp_path))


def test_a_file_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundled").write_text(yaml.safe_dump({"n_tokens": 77}))
    assert load_config("bundled").n_tokens == 77


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "got 'nope'; expected a .yaml or .json file, a run directory, or one of: bundled"),
        (["nope.yaml"], "no configuration at nope.yaml"),
        (["bundled", "--set", "n_token=3"], "n_token: unknown field; did you mean n_tokens?"),
        (["bundled", "--set", "n_tokens=many"], "n_tokens: Input should be a valid integer"),
        (["bundled", "--set", "significance_level=2"], "significance_level: Input should be less than 1 (got 2)"),
        (["bundled", "--set", "n_tokens"], "--set: got 'n_tokens'; expected field=value"),
        (["bundled", "--set", "layers=[3"], "is not a value"),
        (["bundled", "--set", "layers=[3, 7]"], "leave layers out or name the same ones"),
        (["bundled", "--only", "colect"], "'colect'; the stages are collect, atlas"),
        (["bundled", "--only", "atlas", "--from", "atlas"], "give --only or --from, not both"),
        ([], "a configuration is needed"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(runner: CliRunner, arguments: list[str], said: str) -> None:
    result = runner.invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_a_wrong_configuration_touches_nothing(runner: CliRunner, tmp_path: Path) -> None:
    target = tmp_path / "run"
    assert runner.invoke(app, ["run", "bundled-residual", "-o", str(target), "--set", "layers=[5]"]).exit_code == 2
    assert not target.exists()


def test_debug_gives_the_traceback(runner: CliRunner) -> None:
    result = runner.invoke(app, ["--debug", "run", "nope"])
    assert isinstance(result.exception, ConfigError)


# --- run directories ---


def test_status_of_no_run(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["status", str(tmp_path)])
    assert result.exit_code == 1
    assert "no run directory" in result.stderr


def test_status_as_table_and_json(runner: CliRunner, tmp_path: Path) -> None:
    Config(output_dir=str(tmp_path)).save(tmp_path / "config.json")
    table = runner.invoke(app, ["status", str(tmp_path)])
    assert table.exit_code == 0
    assert table.stdout.count("not done yet") == len(STAGE_NAMES) - 2  # no responses are asked for, and so no seeds beforehand
    assert f"feature-graph run {tmp_path}" in " ".join(table.stdout.split())
    values = json.loads(runner.invoke(app, ["status", str(tmp_path), "--json"]).stdout)
    assert list(values["stages"]) == [name for name in STAGE_NAMES if name not in {"responses", "seeds"}]
    assert values["stages"]["collect"] == {
        "state": "not up to date", "reason": "not done yet", "parts": 0, "seconds": None, "rows": None, "error": ""
    }  # fmt: skip


def test_a_damaged_manifest_is_said(runner: CliRunner, tmp_path: Path) -> None:
    Config(output_dir=str(tmp_path)).save(tmp_path / "config.json")
    (tmp_path / "manifest.json").write_text("{")
    result = runner.invoke(app, ["status", str(tmp_path)])
    assert result.exit_code == 1
    assert "is damaged" in result.stderr


def test_a_locked_directory_is_said(runner: CliRunner, tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"):
        result = runner.invoke(app, ["run", "bundled", "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "in use by process" in result.stderr


def test_a_stage_alone_says_what_it_needs(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["atlas", "bundled", "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "atlas needs collect, which is not up to date" in result.stderr
    assert Manifest.load(tmp_path / "manifest.json").stages == {}


def test_an_unwritable_place_is_said(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = runner.invoke(app, ["run", "bundled", "-o", str(tmp_path / "file" / "run")])
    assert result.exit_code == 1
    assert str(tmp_path / "file") in result.stderr


def test_cells_of_tables() -> None:
    assert [cell(v) for v in (None, 1234567, 0.123456, True, "x")] == ["", "1,234,567", "0.1235", "True", "x"]


def test_version_names_the_libraries(runner: CliRunner) -> None:
    lines = runner.invoke(app, ["version"]).stdout.splitlines()
    assert lines[0].startswith("feature-graph ")
    assert any(line.startswith("torch ") for line in lines)


@pytest.mark.parametrize("question", [*QUESTIONS, CASCADE], ids=lambda question: question.name)
def test_the_demo_asks_what_the_templates_answer(question: DemoQuestion) -> None:
    template = queries.template(question.name)
    assert set(question.parameters) <= {parameter.name for parameter in template.parameters}
    assert set(question.columns) <= set(template.columns)
