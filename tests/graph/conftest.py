"""One real Neo4j for the session, on free loopback ports, in a home of its own; never the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import server, store
from feature_graph.database.server.ports import any_port
from tests.graph.filled import empty_home, filled  # noqa: F401  (fixtures)
from tests.support.commands import Run
from tests.support.database import wipe

HEAP, PAGE_CACHE = "768m", "128m"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that change the schema come last: the server then forgets every plan that it has made, which take it minutes to make again."""
    items.sort(key=lambda item: item.get_closest_marker("changes_schema") is not None)


@pytest.fixture(scope="session")
def neo4j_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.RunningServer]:
    """The session's server."""
    home = tmp_path_factory.mktemp("neo4j") / "home"
    try:
        # Other groups start servers at the same time, and this one lives long enough for Java's optimising compiler.
        yield server.start(home, heap=HEAP, page_cache=PAGE_CACHE, bolt_port=any_port(), http_port=any_port())
    finally:
        server.stop(home)


@pytest.fixture(scope="session")
def neo4j_server(neo4j_running: server.RunningServer) -> server.Connection:
    """How to reach the session's server."""
    return neo4j_running.connection()


@pytest.fixture(scope="session")
def connected(neo4j_server: server.Connection) -> Iterator[store.Store]:
    """The session's server, opened; whatever another test left is still there."""
    with store.connect(neo4j_server.uri, neo4j_server.username, neo4j_server.password) as opened:
        yield opened


@pytest.fixture
def py2neo_graph(neo4j_server: server.Connection) -> Iterator[Any]:
    """The session's server, through py2neo."""
    graph = store.connect_py2neo(neo4j_server.uri, neo4j_server.username, neo4j_server.password)
    try:
        yield graph
    finally:
        graph.service.connector.close()


@pytest.fixture
def database(connected: store.Store) -> store.Store:
    """The session's server, empty but for its schema."""
    wipe(connected)
    return connected


@pytest.fixture
def disposable_home(tmp_path: Path) -> Iterator[Path]:
    """A home for tests that kill the server or change its set-up."""
    home = tmp_path / "home"
    try:
        yield home
    finally:
        server.stop(home)


@pytest.fixture
def command(neo4j_server: server.Connection) -> Run:
    """Call feature-graph with the address of the test's server."""

    def run(*arguments: object, password: str | None = None) -> click.testing.Result:
        given = [str(a) for a in arguments] + ["--uri", neo4j_server.uri]
        return CliRunner().invoke(app, given, env={"NEO4J_PASSWORD": password or neo4j_server.password, "COLUMNS": "200"})

    return run
