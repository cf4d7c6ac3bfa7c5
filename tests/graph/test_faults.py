"""What goes wrong while a run is loaded: nothing acknowledged is lost, nothing is doubled, and the message says what to do.

Faults that need a server of their own are in test_faults_server.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import ServiceUnavailable
from typer.testing import CliRunner

import ingest
from feature_graph.cli import app
from feature_graph.cli.connection import DatabaseAddress
from feature_graph.database import server
from feature_graph.database.store import Store, StoreError
from ingest import DriverDatabase, IngestError, IngestReport, InvalidRun, LeaseHeld, runs
from ingest.formats import FEATURES, write_table
from ingest.rundir import sha256_file
from tests.graph.proxy import Proxy
from tests.rundirs import random_run
from tests.support.database import wipe

pytestmark = pytest.mark.graph

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Big:
    """A run of several megabytes on the wire, and what an undisturbed load of it gives."""

    root: Path
    report: IngestReport
    sent: int
    commits: int


@pytest.fixture(scope="module")
def big(connected: Store, neo4j_server: server.Connection, tmp_path_factory: pytest.TempPathFactory) -> Big:
    wipe(connected)
    root = random_run(tmp_path_factory.mktemp("big") / "run", n_features=80, n_edges=9_000, seed=5)
    connected.ingest(random_run(tmp_path_factory.mktemp("small") / "run"))  # the schema is there: only the load itself is counted
    with Proxy(neo4j_server.uri) as proxy, through(proxy, neo4j_server) as database:
        report = ingest.ingest_run(database, root, transaction_blocks=1)
    return Big(root, report, proxy.sent, proxy.commits)


class through:
    """A database that is reached through a proxy."""

    def __init__(self, proxy: Proxy, at: server.Connection, patience: float = 60.0) -> None:
        self._driver = GraphDatabase.driver(proxy.uri, auth=at.auth, connection_timeout=5)
        self._database = DriverDatabase(self._driver, patience=patience)

    def __enter__(self) -> DriverDatabase:
        return self._database

    def __exit__(self, *_: object) -> None:
        self._driver.close()


def whole(store: Store, big: Big) -> None:
    """The database holds the run exactly once and nothing else of it."""
    assert store.verify(big.root).ok
    counts = store.cypher("MATCH ()-[e:AFFECTS]->() RETURN count(e) AS edges")
    assert counts["edges"][0] == big.report.edges
    batches = store.cypher("MATCH (b:IngestBatch) RETURN sum(b.rows) AS rows, count(b) AS n, count(DISTINCT b.key) AS keys").iloc[0]
    assert batches["rows"] == big.report.edges + big.report.nodes
    assert batches["n"] == batches["keys"]


def silence(store: Store) -> None:
    """As if the process that held the lease had been dead for a minute."""
    store.write("MATCH (r:Run) WHERE r.lease_at IS NOT NULL SET r.lease_at = r.lease_at - $ms", ms=1000 * runs.LEASE_SECONDS)


@pytest.mark.parametrize(
    ("share", "program"),
    [
        (0.03, ["-m", "ingest"]),
        (0.7, ["-m", "ingest"]),
        (0.6, ["-c", "from feature_graph.cli import main; main()", "ingest", "--writers", "2"]),
    ],
)
def test_client_killed_in_the_middle_of_a_transaction(
    database: Store, neo4j_server: server.Connection, big: Big, share: float, program: list[str]
) -> None:
    environment = os.environ | {"NEO4J_PASSWORD": neo4j_server.password}
    killed: list[subprocess.Popen[bytes]] = []
    with Proxy(neo4j_server.uri, at=(int(share * big.sent),), then=lambda _: killed[0].kill()) as proxy:
        command = [sys.executable, *program, str(big.root), "--uri", proxy.uri]
        killed.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        _, errors = killed[0].communicate(timeout=300)
    assert killed[0].returncode == -signal.SIGKILL, errors
    assert database.cypher("MATCH (r:Run) RETURN r.status AS s")["s"].tolist() == ["loading"]
    there = database.cypher("MATCH (b:IngestBatch) RETURN coalesce(sum(b.rows), 0) AS n")["n"][0]
    with pytest.raises(LeaseHeld, match=r"is being loaded by .* wait for it, or end that process and try again 60 s after its last sign"):
        database.ingest(big.root)
    silence(database)
    again = database.ingest(big.root)
    assert (again.digest, again.edges, again.nodes) == (big.report.digest, big.report.edges, big.report.nodes)
    assert (again.resumed > 0) == (there > 0) == (share > 0.1)
    whole(database, big)


def test_connection_cut_and_back_again_and_again(database: Store, neo4j_server: server.Connection, big: Big) -> None:
    marks = tuple(int(share * big.sent) for share in (0.02, 0.2, 0.55, 0.8))
    with (
        Proxy(neo4j_server.uri, at=marks, then=lambda p: p.cut(seconds=1.5)) as proxy,
        through(proxy, neo4j_server) as there,
    ):
        report = ingest.ingest_run(there, big.root, transaction_blocks=1)
    assert proxy.cuts >= len(marks)
    assert (report.digest, report.already, report.resumed) == (big.report.digest, False, 0)
    whole(database, big)


def test_the_first_answer_to_every_commit_is_lost(database: Store, neo4j_server: server.Connection, big: Big) -> None:
    """What was committed and not acknowledged is tried again, and is there once: claim, features, edges, behaviours, the last check."""
    with Proxy(neo4j_server.uri, lose=lambda n: n % 2 == 1) as proxy, through(proxy, neo4j_server) as there:
        report = ingest.ingest_run(there, big.root, transaction_blocks=1)
    assert proxy.commits >= 2 * big.commits - 1
    assert (report.digest, report.edges) == (big.report.digest, big.report.edges)
    whole(database, big)


def test_connection_that_stays_away(database: Store, neo4j_server: server.Connection, big: Big) -> None:
    """The load gives up; what was acknowledged is there, and the next one goes on from it."""
    with (
        Proxy(neo4j_server.uri, at=(int(0.5 * big.sent),), then=lambda p: p.cut(seconds=600)) as proxy,
        through(proxy, neo4j_server, patience=1.0) as there,
        pytest.raises(ServiceUnavailable),
    ):
        ingest.ingest_run(there, big.root, transaction_blocks=1)
    done = database.cypher("MATCH (b:IngestBatch) RETURN count(b) AS n")["n"][0]
    assert done > 1
    silence(database)
    again = database.ingest(big.root)
    assert (again.resumed, again.digest) == (done, big.report.digest)
    whole(database, big)


def test_a_lost_connection_is_said_in_words(neo4j_server: server.Connection, connected: Store, big: Big) -> None:
    def load(proxy: Proxy) -> None:
        with DatabaseAddress(uri=proxy.uri).open() as store:
            proxy.cut(seconds=600)
            ingest.ingest_run(DriverDatabase(store.driver, patience=0.5), big.root)

    with Proxy(neo4j_server.uri) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEO4J_PASSWORD", neo4j_server.password)
        with pytest.raises(StoreError, match=rf"{proxy.uri}: the connection was lost.*db status.*again.*acknowledged") as caught:
            load(proxy)
    assert neo4j_server.password not in str(caught.value)


def test_two_loads_of_one_run_at_once(database: Store, neo4j_server: server.Connection, big: Big) -> None:
    """The second is told who holds it, while the first goes on."""
    told: list[str] = []

    def second(what: str, done: int, total: int) -> None:
        if what == "edges" and 0 < done < total and not told:
            with pytest.raises(LeaseHeld) as caught:
                database.ingest(big.root)
            told.append(str(caught.value))

    report = ingest.ingest_run(database.driver, big.root, second, transaction_blocks=1)
    assert f":{os.getpid()}:" in told[0]
    assert report.digest == big.report.digest
    whole(database, big)


def test_loads_that_begin_in_the_same_moment(database: Store, neo4j_server: server.Connection, big: Big) -> None:
    start, outcomes = Barrier(3), []

    def load() -> None:
        with GraphDatabase.driver(neo4j_server.uri, auth=neo4j_server.auth) as driver:
            start.wait()
            try:
                outcomes.append(ingest.ingest_run(driver, big.root))
            except IngestError as error:
                outcomes.append(error)

    threads = [Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    written = [o for o in outcomes if isinstance(o, IngestReport) and not o.already]
    assert len(outcomes) == 3
    assert len(written) == 1
    assert all(isinstance(o, LeaseHeld) or (isinstance(o, IngestReport) and (o.already or o is written[0])) for o in outcomes)
    whole(database, big)


def test_wrong_password(neo4j_server: server.Connection, big: Big) -> None:
    wrong = "a-wrong-password"
    environment = os.environ | {"NEO4J_PASSWORD": wrong}
    command = [sys.executable, "-m", "ingest", str(big.root), "--uri", neo4j_server.uri, "--user", "nobody"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "refused user 'nobody'" in done.stderr
    assert "NEO4J_PASSWORD" in done.stderr
    ours = CliRunner().invoke(app, ["ingest", str(big.root), "--uri", neo4j_server.uri, "--user", "nobody"], env={"NEO4J_PASSWORD": wrong})
    assert ours.exit_code == 1
    assert "refused user 'nobody'" in ours.output
    assert "feature-graph db password" in ours.output
    assert wrong not in done.stderr + done.stdout + ours.output


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return random_run(tmp_path / "run")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """A few bytes in the middle of the data, its footer whole."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 64] = bytes(b ^ 0xFF for b in data[middle : middle + 64])
    path.write_bytes(bytes(data))


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content)  # type: ignore[return-value]


