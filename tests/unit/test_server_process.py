"""Which process is the server of a home, and how one is ended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from feature_graph.database.connection import Connection
from feature_graph.database.server import process
from feature_graph.database.server.bolt import answers, connection_from_environment
from feature_graph.database.server.errors import NotRunning, PortTaken, ServerError
from feature_graph.database.server.homes import Home, prepare_home
from feature_graph.database.server.jars import JarFolder
from feature_graph.database.server.java import _quoted, java_executable, run_admin
from feature_graph.database.server.lifecycle import stop
from feature_graph.database.server.logs import tail
from feature_graph.database.server.running import connection, status
from feature_graph.database.server.settings import Settings
from feature_graph.database.server.waiting import is_ready


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    prepare_home(made)
    return made


@pytest.mark.parametrize("note", ['{"pid": OWN}', '{"pid": 4000000}', "{", "[]", '{"pid": "x"}'])
def test_stale_or_damaged_note_is_no_server(home: Home, note: str) -> None:
    (home.run / "server.json").write_text(note.replace("OWN", str(os.getpid())))
    assert process.find(home) is None
    assert status(home).state == "absent"
    assert stop(home) is False
    assert psutil.Process().is_running()


def test_server_is_found_without_a_note_and_only_for_its_home(home: Home) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", process.SERVER_CLASS, f"--home-dir={home.root}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as fake:
        found = process.find(home)
        assert found is not None
        assert found.pid == fake.pid
        assert process.find(Home(home.root.parent / "home2")) is None
        assert process.find(Home(home.root.parent)) is None


def test_end_asks_first_and_kills_only_then() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as willing:
        assert process.end(psutil.Process(willing.pid), 20) is True
    stubborn = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as deaf:
        deaf.stdout.readline()
        assert process.end(psutil.Process(deaf.pid), 0.3) is False
        assert not psutil.pid_exists(deaf.pid)


def test_home_without_server_says_how_to_start_it(home: Home) -> None:
    with pytest.raises(NotRunning, match="feature-graph db start"):
        connection(home)


def test_own_server_from_the_environment() -> None:
    environ = {"NEO4J_URI": "bolt://db:7687", "NEO4J_PASSWORD": "secret"}
    own = connection_from_environment(environ)
    assert own == Connection("bolt://db:7687", "neo4j", "secret", "$NEO4J_URI")
    assert "secret" not in repr(own)
    assert connection_from_environment({}) is None
    with pytest.raises(ServerError, match="NEO4J_PASSWORD is not"):
        connection_from_environment({"NEO4J_URI": "bolt://db:7687"})


def test_nobody_and_somebody_else_at_a_port_are_no_bolt() -> None:
    assert not answers("bolt://127.0.0.1:1")
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
        "c, _ = s.accept(); c.recv(20); c.sendall(bytes(4))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert not answers(f"bolt://127.0.0.1:{int(other.stdout.readline())}")


def test_port_of_another_program_is_not_taken_for_ours() -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        port = int(other.stdout.readline())
        settings = Settings(bolt_port=port, http_port=1)
        with pytest.raises(PortTaken, match=f"port {port}"):
            is_ready(psutil.Process(), settings)
        assert not is_ready(psutil.Process(other.pid), settings)
        assert process.listening(psutil.Process(other.pid)) == {port}


def test_failing_admin_tool_shows_its_words_and_not_the_password_file(home: Home) -> None:
    assert java_executable().exists()
    with pytest.raises(ServerError, match="neo4j-admin dbms @… failed with exit status 1") as caught:
        run_admin(home, JarFolder(home.root, ()), "dbms", "@/secret/file", heap="64m")
    assert "org.neo4j.cli.AdminTool" in str(caught.value)
    assert "/secret/file" not in str(caught.value)


def test_arguments_are_quoted_for_java() -> None:
    assert _quoted('a "b" \\c') == '"a \\"b\\" \\\\c"'


def test_tail_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("\n".join(f"line {i}" for i in range(100_000)))
    assert tail(tmp_path / "a.log", 2) == "line 99998\nline 99999"
    assert tail(tmp_path / "none.log") == ""
    assert json.dumps(tail(tmp_path / "a.log", 1)) == '"line 99999"'
