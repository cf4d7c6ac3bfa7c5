"""Servers that lack something, die or have no room left, each on a home of its own: one after the other, never two of them at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import psutil
import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError

import ingest
import queries
from feature_graph.database import server, store
from feature_graph.database.server import lifecycle, process
from feature_graph.database.server.homes import Home, prepare_home
from feature_graph.database.server.jars import JarFolder, ensure_jars
from feature_graph.database.server.java import write_arguments
from feature_graph.database.server.ports import pick_port
from feature_graph.database.server.settings import Settings
from ingest import DriverDatabase, runs
from ingest.messages import explain
from tests.graph.proxy import Proxy
from tests.rundirs import random_run
from tests.support.database import EXAMPLE

pytestmark = [pytest.mark.graph, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
TMPFS_MB = 420


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path | None]:
    """A file system of a few hundred megabytes in memory; None where mounting is not allowed.

    Not in pytest's own folder: a mount that a killed session leaves there ends every later session with an error.
    """
    folder = Path(tempfile.mkdtemp(prefix="feature-graph-small-disk-"))
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m", "tmpfs", str(folder)], capture_output=True, check=False)
    try:
        yield folder if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


@pytest.fixture(scope="module")
def home(small_disk: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The home that every test here starts its server on; stopped and started between them."""
    home = Home((small_disk or tmp_path_factory.mktemp("ordinary_disk")) / "home")
    prepare_home(home)
    yield home
    server.stop(home)


@contextmanager
def room(disk: Path, megabytes: int) -> Iterator[None]:
    """No more room than that on a disk, for as long as the block runs."""
    ballast, now = disk / "ballast", os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, now.f_bavail * now.f_frsize - megabytes * 2**20)
    try:
        yield
    finally:
        ballast.unlink()


def without_gds(folder: Path) -> JarFolder:
    """The same jars but those of GDS, and an empty plugins folder."""
    jars = ensure_jars()
    kept = tuple(jar for jar in jars.jars if jar.group != "org.neo4j.gds")
    assert 0 < len(kept) < len(jars.jars)
    (folder / "plugins").mkdir(parents=True)
    (folder / "lib").mkdir()
    for jar in kept:
        (folder / "lib" / jar.name).symlink_to(jars.root / "lib" / jar.name)
    return JarFolder(folder, kept)


def start(home: Home, jars: JarFolder, *options: str, repair_log: bool = False, setting: str = "") -> server.RunningServer:
    """Start the server of a home with other jars, with further options of Java or another setting; on the ports it had before."""
    settings = lifecycle.load_settings(home)
    if settings == Settings():
        bolt = pick_port(17_000)
        settings = Settings(bolt, pick_port(bolt + 1), heap="512m", page_cache="64m")
    if not options and not setting:
        return lifecycle._start(home, jars, replace(settings, repair_log=repair_log), True, lifecycle.START_SECONDS)
    lifecycle.write_conf(home, settings, jars.plugins)
    with (home.conf / "neo4j.conf").open("a") as file:
        file.write(f"{setting}\n")
    lifecycle.ensure_password(home, jars)
    lifecycle.save_settings(home, settings)
    arguments = write_arguments(home, jars, settings.heap, quick=True)
    arguments.write_text("".join(f'"{option}"\n' for option in options) + arguments.read_text())
    started = process.spawn(home, arguments)
    lifecycle.wait_until_ready(home, started, settings, lifecycle.START_SECONDS)
    return lifecycle.describe(home, started, settings)


def kill(home: Home) -> None:
    """kill -9 of the Java process itself."""
    found = process.find(home)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    psutil.wait_procs([found], timeout=30)


def running(home: Home, jars: JarFolder) -> server.Connection:
    """The server of the home, started if it does not run, with the example in it."""
    if process.find(home) is None:
        start(home, jars)
    at = server.connection(home.root, use_environment=False)
    with store.connect(at.uri, at.username, at.password) as db:
        db.ingest(EXAMPLE)
    return at


def opened(at: server.Connection) -> None:
    """Wait until the server has recovered its database."""
    for _ in range(60):
        try:
            store.connect(at.uri, at.username, at.password).close()
        except store.StoreError as error:
            if "has stopped" not in str(error):
                raise
            time.sleep(2)
        else:
            return
    pytest.fail("the database did not open within two minutes")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> JarFolder:
    return without_gds(tmp_path_factory.mktemp("bare") / "jars")