CORRUPT: list[tuple[str, Callable[[Path], Any], str]] = [
    *[(name, half, rf"{name}: not a readable Parquet file") for name in ("features.parquet", "interactions.parquet")],
    *[(name, text(""), rf"{name}: not a readable Parquet file") for name in ("features.parquet", "interactions.parquet")],
    *[(name, flipped, rf"{name}.*: (damaged|not a readable)") for name in ("features.parquet", "interactions.parquet")],
    *[(name, lambda path: path.unlink(), rf"{name}: no such file") for name in ("features.parquet", "interactions.parquet", "config.json")],
    ("config.json", half, r"config\.json: not JSON"),
    ("config.json", text("[1, 2]"), r"config\.json: got list; expected a JSON object"),
    ("config.json", text("[" * 100_000), r"config\.json: not JSON"),
    ("config.json", text('{"seed": "seven"}'), r"config\.json: seed: got 'seven'; expected a whole number"),
    ("config.json", text('{"seed": [1]}'), r"config\.json: seed: got \[1\]; expected a whole number"),
    ("config.json", lambda path: path.write_bytes(b"\xff\xfe{"), r"config\.json: not JSON"),
    ("manifest.json", text('{"stages": '), r"manifest\.json: not JSON"),
    ("manifest.json", text('{"stages": [], "saes": 5}'), ""),
    ("behaviors.json", text('{"kind": "behaviors"'), r"behaviors\.json: "),
    ("behaviors.json", text('{"kind": "behaviors", "version": 1, "behaviors": [{"name": "x"}]}'), r"behaviors\.json: no field 'prompts'"),
    ("behaviors.json", text("[" * 100_000), r"behaviors\.json: "),
    ("decoders.parquet", text("PAR1"), r"decoders\.parquet: .*feature-graph vectors"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), CORRUPT, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CORRUPT)])
