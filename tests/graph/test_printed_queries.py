"""Every command of docs/queries.md, run as it is printed on the graph that the page is about: the shipped example."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.database.store import Store
from tests.support import printed
from tests.support.database import wipe
from tests.support.printed import ROOT, Printed

pytestmark = pytest.mark.graph

COMMANDS = [c for c in printed.commands(ROOT / "docs" / "queries.md") if c.program == "feature-graph"]


@pytest.fixture(scope="module")
def example(connected: Store) -> str:
    from queries import example_run

    wipe(connected)
    return connected.ingest(example_run()).run


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_it_answers(command: Printed, example: str, neo4j_server: server.Connection) -> None:
    words = [word.replace("OTHER", example) for word in command.words]
    env = {"NEO4J_PASSWORD": neo4j_server.password, "COLUMNS": "100"}
    done = CliRunner().invoke(app, [*words, "--uri", neo4j_server.uri], env=env)
    assert done.exit_code == 0, done.output
    assert done.stdout
