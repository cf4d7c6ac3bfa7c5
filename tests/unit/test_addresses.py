"""Addresses of servers: a password in one is refused in one line and shown nowhere; a database in one is honoured."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ingest.__main__
from feature_graph.cli import app
from feature_graph.database import server, store
from ingest import AddressRefused
from ingest.address import choose_database, parse_address
from ingest.environment import read_environment

SECRET = "sekret"
#: Every way in which a password comes with an address; what a shell or a colleague would make of it.
WITH_PASSWORD = [
    "bolt://neo4j:sekret@127.0.0.1:7687",
    "neo4j+s://neo4j:sekret@db.example.org",
    "BOLT://neo4j:sekret@localhost",
    "http://neo4j:sekret@localhost:7474",
    "neo4j:sekret@localhost:7687",
    "bolt://neo4j:se%6Bret-sekret%40x@localhost",
    "bolt://neo4j:sek/sekret#?@localhost",
    "bolt://neo4j:p@sekret@localhost",
    "bolt://neo4j:sekret%40localhost:7687",
    "bolt://sekret@localhost",
    "bolt://neo4j:sekret",
    "neo4j:sekret",
    "bolt:sekret",
    "bolt://localhost?password=sekret",
    "neo4j://localhost?user=neo4j&password=sekret",
    "bolt://localhost?sekret",
    "bolt://localhost/?auth=neo4j:sekret",
    "http://localhost?password=sekret",
    "bolt://localhost/sekret",
    "bolt://localhost#sekret",
    "bolt://[::1?sekret",
    "bolt://localhost:sekret",
]
COMMANDS = [
    ("query", "runs"),
    ("query", "--cypher", "statement.cypher"),
    ("ingest", "."),
    ("verify", "."),
    ("runs", "list"),
    ("runs", "list", "--json"),
    ("runs", "show", "a"),
    ("runs", "export", "a", "out"),
    ("runs", "diff", "a", "b", "--json"),
    ("runs", "drop", "a", "--yes"),
    ("analyze", "--algorithms", "degree", "--json"),
    ("motifs", "a", "--json"),
    ("db", "migrate"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server and no address of the user's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "statement.cypher").write_text("RETURN 1")
    monkeypatch.setenv("FEATURE_GRAPH_HOME", str(tmp_path / "home"))
    for name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_DATABASE", "NEO4J_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEO4J_PASSWORD", "other")


def silent(text: str) -> bool:
    return SECRET not in text and "Traceback" not in text and len(text.strip().splitlines()) == 1


@pytest.mark.parametrize("uri", WITH_PASSWORD)
def test_no_way_in_shows_the_password(uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("NEO4J_URI", uri)
    ways: list[tuple[type[Exception], Callable[[], object]]] = [
        (AddressRefused, lambda: parse_address(uri)),
        (store.AddressError, lambda: store.check_address(uri)),
        (store.AddressError, lambda: store.connect(uri)),
        (store.AddressError, lambda: store.connect()),
        (store.AddressError, lambda: store.connect_py2neo(uri)),
        (server.ServerError, server.connection_from_environment),
        (server.ServerError, server.connection),
    ]
    for kind, way in ways:
        with pytest.raises(kind, match="address: got") as caught:
            way()
        assert silent(str(caught.value))
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text


def commands_of(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command."""
    for name, command in group.commands.items():
        yield from commands_of(command, (*before, name)) if hasattr(command, "commands") else [((*before, name), command)]


def test_a_command_that_takes_an_address_takes_all_five_options_and_is_tried_here() -> None:
    five = {"--home", "--uri", "--user", "--insecure", "--database"}
    found = set()
    for words, command in commands_of(typer.main.get_command(app)):
        options = {option for parameter in command.params for option in parameter.opts}
        if "--uri" in options:
            found.add(words)
            assert five <= options, words
    assert found == {words[: 2 if words[0] in ("runs", "db") else 1] for words in COMMANDS}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("uri", [WITH_PASSWORD[0], WITH_PASSWORD[6], WITH_PASSWORD[13]])
