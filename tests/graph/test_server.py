"""The embedded server as it really runs: open to its owner, closed to everything else, and hard to break."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError

from feature_graph.database import server
from feature_graph.database.server.bolt import answers
from feature_graph.database.server.jars import ensure_jars, jar_folder, list_text, parse_list
from feature_graph.database.server.procedures import allowed_procedures
from queries import Answer

pytestmark = [pytest.mark.graph, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.RunningServer]:
    """One server for every test that does not break it, in a folder with a name that is hard on Java."""
    home = tmp_path_factory.mktemp("server") / "dätä bäse, one"
    started = server.start(home, quick=True)
    yield started
    server.stop(home)


def cypher(running: server.RunningServer, statement: str) -> Answer:
    with server.driver(running.connection()) as opened:
        return server.run_cypher(opened, statement)


def test_answers_with_the_versions_that_are_pinned(running: server.RunningServer) -> None:
    versions = {f"{jar.group}:{jar.artifact}": jar.version for jar in parse_list(list_text())}
    answer = cypher(running, "CALL dbms.components() YIELD versions, edition RETURN versions[0], edition, gds.version()")
    assert answer.rows == [[versions["org.neo4j.app:neo4j-server"], "community", versions["org.neo4j.gds:proc"]]]


def test_pagerank_runs_on_a_projection(running: server.RunningServer) -> None:
    cypher(running, "CREATE (a:Page {name: 'a'})-[:LINKS]->(b:Page {name: 'b'}), (:Page {name: 'c'})-[:LINKS]->(b)")
    answer = cypher(
        running,
        "MATCH (s:Page)-[:LINKS]->(t:Page) WITH gds.graph.project('pages', s, t) AS g "
        "CALL gds.pageRank.stream(g.graphName) YIELD nodeId, score "
        "RETURN gds.util.asNode(nodeId).name AS name, round(score, 4) AS score ORDER BY name",
    )
    # No link into a and c: 1 − 0.85. Both give all they have to b: 0.15 + 0.85 · 2 · 0.15.
    assert answer.rows == [["a", 0.15], ["b", 0.405], ["c", 0.15]]
    back = cypher(running, "MATCH p = ({name: 'b'})<-[:LINKS]-({name: 'c'}) RETURN p").rows[0][0]
    assert server.value_text(back) == "(:Page {'name': 'b'})<-[:LINKS {}]-(:Page {'name': 'c'})"
    cypher(running, "CALL gds.graph.drop('pages') YIELD graphName RETURN graphName")
    shown = cypher(running, "MATCH p = (:Page {name: 'a'})-[:LINKS]->() RETURN p").rows[0][0]
    assert server.value_text(shown) == "(:Page {'name': 'a'})-[:LINKS {}]->(:Page {'name': 'b'})"
    assert cypher(running, "MATCH (p:Page) DETACH DELETE p").changes == {"nodes_deleted": 3, "relationships_deleted": 2}


@pytest.mark.parametrize("auth", [("neo4j", "wrong-password"), ("neo4j", "neo4j"), ("neo4j", ""), None])
def test_wrong_default_and_no_password_are_refused(running: server.RunningServer, auth: tuple[str, str] | None) -> None:
    with GraphDatabase.driver(running.bolt_uri, auth=auth) as driver, pytest.raises(AuthError):
        driver.verify_connectivity()


def test_refused_password_names_the_server_and_not_the_password(running: server.RunningServer) -> None:
    wrong = server.Connection(running.bolt_uri, "nobody", "wrong-password")
    with pytest.raises(server.ServerError, match="refused user 'nobody'") as caught, server.driver(wrong):
        pass
    assert running.bolt_uri in str(caught.value)
    assert "wrong-password" not in str(caught.value)


def test_cypher_reaches_neither_files_nor_network(running: server.RunningServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        for url in (f"http://{address}/x.csv", f"ftp://{address}/x.csv"):
            with pytest.raises(server.ServerError, match="cypher_ip_blocklist"):
                cypher(running, f"LOAD CSV FROM '{url}' AS row RETURN row")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    with pytest.raises(server.ServerError, match="allow_csv_import_from_file_urls"):
        cypher(running, "LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row")


def test_a_projection_does_not_have_its_statement_planned_again(running: server.RunningServer) -> None:
    """GDS explains the text that the server shows of the running statement; with its literals hidden that is no Cypher."""
    shown = cypher(running, "SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery CONTAINS 'SHOW' RETURN currentQuery").rows[0][0]
    assert shown.startswith("SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery CONTAINS *")
    with pytest.raises(server.ServerError, match="Invalid input"):
        cypher(running, f"EXPLAIN {shown}")


def test_no_procedure_writes_files_and_all_others_are_there(running: server.RunningServer) -> None:
    both = "SHOW PROCEDURES YIELD name WHERE name STARTS WITH 'gds.' RETURN collect(name)", "SHOW FUNCTIONS YIELD name RETURN collect(name)"
    names = {name for statement in both for name in cypher(running, statement).rows[0][0] if name.startswith("gds.")}
    assert not {name for name in names if any(word in name for word in ("export", "backup", "restore", "store", "load"))}
    used = {pattern for pattern in allowed_procedures() if any(_matches(name, pattern) for name in names)}
    assert used == set(allowed_procedures())
    assert {"gds.leiden.stream", "gds.degree.write", "gds.shortestPath.yens.stream", "gds.graph.nodeProperty.stream"} <= names


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def test_foreign_origin_is_not_let_in(running: server.RunningServer) -> None:
    for method, path in (("GET", "/"), ("OPTIONS", "/db/neo4j/tx/commit"), ("GET", "/browser/")):
        request = urllib.request.Request(running.http_url + path, method=method, headers={"Origin": "http://evil.example"})
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.headers["Access-Control-Allow-Origin"] == running.http_url


def test_browser_is_served_and_may_talk_to_this_machine_only(running: server.RunningServer) -> None:
    with urllib.request.urlopen(running.browser_url, timeout=30) as response:
        assert "<title>Neo4j Browser</title>" in response.read().decode()
        policy = response.headers["Content-Security-Policy"]
    addresses = [word for word in policy.replace(";", " ").split() if "." in word or ":" in word]
    assert addresses
    assert all("127.0.0.1" in word or "localhost" in word or word == "data:" for word in addresses)


def test_listens_on_loopback_only(running: server.RunningServer) -> None:
    sockets = psutil.Process(running.pid).net_connections()
    listening = {(s.laddr.ip.removeprefix("::ffff:"), s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN}
    assert {address for address, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening} == {int(running.bolt_uri.rsplit(":")[-1]), int(running.http_url.rsplit(":")[-1])}


def test_password_is_private_and_nowhere_else(running: server.RunningServer) -> None:
    secret = running.connection().password
    assert len(secret) >= 20
    assert stat.S_IMODE(running.password_file.stat().st_mode) == 0o600
    process = psutil.Process(running.pid)
    assert secret not in " ".join(process.cmdline())
    assert secret not in str(process.environ())
    holding = [p.name for p in running.home.root.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert holding == ["password"]
    assert secret not in repr(running.connection())


def test_server_is_in_a_session_of_its_own_with_no_pipe_of_ours(running: server.RunningServer) -> None:
    assert os.getsid(running.pid) != os.getsid(0)
    assert os.getpgid(running.pid) != os.getpgid(0)
    targets = [str(Path(f"/proc/{running.pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
    assert set(targets) <= {"/dev/null", str(running.home.logs / "console.log")}


def test_status_and_second_start(running: server.RunningServer) -> None:
    found = server.status(running.home)
    assert found.state == "running"
    assert found.server == running
    assert 0 < found.memory_bytes < 2**31
    again = server.start(running.home.root)
    assert again.already_running
    assert again.pid == running.pid


def test_admin_tool_waits_for_a_stopped_server(running: server.RunningServer) -> None:
    with pytest.raises(server.ServerError, match="stop it first"):
        server.admin(running.home, "database", "info")


def feature_graph(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line with its output in pipes, as under ``make | tee``."""
    command = [sys.executable, "-c", "from feature_graph.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server is stopped whatever happens."""
    yield tmp_path / "home"
    server.stop(tmp_path / "home")


def test_one_home_through_bad_days(tmp_path: Path, home: Path) -> None:
    """Ports taken; start by the command line; killed; stale note; recovered; dumped, erased by reset."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        started = feature_graph("db", "start", "--home", str(home), "--bolt-port", str(taken), "--http-port", str(taken))
    assert started.returncode == 0, started.stderr  # and it returned although its output is a pipe and the server lives on
    assert f"Database home: {home} (given)" in started.stderr
    found = server.status(home)
    assert found.server is not None
    first = found.server
    assert f":{taken}" not in first.bolt_uri + first.http_url
    assert first.browser_url in started.stdout
    assert first.connection().password not in started.stdout + started.stderr
    cypher(first, "CREATE (:Kept {n: 42})")

    os.kill(first.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first.pid)] if psutil.pid_exists(first.pid) else [], timeout=10)
    assert server.status(home).state == "stopped"
    (home / "run" / "server.json").write_text(json.dumps({"pid": os.getpid()}))
    second = server.start(home, quick=True)
    assert not second.already_running
    assert (second.bolt_uri, second.http_url) == (first.bolt_uri, first.http_url)
    assert cypher(second, "MATCH (k:Kept) RETURN k.n").rows == [[42]]

    assert server.stop(home) is True
    assert server.stop(home) is False
    assert not answers(second.bolt_uri)
    (tmp_path / "dump").mkdir()
    server.admin(home, "database", "dump", "neo4j", f"--to-path={tmp_path / 'dump'}")
    assert (tmp_path / "dump" / "neo4j.dump").stat().st_size > 0
    server.reset(home)
    assert list(home.iterdir()) == []
    assert server.status(home).state == "absent"


def test_damaged_store_says_so_with_the_log(home: Path) -> None:
    with pytest.raises(server.StartFailed):  # the first start makes the folders, then the tiny heap fails
        server.start(home, heap="1m")
    assert server.status(home).server is None
    (home / "data" / "databases").mkdir(exist_ok=True)
    (home / "data" / "databases" / "system").write_text("no store")
    with pytest.raises(server.StartFailed, match="ended while starting") as caught:
        server.start(home, heap="256m")
    assert str(home / "logs") in str(caught.value)
    assert "system" in str(caught.value)
    assert server.status(home).server is None


def test_wrong_checksum_is_refused_and_a_half_file_fetched_again(tmp_path: Path) -> None:
    """One small jar of the list, from the network: first against a wrong checksum, then in place of half a file."""
    line = min((line for line in list_text().splitlines() if not line.startswith("#")), key=lambda text: int(text.split()[2]))
    sha256 = line.split()[1]
    with pytest.raises(server.JarsUnavailable, match=f"its sha256 is {sha256}, expected {'0' * 64}"):
        ensure_jars(tmp_path, line.replace(sha256, "0" * 64))
    folder = jar_folder(tmp_path, line)
    part = folder.root.with_name(folder.root.name + ".part") / "lib"
    part.mkdir(parents=True)
    (part / folder.jars[0].name).write_bytes(b"half")
    assert ensure_jars(tmp_path, line).damaged() == []
