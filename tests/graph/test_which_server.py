"""Which server, which database and which run is meant, however it is said; and what the server remarks on one's own Cypher."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import ingest.__main__
import queries
from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.database import store as graph_store
from feature_graph.database.store import Store
from ingest import IngestError
from tests.rundirs import random_run

pytestmark = pytest.mark.graph

Run = Callable[..., Result]
MISSING = r"'other', which bolt://127\.0\.0\.1:\d+ does not have; it has neo4j\. Choose one by --database, NEO4J_DATABASE or \?database="


@pytest.fixture(autouse=True)
def environment(neo4j_running: server.RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server of the user's; the session's server is the embedded one."""
    for name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD", "NEO4J_PASSWORD_FILE", "NEO4J_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FEATURE_GRAPH_HOME", str(neo4j_running.home.root))


@pytest.fixture
def command() -> Run:
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def said(done: Result) -> str:
    return " ".join(done.stderr.split())


@pytest.fixture
def two(database: Store, tmp_path: Path) -> tuple[str, str]:
    """Ids of two runs, called ``first`` and ``second``."""
    return database.ingest(random_run(tmp_path / "first", seed=1)).run, database.ingest(random_run(tmp_path / "second", seed=2)).run


def test_the_embedded_server_is_found_without_a_word(two: tuple[str, str], neo4j_server: server.Connection) -> None:
    with graph_store.connect() as db:
        assert [row["id"] for row in db.ask("runs").records] == [two[1], two[0]]
        assert db.database == "neo4j"
    graph = graph_store.connect_py2neo()
    try:
        assert queries.find_run(graph, "first") == two[0]
    finally:
        graph.service.connector.close()


def test_a_database_that_is_not_there(
    command: Run, two: tuple[str, str], neo4j_server: server.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*words: object) -> None:
        done = command(*words)
        assert done.exit_code == 1, done.output
        assert "'other'" in said(done)
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""

    uri = neo4j_server.uri
    refused("query", "runs", "--database", "other")
    refused("runs", "list", "--database", "other")
    refused("db", "migrate", "--database", "other")
    for words in (["query", "runs"], ["verify", tmp_path / "first"], ["runs", "drop", "first", "--yes"]):
        monkeypatch.setenv("NEO4J_DATABASE", "other")
        refused(*words)
        assert command("runs", "list", "--database", "neo4j").exit_code == 0
        assert command("runs", "list", "--home", server.find_home().root).exit_code == 0, "the home is named: it has one database"
        monkeypatch.delenv("NEO4J_DATABASE")
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)
    refused("query", "runs", "--uri", f"{uri}?database=other")
    refused("ingest", tmp_path / "first", "--uri", f"{uri}?database=other")
    assert command("query", "runs", "--uri", f"{uri}?database=neo4j").exit_code == 0
    both = command("query", "runs", "--uri", f"{uri}?database=neo4j", "--database", "other")
    assert "got 'other', and 'neo4j' in the address" in said(both)
    assert "'system', which holds users and databases" in said(command("query", "runs", "--database", "system"))
    monkeypatch.setenv("NEO4J_URI", f"{uri}?database=other")
    refused("query", "runs")
    with pytest.raises(graph_store.StoreError, match=MISSING):
        graph_store.connect()
    for connect in (graph_store.connect, graph_store.connect_py2neo):
        with pytest.raises(graph_store.StoreError, match=r"'other', which bolt://127\.0\.0\.1:\d+ does not have"):
            connect(uri, database="other")
    assert server.connection().database == "other"
    done = command("db", "shell", "-c", "RETURN 1 AS one")
    assert done.exit_code == 1
    assert "other" in said(done)
    assert command("db", "shell", "--database", "neo4j", "-c", "RETURN 1 AS one").exit_code == 0


def test_the_package_s_own_command(
    two: tuple[str, str],
    neo4j_server: server.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)
    root, uri = str(tmp_path / "first"), neo4j_server.uri
    for words in (["--uri", uri, "--database", "other"], ["--uri", f"{uri}?database=other"]):
        assert ingest.__main__.main([root, *words]) == 1
        assert "Choose one that is there by --database, NEO4J_DATABASE" in capsys.readouterr().err
    monkeypatch.setenv("NEO4J_DATABASE", "neo4j")
    assert ingest.__main__.main([root, "--uri", uri]) == 0
    assert ingest.__main__.main(["first", "--drop", "--uri", uri]) == 0
    assert f"run {two[0]} dropped" in capsys.readouterr().out