def test_no_command_shows_the_password(words: tuple[str, ...], uri: str) -> None:
    done = CliRunner().invoke(app, [*words, "--uri", uri])
    assert done.exit_code == 2
    assert silent(done.output), done.output
    told = json.loads(done.stdout)["error"] if "--json" in words else done.stderr
    assert "address: got bolt://" in told


@pytest.mark.parametrize("words", [["query", "runs"], ["db", "shell", "-c", "RETURN 1"], ["doctor", "--json"]], ids=" ".join)
def test_nor_from_the_environment(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_URI", WITH_PASSWORD[0])
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert SECRET not in done.output
    assert "expected no user name and no password" in done.output
    if words[0] == "doctor":
        assert next(check for check in json.loads(done.stdout) if check["name"] == "Neo4j")["state"] == "problem"


def test_nor_a_traceback_that_was_asked_for() -> None:
    """In a process of its own, as people see it: with --debug, and from ``python -m ingest``."""
    environment = os.environ | {"PYTHONPATH": str(Path(ingest.__file__).parents[1])}
    for command, code in (
        (["-c", "from feature_graph.cli import main; main()", "--debug", "query", "runs", "--uri", WITH_PASSWORD[0]], 1),
        (["-m", "ingest", "run", "--verbose", "--uri", WITH_PASSWORD[0]], 2),
    ):
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code
        assert SECRET not in done.stdout + done.stderr
        assert "expected no user name and no password" in " ".join(done.stderr.split())


@pytest.mark.parametrize("uri", WITH_PASSWORD)
def test_nor_the_package_s_own_command(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.__main__.main(["run", "--uri", uri]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert silent(said.err)
    assert said.err.startswith("error: address: got")


@pytest.mark.parametrize(
    ("uri", "clean", "database"),
    [
        ("bolt://127.0.0.1:7687", "bolt://127.0.0.1:7687", None),
        ("bolt://127.0.0.1:7687/", "bolt://127.0.0.1:7687", None),
        ("bolt://127.0.0.1:7687?database=other", "bolt://127.0.0.1:7687", "other"),
        ("neo4j+s://db.example.org/?database=my.db", "neo4j+s://db.example.org", "my.db"),
        ("neo4j://db.example.org?policy=europe&database=x", "neo4j://db.example.org?policy=europe", "x"),
        (" bolt://[::1]:7687 ", "bolt://[::1]:7687", None),
    ],
)
def test_what_an_address_says(uri: str, clean: str, database: str | None) -> None:
    found = parse_address(uri)
    assert (found.uri, found.database) == (clean, database)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("bolt://localhost/other", r"with a path; expected none: name a database by --database.*bolt://localhost\?database=NAME"),
        ("bolt://localhost?database=a&database=b", r"expected nothing after the host and port but \?database=NAME"),
        ("bolt://localhost?database=", r"expected nothing after the host and port but \?database=NAME"),
        ("bolt://localhost?policy=europe", r"expected nothing after the host and port but \?database=NAME"),
        ("bolt://localhost:99999", "expected one of bolt"),
    ],
)
def test_what_an_address_cannot_say(uri: str, message: str) -> None:
    with pytest.raises(AddressRefused, match=message):
        parse_address(uri)


def test_which_database_is_meant() -> None:
    plain, named = parse_address("bolt://localhost"), parse_address("bolt://localhost?database=b")
    environment = read_environment({"NEO4J_DATABASE": "c"}).database
    assert choose_database(None, plain) is None
    assert choose_database(None, plain, read_environment({"NEO4J_DATABASE": ""}).database) is None
    assert choose_database(None, plain, environment) == "c"
    assert choose_database(None, named, environment) == "b"
    assert choose_database("a", plain, environment) == "a"
    assert choose_database("b", named, environment) == "b"
    with pytest.raises(AddressRefused, match=r"got 'a', and 'b' in the address"):
        choose_database("a", named, environment)


def test_a_database_without_a_graph_is_refused() -> None:
    with pytest.raises(store.StoreError, match="'system', which holds users and databases and no graph"):
        store.connect("bolt://localhost", database="system")


def test_without_an_address_the_embedded_server_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(store.NotReachable, match=r"No server is running on .*home.*feature-graph db start.* or set NEO4J_URI"):
        store.connect()
