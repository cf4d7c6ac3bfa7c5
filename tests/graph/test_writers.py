"""Several transactions of one load at a time: none waits for another to end, none writes a block twice, none outlives its lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from neo4j.exceptions import Neo4jError

import ingest
from feature_graph.database.store import Store
from ingest import IngestError, LeaseLost, runs
from ingest.connection import DriverDatabase, Row, Transaction
from ingest.rundir import open_run
from ingest.writers import Ledger, commit
from tests.rundirs import random_run

pytestmark = pytest.mark.graph

WAIT = 60.0
_CREATE = "UNWIND $rows AS row CREATE (:Written {key: row, run: $n}) RETURN count(*) AS written"


class Paused:
    """A database whose transactions stop after they have written their rows, until they are let go."""

    def __init__(self, database: DriverDatabase) -> None:
        self._database = database
        self.written, self.go = Event(), Event()

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        return self._database.write(lambda tx: work(_Transaction(tx, self)))


class _Transaction:
    def __init__(self, tx: Transaction, paused: Paused) -> None:
        self._tx, self._paused = tx, paused

    def run(self, query: str, **parameters: Any) -> list[Row]:
        rows = self._tx.run(query, **parameters)
        if "rows" in parameters:
            self._paused.written.set()
            assert self._paused.go.wait(WAIT)
        return rows


@pytest.fixture
def claimed(database: Store, tmp_path: Path) -> Iterator[tuple[DriverDatabase, Ledger]]:
    """A run that is being loaded, and its ledger."""
    root = random_run(tmp_path / "run")
    database.migrate()
    there = DriverDatabase(database.driver, patience=30.0)
    lease = runs.claim(there, open_run(root).id, {})
    yield there, Ledger(lease, "0" * 64, frozenset())
    database.write("MATCH (x:Written) DELETE x")


def in_background(work: Callable[[], None]) -> tuple[Thread, list[IngestError | Neo4jError]]:
    errors: list[IngestError | Neo4jError] = []

    def run() -> None:
        try:
            work()
        except (IngestError, Neo4jError) as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def written(database: Store) -> list[str]:
    return sorted(database.cypher("MATCH (x:Written) RETURN x.key AS key")["key"])


def test_a_writer_does_not_wait_for_the_end_of_another(database: Store, claimed: tuple[DriverDatabase, Ledger]) -> None:
    there, ledger = claimed
    paused = Paused(there)
    first, errors = in_background(lambda: commit(paused, ledger, _CREATE, {"0-1:0": 1}, ["a"]))
    assert paused.written.wait(WAIT)
    second, others = in_background(lambda: commit(there, ledger, _CREATE, {"2-3:0": 2}, ["b", "c"]))
    second.join(WAIT)
    assert not second.is_alive()
    assert written(database) == ["b", "c"]
    paused.go.set()
    first.join(WAIT)
    assert (errors, others) == ([], [])
    assert written(database) == ["a", "b", "c"]


def test_a_second_try_waits_for_a_first_that_is_under_way(database: Store, claimed: tuple[DriverDatabase, Ledger]) -> None:
    """As after a lost connection: the server may still be at the first try, and commit it later."""
    there, ledger = claimed
    paused = Paused(there)
    first, errors = in_background(lambda: commit(paused, ledger, _CREATE, {"0-1:0": 1}, ["a"]))
    assert paused.written.wait(WAIT)
    second, others = in_background(lambda: commit(there, ledger, _CREATE, {"0-1:0": 1}, ["a"]))
    second.join(2.0)
    assert second.is_alive()
    paused.go.set()
    first.join(WAIT)
    second.join(WAIT)
    assert (errors, others) == ([], [])
    assert written(database) == ["a"]
    assert database.cypher("MATCH (b:IngestBatch) RETURN b.rows AS rows")["rows"].tolist() == [1]


def test_what_a_load_wrote_after_its_lease_was_taken_is_undone(database: Store, claimed: tuple[DriverDatabase, Ledger]) -> None:
    there, ledger = claimed
    paused = Paused(there)
    first, errors = in_background(lambda: commit(paused, ledger, _CREATE, {"0-1:0": 1}, ["a"]))
    assert paused.written.wait(WAIT)
    database.write("MATCH (r:Run {id: $id}) SET r.lease_at = r.lease_at - $ms", id=ledger.lease.id, ms=1000 * runs.LEASE_SECONDS)
    taken = runs.claim(there, ledger.lease.id, {})
    paused.go.set()
    first.join(WAIT)
    assert [type(error) for error in errors] == [LeaseLost]
    assert written(database) == []
    assert database.cypher("MATCH (b:IngestBatch) RETURN count(b) AS n")["n"].tolist() == [0]
    commit(there, Ledger(taken, ledger.sha256, frozenset()), _CREATE, {"0-1:0": 1}, ["a"])
    assert written(database) == ["a"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose edges lead between many layers, in more blocks than writers."""
    return random_run(tmp_path_factory.mktemp("wide") / "run", n_layers=8, n_features=160, n_edges=12_000, seed=9)


def test_several_writers_make_the_same_graph(database: Store, wide: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = ingest.ingest_run(DriverDatabase(database.driver), wide, transaction_blocks=1, writers=4)
    assert database.verify(wide).ok
    blocks = database.cypher("MATCH (b:IngestBatch) RETURN count(b) AS n, sum(b.rows) AS rows").iloc[0]
    assert blocks["rows"] == report.nodes + report.edges
    assert blocks["n"] > 12
    assert "eadlock" not in caplog.text  # a deadlock would be tried again, with a warning
    database.drop(report.run)
    alone = ingest.ingest_run(DriverDatabase(database.driver), wide, writers=1)
    assert (alone.digest, alone.edges) == (report.digest, report.edges)
    assert database.verify(wide).ok


class Stopped(Exception):
    """Somebody ends the load."""


def test_several_writers_cut_off_are_gone_on_with_by_another_number(database: Store, wide: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what == "edges" and done > total // 3:
            raise Stopped

    there = DriverDatabase(database.driver)
    with pytest.raises(Stopped):
        ingest.ingest_run(there, wide, stop, transaction_blocks=1, writers=3)
    assert database.cypher("MATCH (r:Run) RETURN r.status AS s")["s"].tolist() == ["failed"]
    kept = database.cypher("MATCH (b:IngestBatch) RETURN count(b) AS n")["n"][0]
    report = ingest.ingest_run(there, wide, transaction_blocks=1, writers=2)
    assert report.resumed == kept > 0
    assert database.verify(wide).ok