def test_a_corrupt_file_is_named_before_anything_is_written(
    database: Store, run: Path, name: str, spoil: Callable[[Path], Any], message: str
) -> None:
    """An empty message: the file is read for what it has, and the run is loaded."""
    spoil(run / name)
    if not message:
        assert database.ingest(run).edges > 0
        return
    with pytest.raises(InvalidRun, match=message) as caught:
        database.ingest(run)
    assert "was not ingested, nothing was written" in str(caught.value)
    assert database.cypher("MATCH (n) WHERE NOT n:SchemaVersion RETURN n").empty


def test_a_run_edited_after_its_manifest_was_written(database: Store, run: Path) -> None:
    marks = {name: {"sha256": sha256_file(run / name)} for name in ("features.parquet", "interactions.parquet")}
    (run / "manifest.json").write_text(json.dumps({"stages": {"measure": {"artifacts": marks}}}))
    before = database.ingest(run)
    frame = pd.read_parquet(run / "features.parquet")
    frame.loc[0, "label"] = "edited"
    write_table(run / "features.parquet", FEATURES, pa.Table.from_pandas(frame, preserve_index=False))
    with pytest.raises(
        InvalidRun, match=r"features\.parquet: sha256 [0-9a-f]{12}…, manifest\.json recorded .*changed after the run; run it"
    ):
        database.ingest(run)
    (run / "manifest.json").unlink()
    after = database.ingest(run)
    assert after.run != before.run
    assert {row["status"] for row in database.ask("runs").records} == {"ready"}