def test_a_server_of_an_older_version_is_refused(home: Home, bare: JarFolder, tmp_path: Path) -> None:
    """The real server, told to report another version, as it does on Bolt and in dbms.components()."""
    at = start(home, bare, "-Dinternal.neo4j.custom.version=5.20.0").connection()
    try:
        with pytest.raises(store.StoreError, match=r"the server is Neo4j 5\.20\.0; supported is 5\.26 \(LTS\) and newer.*db start"):
            store.connect(at.uri, at.username, at.password)
        with GraphDatabase.driver(at.uri, auth=at.auth) as driver:
            with pytest.raises(ingest.UnsupportedServer, match=r"the server is Neo4j 5\.20\.0; supported is 5\.26"):
                ingest.ingest_run(driver, EXAMPLE)
            assert driver.execute_query("MATCH (n) RETURN count(n) AS n").records[0]["n"] == 0
            assert driver.execute_query("SHOW CONSTRAINTS").records == []
    finally:
        server.stop(home)


def test_a_server_without_gds_does_all_that_needs_none(home: Home, bare: JarFolder) -> None:
    at = running(home, bare)
    with store.connect(at.uri, at.username, at.password) as db:
        run = db.ingest(EXAMPLE).run
        with pytest.raises(store.GdsUnavailable, match=r"does not have the Graph Data Science library; the embedded one has it"):
            store.analyze(db, "pagerank", store.Projection(run))
        for name in ("strongest", "neighbours", "quality", "similar"):
            assert db.ask(name, **queries.template(name).example, run=run).rows
        needing = [t for t in queries.templates().values() if t.needs_gds]
        assert len(needing) > 3
        for template in needing[:3]:
            with pytest.raises(queries.GdsMissing, match=f"{template.name} needs the Graph Data Science library, which this server lacks"):
                db.ask(template.name, **template.example, run=run)
        assert db.verify(EXAMPLE).ok


def test_the_server_killed_in_the_middle_of_a_transaction_and_started_again(home: Home, bare: JarFolder, tmp_path: Path) -> None:
    """The load waits for it and goes on by itself; all that was acknowledged before the kill is there after it."""
    at = running(home, bare)
    root = random_run(tmp_path / "run", n_features=80, n_edges=6_000, seed=6)
    restart = Thread(target=start, args=(home, bare))
    acknowledged: list[int] = []

    def die(_: Proxy) -> None:
        kill(home)
        acknowledged.append(seen[-1])
        restart.start()

    seen = [0]
    with (
        Proxy(at.uri, at=(700_000,), then=die) as proxy,
        GraphDatabase.driver(proxy.uri, auth=at.auth, connection_timeout=5) as driver,
    ):
        report = ingest.ingest_run(DriverDatabase(driver, patience=300), root, lambda _, done, __: seen.append(done), transaction_blocks=1)
    restart.join()
    with store.connect(at.uri, at.username, at.password) as db:
        assert db.verify(root).ok
        assert db.verify(EXAMPLE).ok
        rows = db.cypher("MATCH (b:IngestBatch {run: $n}) RETURN sum(b.rows) AS n", n=report.n)["n"][0]
        assert rows == report.edges + report.nodes
        db.drop(report.run)
        assert db.ingest(root).digest == report.digest
    assert 0 < acknowledged[0] < report.edges


