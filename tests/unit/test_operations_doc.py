"""docs/operations.md against the code: every command and option exists, every number and message is the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from feature_graph.cli import app
from feature_graph.database.server import homes, process, waiting
from feature_graph.database.server.jars import list_text, parse_list
from feature_graph.database.server.ports import BOLT_PORT, HTTP_PORT
from feature_graph.database.server.settings import Settings
from ingest import batch_size, connection, rundir, runs, schema, versions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PROSE = re.sub(r"\s+", " ", PAGE)


def command_lines() -> list[str]:
    """Every ``feature-graph …`` of the page's code, without comments."""
    fenced = "\n".join(re.findall(r"```(?:bash|console)\n(.*?)```", PAGE, re.DOTALL))
    indented = "\n".join(re.findall(r"^ {4}(feature-graph .*)$", PAGE, re.MULTILINE))
    inline = "\n".join(re.findall(r"`(feature-graph [^`]+)`", PAGE))
    lines = [line.split(" #")[0].strip() for line in f"{fenced}\n{indented}\n{inline}".splitlines()]
    return sorted({line for line in lines if line.startswith("feature-graph ")})


@pytest.mark.parametrize("line", command_lines())
def test_commands_and_their_options_exist(line: str) -> None:
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, line


def test_options_that_the_text_names_exist() -> None:
    root = typer.main.get_command(app)
    groups = [root, *(command for command in root.commands.values() if hasattr(command, "commands"))]  # type: ignore[attr-defined]
    parameters = [parameter for group in groups for command in group.commands.values() for parameter in command.params]
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= known


JARS = parse_list(list_text())
NUMBERS = [
    (r"\((\d+) jars, ", len(JARS)),
    (r" jars, (\d+) MB\)", round(sum(jar.size for jar in JARS) / 1e6)),
    (r"killed only after (\d+) s", process.STOP_SECONDS),
    (r"gave no answer within (\d+) s", waiting.START_SECONDS),
    (r"a home needs (\d+) MB free", homes.FREE_BYTES / 2**20),
    (r"127\.0\.0\.1:(\d+), HTTP", BOLT_PORT),
    (r"HTTP \(Neo4j Browser\) on 127\.0\.0\.1:(\d+)", HTTP_PORT),
    (r"in blocks of ([\d,]+), at", rundir.BLOCK_ROWS),
    (r"most ([\d,]+) per transaction", batch_size.MOST_ROWS),
    (r"tries again for (\d+) s", connection.PATIENCE_SECONDS),
    (r"After (\d+) s it gives up", connection.PATIENCE_SECONDS),
    (r"ends (\d+) s after its last sign", runs.LEASE_SECONDS),
    (r"died less than (\d+) s ago", runs.LEASE_SECONDS),
]


@pytest.mark.parametrize(("pattern", "value"), NUMBERS)
def test_numbers_are_those_of_the_code(pattern: str, value: float) -> None:
    found = re.findall(pattern, PROSE)
    assert found, pattern
    assert {float(number.replace(",", "")) for number in found} == {value}


def test_defaults_and_versions_are_those_of_the_code() -> None:
    assert f"The heap ({Settings().heap})" in PROSE
    assert f"the page cache ({Settings().page_cache})" in PROSE
    series = ".".join(map(str, versions.SUPPORTED))
    assert f"Supported is Neo4j {series} " in PROSE
    assert f"own Neo4j {series} Community" in PROSE
    neo4j = next(jar.version for jar in JARS if jar.artifact == "neo4j-server")
    gds = next(jar.version for jar in JARS if jar.group == "org.neo4j.gds" and jar.artifact == "proc")
    assert neo4j.startswith(f"{series}.")
    assert f"OpenGDS {gds.rpartition('.')[0]}" in PROSE
    assert f"plugin {gds.rpartition('.')[0]}" in PROSE
    vector = next(index.name for index in schema.INDEXES if index.kind == "VECTOR")
    assert f"`{vector}`" in PROSE


def test_messages_are_those_of_the_code() -> None:
    table = PAGE[PAGE.index("## When something is wrong") :].split("\n## ")[0]
    source = "".join(
        path.read_text(encoding="utf-8") for folder in ("feature_graph", "ingest", "queries") for path in (ROOT / folder).rglob("*.py")
    )
    words = re.sub(r'"\s*\n\s*f?"', "", source)
    messages = re.findall(r"\*([^*]+)\*", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| *")))
    assert len(messages) >= 12
    for message in messages:
        for part in re.split(r"…|\d+|'neo4j'| / |: ", message):
            assert len(part.strip()) < 4 or part.strip() in words, message


def test_files_and_variables_that_the_page_names_are_the_code_s() -> None:
    for name in ("FEATURE_GRAPH_HOME", "FEATURE_GRAPH_CACHE", "NEO4J_URI", "NEO4J_PASSWORD", "NEO4J_PASSWORD_FILE", "NEO4J_USERNAME"):
        assert f"`{name}" in PAGE or f"`${name}" in PAGE
    home = homes.Home(Path("/x"))
    for path in (home.data, home.conf, home.run, home.logs, home.password_file, home.settings_file, home.marker):
        assert f"`{path.name}" in PAGE
    for test in re.findall(r"tests/graph/[\w.]+", PAGE):
        assert (ROOT / test).is_file()