def test_a_run_by_its_name(command: Run, two: tuple[str, str], database: Store, tmp_path: Path) -> None:
    first, second = two
    rows = json.loads(command("query", "strongest", "-p", "run=first", "--json").stdout)
    assert rows == json.loads(command("query", "strongest", "-p", f"run={first}", "--json").stdout) != []
    assert json.loads(command("runs", "show", "second", "--json").stdout)["run"] == second
    assert json.loads(command("runs", "diff", "first", "second", "--json").stdout)["second"] == second
    assert command("runs", "export", "first", tmp_path / "out").exit_code == 0
    assert json.loads(command("analyze", "second", "-a", "degree", "--json").stdout)["part"]["run"] == second
    assert json.loads(command("motifs", "first", "--pattern", "A -> B", "--json").stdout)["count"] > 0
    assert database.find_run("first") == database.find_run(first[:10]) == first
    assert database.fetch_edges("first").equals(database.fetch_edges(first))
    assert len(graph_store.analyze(database, "degree", graph_store.Projection("first"))) > 0
    assert database.query("compare", run="first", other="second", limit=3)["change"].tolist() != []
    unknown = command("query", "hubs", "-p", "run=third")
    assert unknown.exit_code == 2
    assert f"the ready runs are {second} (second), {first} (first)" in said(unknown)
    assert f"run {first} dropped" in " ".join(command("runs", "drop", "first", "--yes").output.split())
    assert database.find_run() == second


def test_two_runs_of_one_name(command: Run, two: tuple[str, str], database: Store, tmp_path: Path) -> None:
    third = database.ingest(random_run(tmp_path / "elsewhere" / "first", seed=3)).run
    for words in (["query", "hubs", "-p", "run=first"], ["runs", "show", "first"], ["runs", "drop", "first", "--yes"]):
        done = command(*words)
        assert done.exit_code in (1, 2)
        assert "2 runs" in said(done)
        assert all(f"{id_} (first)" in said(done) for id_ in (two[0], third))
    with pytest.raises(queries.ParameterError, match="'first' means 2 runs"):
        database.fetch_features("first")
    with pytest.raises(IngestError, match="'first', which means 2 runs"):
        database.drop("first")
    database.drop(third)
    assert database.find_run("first") == two[0]
    database.write("MATCH (r:Run {id: $id}) SET r.name = $name", id=two[1], name=two[0][:4])
    with pytest.raises(queries.ParameterError, match="means 2 runs"):
        database.find_run(two[0][:4])
    assert database.find_run(two[0]) == two[0]


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("MATCH (f:Faeture) RETURN count(f) AS n", "`Faeture`"),
        ("MATCH (f)-[:EXCITES]->(g) RETURN count(f) AS n", "`EXCITES`"),
        ("MATCH (f:Feature) WHERE f.lable = 'x' RETURN count(f) AS n", "`lable`"),
    ],
)
def test_a_misspelt_name_in_one_s_own_cypher_is_said(
    command: Run, two: tuple[str, str], database: Store, text: str, unknown: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def once() -> None:
        told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len(told) == 1
        assert f"{unknown} does not exist. Verify that the spelling is correct." in told[0]
        caplog.clear()

    (tmp_path / "own.cypher").write_text(text)
    done = command("query", "--cypher", tmp_path / "own.cypher", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [{"n": 0}])
    assert unknown in said(done)
    once()
    shell = command("db", "shell", "-c", text)
    assert unknown in said(shell)
    once()
    ways: list[Callable[[], Any]] = [
        lambda: database.cypher(text),
        lambda: database.write(text),
        lambda: queries.ask(database.driver, text),
    ]
    for way in ways:
        way()
        once()


def test_nothing_is_remarked_on_what_is_known_or_on_our_own_questions(
    database: Store, two: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    database.cypher("MATCH (a:Feature), (b:Feature) RETURN count(*)")  # slow, and its author knows
    for name in ("behaviors", "runs", "hubs", "feature_in_runs"):
        feature = {"feature": database.fetch_features()["id"].iloc[0]} if name == "feature_in_runs" else {}
        database.ask(name, **feature)
    graph_store.analyze(database, "leiden")
    graph_store.fetch_motifs(database)
    graph_store.list_runs(database)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
