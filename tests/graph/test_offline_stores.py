"""A database as a file: into a second home with nothing lost, and refusals that leave everything as it was."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import offline, server
from feature_graph.database.server.homes import Home
from tests.graph.filled import Filled, everything, opened

pytestmark = [pytest.mark.graph, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def dumped(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the filled home, by the command; its server runs again after, and is stopped then."""
    folder = tmp_path_factory.mktemp("backups")
    with opened(filled.home) as database:
        before = everything(database)
        done = CliRunner().invoke(app, ["db", "backup", str(folder), "--keep", "2", "--home", str(filled.home), "--yes"])
    assert done.exit_code == 0, done.output
    with opened(filled.home) as database:
        assert everything(database) == before
    server.stop(filled.home)
    (file,) = offline.backups(filled.home, folder)
    assert str(file) in done.output
    assert sorted(path.name for path in folder.iterdir()) == [file.name, f"{file.name}.json"]
    return file


@pytest.fixture
def stopped_home(tmp_path: Path) -> Path:
    """A home without a database."""
    return tmp_path / "second home"


def test_the_note_says_what_is_in_the_dump(filled: Filled, dumped: Path) -> None:
    note = offline.read_note(dumped)
    assert note is not None
    report = filled.report.ingest
    first = note.contents.runs[0]
    assert (first.id, first.status, first.nodes, first.edges, first.digest) == (
        report.run,
        "ready",
        report.nodes,
        report.edges,
        report.digest,
    )
    assert (note.bytes, note.home) == (dumped.stat().st_size, str(filled.home))
    assert note.store_bytes > note.bytes
    secret = server.read_password(Home(filled.home))
    assert secret.encode() not in dumped.read_bytes() + dumped.with_name(dumped.name + ".json").read_bytes()


def test_into_a_second_home_and_back_out_of_a_bad_load(filled: Filled, dumped: Path, disposable_home: Path, tmp_path: Path) -> None:
    """The same digest there; a filled database is not loaded over; a dump that is not what its note says changes nothing."""
    held = offline.load(disposable_home, dumped)
    note = offline.read_note(dumped)
    assert note is not None
    assert held == note.contents
    server.start(disposable_home, heap="512m", page_cache="64m", quick=True)
    with opened(disposable_home) as database:
        assert database.verify(filled.root).ok
    with pytest.raises(offline.DumpError, match=r"the database is not empty .* or --replace"):
        offline.load(disposable_home, dumped)
    server.stop(disposable_home)

    store = disposable_home / "data" / "databases" / "neo4j"
    before = (store.stat().st_ino, sorted(path.name for path in disposable_home.iterdir()))
    copy = tmp_path / "copy.dump"
    shutil.copy(dumped, copy)
    told = json.loads(dumped.with_name(dumped.name + ".json").read_text())
    told["contents"]["nodes"] += 1
    copy.with_name("copy.dump.json").write_text(json.dumps(told))
    with pytest.raises(offline.DumpError, match="is unchanged"):
        offline.load(disposable_home, copy, overwrite=True)
    assert (store.stat().st_ino, sorted(path.name for path in disposable_home.iterdir())) == before


def test_a_damaged_dump_is_refused(dumped: Path, stopped_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.dump"
    content = bytearray(dumped.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    shutil.copy(dumped.with_name(dumped.name + ".json"), copy.with_name("copy.dump.json"))
    with pytest.raises(offline.DumpError, match="is not what was dumped"):
        offline.load(stopped_home, copy)
    assert not stopped_home.exists()


def test_what_is_no_dump_is_refused_by_the_tool(stopped_home: Path, tmp_path: Path) -> None:
    (tmp_path / "no.dump").write_bytes(os.urandom(1000))
    with pytest.raises(offline.DumpError, match=r"cannot be loaded; .* is unchanged\. Failed to load database 'neo4j': Not a valid"):
        offline.load(stopped_home, tmp_path / "no.dump")
    assert server.status(stopped_home).state == "absent"
    assert not (stopped_home / "staging").exists()


def test_a_newer_schema_is_refused(dumped: Path, stopped_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.dump"
    shutil.copy(dumped, copy)
    told = json.loads(dumped.with_name(dumped.name + ".json").read_text())
    told["contents"]["schema"] = 99
    copy.with_name("copy.dump.json").write_text(json.dumps(told))
    with pytest.raises(offline.DumpError, match="schema version 99, this program knows"):
        offline.load(stopped_home, copy)
    assert not stopped_home.exists()


def test_a_store_that_another_machine_s_server_holds_is_not_touched(filled: Filled, dumped: Path, tmp_path: Path) -> None:
    """As seen from here: no process of ours, and a lock on the store. A child of this process stands for the other machine."""
    lock = filled.home / "data" / "databases" / "store_lock"
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with lock.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        with pytest.raises(server.HomeError, match="in use by a server in a container or on another machine"):
            offline.load(filled.home, dumped, overwrite=True)
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
    assert not (filled.home / "staging").exists()
