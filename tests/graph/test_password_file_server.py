"""The real server, let in by a password file and refused with a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import server, store
from tests.support.database import EXAMPLE

pytestmark = pytest.mark.graph

ROOT = Path(__file__).parents[2]
WRONG = "not-the-password-of-this-server"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A password file that the environment names, readable by its owner only; still to be written."""
    path = tmp_path / "neo4j_password"
    path.touch(mode=0o600)
    for name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEO4J_PASSWORD_FILE", str(path))
    return path


def test_every_way_in_takes_the_file(neo4j_server: server.Connection, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f"{neo4j_server.password}\n")
    with store.connect(neo4j_server.uri) as opened:
        assert opened.cypher("RETURN 1 AS one")["one"].tolist() == [1]
    graph = store.connect_py2neo(neo4j_server.uri)
    assert graph.run("RETURN 1").evaluate() == 1
    graph.service.connector.close()
    listed = CliRunner().invoke(app, ["query", "runs", "--uri", neo4j_server.uri, "--json"])
    assert listed.exit_code == 0, listed.output
    monkeypatch.setenv("NEO4J_URI", neo4j_server.uri)
    shown = CliRunner().invoke(app, ["db", "shell", "--command", "RETURN 41 + 1 AS sum"])
    assert shown.exit_code == 0, shown.output
    assert "42" in shown.stdout
    assert neo4j_server.password not in listed.output + shown.output


def test_a_wrong_password_in_the_file_is_said_and_not_shown(neo4j_server: server.Connection, file: Path) -> None:
    file.write_text(f"{WRONG}\n")
    # Only once as neo4j: after three wrong passwords in a row the server locks a user out for a while, in other tests too.
    for way, user in ((store.connect, "neo4j"), (store.connect, "nobody"), (store.connect_py2neo, "nobody")):
        with pytest.raises(store.LoginRefused, match=rf"refused user '{user}'.*NEO4J_PASSWORD_FILE") as caught:
            way(neo4j_server.uri, user)
        assert WRONG not in str(caught.value)
    ours = CliRunner().invoke(app, ["query", "runs", "--uri", neo4j_server.uri, "--user", "nobody"])
    assert ours.exit_code == 1
    assert "refused user 'nobody'" in ours.stderr
    command = [sys.executable, "-m", "ingest", str(EXAMPLE), "--uri", neo4j_server.uri, "--user", "nobody"]
    alone = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
    assert alone.returncode == 1
    assert "refused user 'nobody'" in alone.stderr
    assert "NEO4J_PASSWORD_FILE" in alone.stderr
    assert WRONG not in ours.output + alone.stdout + alone.stderr