def test_a_server_with_little_memory_gets_smaller_transactions(
    home: Home, bare: JarFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Transactions are halved down to one block; where not even that fits, the error says so and what was done stays."""
    root = random_run(tmp_path / "run", n_features=80, n_edges=12_000, seed=7)
    server.stop(home)
    at = start(home, bare, setting="db.memory.transaction.max=10m").connection()
    with GraphDatabase.driver(at.uri, auth=at.auth) as driver:
        with pytest.raises(ingest.ServerMemory, match=r"too little memory for a transaction .* what has been written stays"):
            ingest.ingest_run(driver, root)
        assert "going on with 1000" in caplog.text
    server.stop(home)
    caplog.clear()
    at = start(home, bare, setting="db.memory.transaction.max=24m").connection()
    with store.connect(at.uri, at.username, at.password) as db:
        edges_before = db.cypher("MATCH ()-[e:AFFECTS]->() WHERE e.run <> $n RETURN count(e) AS n", n=db.ingest(root).n)["n"][0]
        assert re.search(r"too little memory for \d+ rows at once; going on with \d+", caplog.text)
        assert db.verify(root).ok
        with pytest.raises(queries.QueryTooLarge, match=r"too little memory for it; ask for less, or give it more .*--heap"):
            queries.ask(db.driver, "UNWIND range(1, 10000000) AS x WITH collect(x + 0.5) AS xs RETURN size(xs) AS n")
        assert "will be retried" not in caplog.text  # the driver says so when it asks again
        db.drop(ingest.run_id(root))
        assert "too little memory to delete 10000 at once; going on with 5000" in caplog.text
        assert db.cypher("MATCH ()-[e:AFFECTS]->() RETURN count(e) AS n")["n"][0] == edges_before
    server.stop(home)


def test_the_disk_is_full(home: Home, small_disk: Path | None, bare: JarFolder, tmp_path: Path) -> None:
    """With room again and the server restarted, the same command finishes the load; what was acknowledged was kept."""
    if small_disk is None:
        pytest.skip("mounting a small tmpfs is not allowed here")
    at = running(home, bare)
    root = random_run(tmp_path / "run", n_features=80, n_edges=12_000, seed=7)
    with GraphDatabase.driver(at.uri, auth=at.auth) as driver, ExitStack() as stack:
        taken: list[int] = []

        def fill(what: str, done: int, total: int) -> None:
            """Room is asked for before the first write; here something else takes it after that."""
            if what == "edges" and not taken:
                taken.append(done)
                stack.enter_context(room(small_disk, 3))

        with pytest.raises((Neo4jError, DriverError)) as caught:
            ingest.ingest_run(DriverDatabase(driver, patience=1), root, fill, transaction_blocks=1)
        server.stop(home)  # before there is room again: a server that finds some writes on behind what it could not write
    said = explain(caught.value, at.uri)
    assert "because its disk is full" in said or "after a full disk" in said, said
    assert "db start --repair-log" in said
    assert "the same command again" in said
    start(home, bare, repair_log=True)
    opened(at)
    with store.connect(at.uri, at.username, at.password) as db:
        there = db.cypher("MATCH (b:IngestBatch) RETURN count(b) AS n")
        db.write("MATCH (r:Run) WHERE r.lease_at IS NOT NULL SET r.lease_at = r.lease_at - $ms", ms=1000 * runs.LEASE_SECONDS)
        report = db.ingest(root)
        assert not report.already
        assert there["n"][0] >= report.resumed > 0
        assert db.verify(root).ok
        assert db.verify(EXAMPLE).ok


def test_a_run_that_will_not_fit_is_refused_before_the_first_write(
    home: Home, small_disk: Path | None, bare: JarFolder, tmp_path: Path
) -> None:
    if small_disk is None:
        pytest.skip("mounting a small tmpfs is not allowed here")
    at = running(home, bare)
    root = random_run(tmp_path / "run", n_features=40, n_edges=500, seed=8)
    with room(small_disk, 30), store.connect(at.uri, at.username, at.password) as db:
        before = db.cypher("MATCH (n) RETURN count(n) AS n")["n"][0]
        with pytest.raises(
            ingest.NotEnoughDisk, match=r"has \d+ MB free; \d+ features and \d+ edges need about \d+ MB .* Nothing was written"
        ):
            db.ingest(root)
        assert db.cypher("MATCH (n) RETURN count(n) AS n")["n"][0] == before
        assert db.ingest(EXAMPLE).already


def test_a_disk_without_room_is_refused_at_the_start(home: Home, small_disk: Path | None) -> None:
    if small_disk is None:
        pytest.skip("mounting a small tmpfs is not allowed here")
    server.stop(home)
    with (
        room(small_disk, 200),
        pytest.raises(server.HomeError, match=r"Only \d+ MB are free .* a database needs at least 300 MB\. Free some space"),
    ):
        server.start(small_disk / "another")
