"""What holds for every command: paths are no options, one meaning per short option, JSON answers and errors, old names, hints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.cli.commands import OLD_COMMANDS, OLD_OPTIONS
from feature_graph.config import Config

#: Short option → what it stands for, in every command that has it.
SHORT = {
    "-a": {"--algorithms"},
    "-b": {"--behavior"},
    "-c": {"--command"},
    "-d": {"--delta"},
    "-f": {"--format"},
    "-m": {"--metric"},
    "-n": {"--top", "--lines"},  # how many are shown
    "-o": {"--output", "--output-dir"},  # where the result is written
    "-p": {"--param"},
    "-q": {"--quiet"},
    "-t": {"--target"},
    "-v": {"--verbose"},
    "-y": {"--yes"},
}
#: Commands that do something instead of answering, or whose answer is a secret or a log.
NO_JSON = {"demo", "db start", "db stop", "db logs", "db password", "db browser", "db reset", "db shell"}


def commands() -> Iterator[tuple[str, Any]]:
    def walk(group: Any, above: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            path = f"{above} {name}".strip()
            yield from walk(command, path) if hasattr(command, "commands") else [(path, command)]

    yield from walk(typer.main.get_command(app), "")


COMMANDS = dict(commands())


def takes_path(parameter: Any) -> bool:
    return "path" in str(parameter.type_descriptor.annotation).lower()


PATH_OPTIONS = [(name, p.opts[0]) for name, c in COMMANDS.items() for p in c.params if takes_path(p) and p.opts[0].startswith("-")]


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})


def said(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def required(command: Any, folder: Path, but: str) -> list[str]:
    """Words for what the command needs beside the option that is tried."""
    words = []
    for parameter in command.params:
        if parameter.required and parameter.opts[0] != but:
            words += ([parameter.opts[0]] if parameter.opts[0].startswith("-") else []) + [str(folder)]
    return words


def test_path_options_are_found() -> None:
    assert {("query", "--favourites"), ("query", "--output"), ("run", "--output-dir"), ("db start", "--home")} <= set(PATH_OPTIONS)
    assert len(PATH_OPTIONS) > 40


@pytest.mark.parametrize(("name", "option"), PATH_OPTIONS, ids=" ".join)
def test_no_path_option_takes_an_option_for_a_path(name: str, option: str, runner: CliRunner, in_tmp_path: Path) -> None:
    words = [*name.split(), *required(COMMANDS[name], in_tmp_path, option), option, "--help"]
    done = runner.invoke(app, words)
    assert done.exit_code == 2, done.output
    assert "got '--help'; expected a path" in said(done.stderr)
    assert list(in_tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["report", ".", "-o", "page.pdf"], ["motifs", ".", "--null", "2", "-o", "x.png"], ["steer", ".", "--feature", "L1_F1", "-o", "a.csv"],
     ["query", "hubs", "-o", "answer.xls"], ["ingest", ".", "--bad-rows", "skip", "--rejected", "rows.csv"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_ending_that_cannot_be_written_is_refused(words: list[str], runner: CliRunner, in_tmp_path: Path) -> None:
    done = runner.invoke(app, words)
    assert done.exit_code == 2
    assert "expected a name that ends in" in said(done.stderr)
    assert list(in_tmp_path.iterdir()) == []


def test_the_ending_of_the_output_chooses_the_format(runner: CliRunner, in_tmp_path: Path) -> None:
    for name, begins in (("list.csv", b"name,family"), ("list.json", b"["), ("list.parquet", b"PAR1"), ("list.txt", b"questions")):
        assert runner.invoke(app, ["query", "--list", "-o", name]).exit_code == 0
        assert Path(name).read_bytes().startswith(begins)
    assert runner.invoke(app, ["query", "--list", "-o", "list.data", "--format", "json"]).exit_code == 0
    assert json.loads(Path("list.data").read_text())
    assert runner.invoke(app, ["query", "--list", "--format", "parquet"]).exit_code == 2


def test_a_short_option_has_one_meaning() -> None:
    group = typer.main.get_command(app)
    for parameter in [*group.params, *(p for command in COMMANDS.values() for p in command.params)]:
        short = [name for name in parameter.opts if len(name) == 2]
        for name in short:
            assert set(parameter.opts) - set(short) <= SHORT[name], f"{name}: {parameter.opts}"


def test_every_command_that_answers_has_json() -> None:
    assert {name for name, command in COMMANDS.items() if not any("--json" in p.opts for p in command.params)} == NO_JSON


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["status", "nowhere", "--json"], 2, "there is no directory nowhere"),
        (["statis", "x", "--json"], 2, "No such command 'statis'. Did you mean 'status'?"),
        (["analyze", "nowhere", "--format", "json"], 2, "nowhere: no such run directory"),
        (["query", "hub", "--json"], 2, "did you mean hubs"),
        (["status", ".", "--json"], 1, "no run directory"),
        (["steer", ".", "--feature", "l15_f2184", "--json"], 2, "did you mean L15_F2184?"),
    ],
)
def test_errors_are_json_where_the_answer_is(words: list[str], code: int, error: str, runner: CliRunner, in_tmp_path: Path) -> None:
    done = runner.invoke(app, words)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["exit_code"], done.stderr) == (code, code, "")
    assert error in told["error"]
    again = runner.invoke(app, [word for word in words if word not in {"--json", "--format", "json"}])
    assert (again.exit_code, again.stdout) == (code, "")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["query", "hubs", "measure=pagerank"], "did you mean --param measure=pagerank?"),
        (["run", "bundled", "n_tokens=4000"], "did you mean --set n_tokens=4000?"),
        (["run", "bundled-residual", "--set", "layers=3,7"], "a list is written [3,7]"),
        (["query", "neighbours", "--param", "feature=l15_f2184"], "did you mean L15_F2184?"),
        (["query", "neighbours", "--param", "feature=l5.mlp_f3"], "did you mean L5.mlp_F3?"),
        (["probe", ".", "--pairs", "L15_f1:L19_F2"], "did you mean L15_F1?"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_was_mistyped_gets_a_hint(words: list[str], hint: str, runner: CliRunner, in_tmp_path: Path) -> None:
    done = runner.invoke(app, words)
    assert done.exit_code == 2
    assert hint in said(done.stderr)


def test_help_has_a_short_name_and_the_version_an_option(runner: CliRunner) -> None:
    for name in COMMANDS:
        done = runner.invoke(app, [*name.split(), "-h"])
        assert done.exit_code == 0, name
        assert f"feature-graph {name}" in done.stdout or f"{name} [OPTIONS]" in done.stdout
    assert runner.invoke(app, ["--version"]).stdout.startswith("feature-graph ")
    shown = runner.invoke(app, ["--help"]).stdout
    assert "--install-completion" in shown
    assert "--show-completion" in shown


def test_names_of_old_are_names_of_no_other_option() -> None:
    last = {name.split()[-1]: command for name, command in COMMANDS.items()}
    for name, old in OLD_OPTIONS.items():
        opts = {opt for parameter in last[name].params for opt in parameter.opts}
        assert set(old.values()) <= opts
        assert not set(old) & opts
    assert set(OLD_COMMANDS.values()) <= set(COMMANDS)


def test_names_of_old_work_and_say_so(runner: CliRunner, tmp_path: Path) -> None:
    Config(output_dir=str(tmp_path)).save(tmp_path / "config.json")
    done = runner.invoke(app, ["recall", str(tmp_path), "-n", "4"])
    assert done.exit_code == 1
    assert "recall is now pruning-recall" in done.stderr
    assert "-n is now --sources" in done.stderr
    assert "activations.h5" in said(done.stderr)
    done = runner.invoke(app, ["steer", str(tmp_path), "-fL1_F1", "--themselves", "--at-most=2"])
    assert "-f is now --feature" in done.stderr
    assert "--themselves is now --compensate-directly" in done.stderr
    assert "name them by --compensate" in said(done.stderr)


@pytest.mark.parametrize("words", [["--json"], ["--format", "json"], ["--format=json"], ["-f", "json"], ["-fjson"]])
def test_an_error_is_json_however_json_was_asked_for(words: list[str], runner: CliRunner) -> None:
    result = runner.invoke(app, ["query", "no_such_question", *words])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["exit_code"] == 2
