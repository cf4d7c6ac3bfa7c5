"""The bulk way in, on the real importer: the same graph as by transactions, nothing lost when it is killed, refusals with their reason."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from neo4j import GraphDatabase
from typer.testing import CliRunner

import ingest
import queries
from feature_graph.cli import app
from feature_graph.database import offline, server
from feature_graph.database.server.homes import Home, prepare_home
from feature_graph.database.server.jars import ensure_jars
from feature_graph.database.server.java import ADMIN_CLASS, environment, java_executable, write_arguments
from feature_graph.database.server.settings import Settings, write_conf
from ingest import DriverDatabase
from ingest.bulk import write_script
from ingest.indexes import missing_constraints, missing_indexes
from tests.graph.filled import Filled, everything, opened
from tests.rundirs import random_run
from tests.support.database import wipe

pytestmark = [pytest.mark.graph, pytest.mark.timeout(900)]


def test_a_database_that_would_lose_something_is_refused(empty_home: Path, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    assert offline.bulk_refusals(empty_home, 100, 10) == []
    with opened(empty_home) as database:
        database.write("CREATE (:Precious)")
        database.driver.execute_query("CREATE INDEX mine FOR (x:Precious) ON (x.name)")
    with pytest.raises(offline.BulkRefused, match=r"not empty \(1 Precious\).*indexes or constraints of its own \(mine\)"):
        offline.bulk_ingest(empty_home, root)
    with opened(empty_home) as database:
        assert database.cypher("MATCH (x:Precious) RETURN count(x) AS n")["n"].tolist() == [1]
        database.write("MATCH (x:Precious) DELETE x")
        database.driver.execute_query("DROP INDEX mine")
    assert offline.bulk_refusals(empty_home, 100, 10) == []


def test_other_clients_and_a_small_disk_are_refused(empty_home: Path) -> None:
    where = server.connection(empty_home)
    with GraphDatabase.driver(where.uri, auth=where.auth, user_agent="somebody/1.0") as other:
        other.verify_connectivity()
        reasons = offline.bulk_refusals(empty_home, 100, 10)
    assert len(reasons) == 1
    assert "somebody/1.0 from 127.0.0.1" in reasons[0]
    reasons = offline.bulk_refusals(empty_home, 10**11, 10**6)
    assert "GB are free" in reasons[0]


def test_a_wrong_file_is_said_before_the_server_is_touched(empty_home: Path, tmp_path: Path) -> None:
    pid = server.start(empty_home).pid
    root = random_run(tmp_path / "run")
    (root / "interactions.parquet").write_bytes(b"PAR1")
    with pytest.raises(ingest.InvalidRun, match=r"interactions\.parquet"):
        offline.bulk_ingest(empty_home, root)
    assert server.start(empty_home).pid == pid


@pytest.fixture(scope="module")
def held(filled: Filled) -> tuple[Counter[str], Counter[str]]:
    """What the importer's way made, before a test adds to it."""
    with opened(filled.home) as database:
        return everything(database)


def test_what_is_left_is_a_home_like_any_other(filled: Filled, held: tuple[Counter[str], Counter[str]], tmp_path: Path) -> None:
    """Nothing of the try that was killed; the run is there for both ways; the next run has the next number."""
    assert sorted(path.name for path in filled.home.iterdir() if path.name.startswith(("staging", "data"))) == ["data"]
    with opened(filled.home) as database:
        assert database.verify(filled.root).ok
        assert database.ingest(filled.root).already
        second = database.ingest(random_run(tmp_path / "second"))
        assert second.n == 2
        database.drop(second.run)
        assert database.verify(filled.root).ok
    with pytest.raises(offline.BulkRefused, match="the database is not empty"):
        offline.bulk_ingest(filled.home, filled.root)


