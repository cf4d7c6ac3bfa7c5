"""Every command that README and docs print is read by the real command line, and names features that its graph has."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import typer

import queries
from feature_graph.cli import app
from feature_graph.cli.commands import OLD_COMMANDS, OLD_OPTIONS
from feature_graph.cli.query import parse_parameters
from queries.check import example_run
from tests.support import printed
from tests.support.printed import ROOT, Printed

COMMANDS = printed.all_commands()
OURS = [command for command in COMMANDS if command.program == "feature-graph" and command.words]
#: What the bundled run printed; `make figures` writes it.
BUNDLED = (ROOT / "docs" / "figures.json").read_text(encoding="utf-8")
EXAMPLE = set(pd.read_parquet(example_run() / "features.parquet", columns=["id"])["id"])
MADE_UP = {"docs/howto-own-edges.md", "docs/artifacts.md", "docs/tutorial.md"}  # pages about graphs of the reader's own


def test_commands_are_found() -> None:
    assert len(OURS) > 100
    assert {"README.md", "docs/operations.md", "docs/queries.md", "docs/steering.md", "docker/README.md"} <= {c.page for c in OURS}


@pytest.fixture
def place(in_tmp_path: Path) -> Path:
    """A folder in which the files that the commands name are there."""
    for name in ("bundled", "bundled-residual", "other", "mine", "exhaustive", "gpt2-small"):
        (in_tmp_path / "outputs" / name).mkdir(parents=True)
    return in_tmp_path


@pytest.mark.parametrize("command", OURS, ids=str)
def test_the_command_line_reads_it(command: Printed, place: Path) -> None:
    words, group = list(command.words), typer.main.get_command(app)
    context = group.make_context("feature-graph", ["--help"], resilient_parsing=True)
    if words[0].startswith("-"):
        assert words[0] in {"--help", "--version", "-h"}
        return
    while hasattr(group, "commands") and words:
        assert words[0] not in OLD_COMMANDS, "a name of old"
        name, group, words = group.resolve_command(context, words)
        if hasattr(group, "commands"):
            context = group.make_context(name, ["--help"], parent=context, resilient_parsing=True)
    if words:  # a name alone is a mention, not a call
        assert not set(words) & set(OLD_OPTIONS.get(group.name, {})), "an option of old"
        group.make_context(group.name, words, parent=context)


@pytest.mark.parametrize("command", [c for c in OURS if c.words[0] == "query" and c.words[1:2] and c.words[1][0] != "-"], ids=str)
def test_its_question_and_parameters_exist(command: Printed) -> None:
    given = [word for before, word in zip(command.words, command.words[1:], strict=False) if before in {"-p", "--param"}]
    template = queries.template(command.words[1])
    values = parse_parameters(template, given)
    if given:
        assert {p.name for p in template.parameters if p.required} <= set(values)


@pytest.mark.parametrize("command", [c for c in OURS if c.features and c.page not in MADE_UP], ids=str)
def test_its_features_are_in_the_graph_of_its_page(command: Printed) -> None:
    known = EXAMPLE if command.page == "docs/queries.md" else None
    for feature in command.features:
        assert feature in known if known is not None else feature in BUNDLED, feature


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.program.startswith("python")], ids=str)
def test_python_files_and_modules_exist(command: Printed) -> None:
    first = command.words[0] if command.words else ""
    assert importlib.util.find_spec(first) if command.program == "python -m" else (ROOT / first).is_file()