def test_the_command_takes_the_way_that_is_asked_for(filled: Filled, tmp_path: Path) -> None:
    runner, home = CliRunner(), ["--home", str(filled.home)]
    auto = runner.invoke(app, ["ingest", str(filled.root), *home])
    assert auto.exit_code == 0
    assert "already there" in auto.output
    refused = runner.invoke(app, ["ingest", str(filled.root), "--bulk", "always", *home])
    assert refused.exit_code == 1
    assert "the database is not empty" in refused.output
    elsewhere = runner.invoke(app, ["ingest", str(filled.root), "--bulk", "always", "--uri", "bolt://127.0.0.1:1"])
    assert elsewhere.exit_code == 2
    assert "--bulk-script" in elsewhere.output


def test_both_ways_make_the_same_graph(filled: Filled, held: tuple[Counter[str], Counter[str]]) -> None:
    """In one store, one after the other, with all nodes deleted in between: a second home would cost two more starts."""
    with opened(filled.home) as database:
        assert not missing_constraints(DriverDatabase(database.driver)) + missing_indexes(DriverDatabase(database.driver))
        wipe(database)
        online = database.ingest(filled.root)
        ours, theirs = held, everything(database)
    assert ours[0] - theirs[0] == theirs[0] - ours[0] == {}
    assert ours[1] == theirs[1]
    assert len(ours[0]) > online.nodes
    assert filled.report.seconds["check"] > 0  # Neo4j's own checker read it, too
    report = filled.report.ingest
    assert (report.run, report.n, report.nodes, report.edges) == (online.run, 1, online.nodes, online.edges)
    assert (report.behaviors, report.decoders, report.digest, report.resumed) == (online.behaviors, online.decoders, online.digest, 0)


def admin_script(home: Home, path: Path) -> Path:
    """``neo4j-admin`` of a home, as a program."""
    jars = ensure_jars()
    write_conf(home, Settings(), jars.plugins)
    variables = "".join(f"{name}='{value}' " for name, value in environment(home).items() if name.startswith("NEO4J"))
    path.write_text(
        f"#!/bin/sh\n{variables}exec '{java_executable()}' '@{write_arguments(home, jars, '512m', quick=True)}' {ADMIN_CLASS} \"$@\"\n"
    )
    path.chmod(0o755)
    return path


def test_the_script_for_another_server(disposable_home: Path, tmp_path: Path) -> None:
    script = write_script(queries.example_run(), tmp_path / "to copy")
    home = Home(disposable_home)
    prepare_home(home)
    environ = os.environ | {"NEO4J_ADMIN": str(admin_script(home, tmp_path / "neo4j-admin"))}
    done = subprocess.run(["sh", str(script)], env=environ, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    again = subprocess.run(["sh", str(script)], env=environ, capture_output=True, text=True, check=False, timeout=600)
    assert again.returncode != 0
    assert "already" in again.stdout + again.stderr
    server.start(disposable_home, heap="512m", page_cache="64m", quick=True)
    with opened(disposable_home) as database:
        statements = (script.parent / "after.cypher").read_text().split(";\n")
        answers = [server.run_cypher(database.driver, text) for text in statements if text.strip()]
        assert [answer.columns for answer in answers[-2:]] == 2 * [["what", "found", "expected"]]
        assert all(row[1] == row[2] > 0 for answer in answers[-2:] for row in answer.rows)
        assert database.cypher("MATCH (r:Run) RETURN r.status AS s")["s"].tolist() == ["failed"]
        report = database.ingest(queries.example_run())
        assert (report.n, report.already) == (1, False)
        assert report.resumed > 0
        assert database.verify(queries.example_run()).ok


def test_a_script_whose_files_were_damaged_on_the_way(tmp_path: Path) -> None:
    script = write_script(queries.example_run(), tmp_path / "folder")
    (tmp_path / "folder" / "edges.csv").write_text("less\n")
    done = subprocess.run(["sh", str(script)], env=os.environ | {"NEO4J_ADMIN": "false"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "copy the folder again" in done.stderr
