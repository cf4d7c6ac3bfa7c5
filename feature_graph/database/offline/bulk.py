"""A run into an empty embedded database by Neo4j's importer, many times as fast as transactions.

1. Check the files of the run, and that the database is empty and nobody else is connected.
2. Stop the server. Write the import files; import them into a store beside the home's own.
3. Start that store on ports of its own and let the online path finish it: it finds every block in the ledger, writes what is small (model,
   dictionaries, text, behaviours), makes constraints and indexes, compares counts and digest with the files, and sets the run ready.
4. Check the store with Neo4j's own tool (unless asked not to); put it in place of the empty one; start the server again.

Killed at any moment, the home has its old store, or, after the rename, the new one.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ingest
from feature_graph.database import server
from feature_graph.database.offline.errors import BulkRefused, StoppedDatabaseError
from feature_graph.database.offline.stores import Contents, contents, other_content, put_in_place
from feature_graph.database.server.clients import other_clients
from feature_graph.database.server.running import HomeLike, as_home
from feature_graph.database.server.staging import DATABASE, Staging, folder_bytes, staging
from ingest import TableFile, validate
from ingest.bulk import ImportFiles, import_arguments, import_bytes, write_import_files
from ingest.formats import FEATURES, INTERACTIONS
from ingest.rundir import open_run

if TYPE_CHECKING:
    from ingest import Validated
    from ingest.rundir import RunDirectory

logger = logging.getLogger(__name__)

#: Edges from which on the restart is worth it: below, transactions are as fast (docs/log.md).
BULK_FROM_EDGES = 500_000

#: Called with what is being done, how much of it is done, and how much there is in all.
Progress = Callable[[str, int, int], None]

_STAGES = 4
_QUICK_EDGES = 100_000  # below, the optimising compiler costs more than it saves
_PERCENT = re.compile(r"(\d+)%\s")
_STAGE = re.compile(r"\((\d)/4\)")
_COUNT = re.compile(r"^\s*(\d+) (nodes|relationships|properties)$", re.MULTILINE)


@dataclass(frozen=True)
class BulkReport:
    """What a bulk ingest did.

    Attributes:
        ingest: As of the online path.
        seconds: How long each step took: validate, files, stop (with the check for others), import, start, finish, halt, check,
            restart, total.
        store_bytes: Size of the new store.
    """

    ingest: ingest.IngestReport
    seconds: dict[str, float]
    store_bytes: int


@dataclass
class _StepSeconds:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        begun = time.monotonic()
        logger.info("bulk: %s", step)
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - begun


def run_size(run: RunDirectory) -> tuple[int, int]:
    """Features and edges of a run directory, without a check of the rows."""
    with TableFile(run.features, FEATURES) as features, TableFile(run.interactions, INTERACTIONS) as interactions:
        return features.rows, sum(batch.column("significant").true_count for batch in interactions.batches(["significant"]))


def bulk_refusals(home: HomeLike, edges: int, features: int) -> list[str]:
    """Why the bulk path cannot be taken here; empty if it can. The server must be running.

    Args:
        home: The home.
        edges: Edges of the run.
        features: Features of the run.
    """
    home = as_home(home)
    connection = server.connection(home)
    reasons = other_content(connection)
    clients = other_clients(connection)
    if clients:
        names = "; ".join(f"{client.program} from {client.address}" for client in clients[:3])
        reasons.append(f"the server would be stopped, and {len(clients)} other clients are connected ({names}): close them")
    files, store = import_bytes(features, edges)
    free = shutil.disk_usage(home.root).free
    if free < files + store:
        reasons.append(
            f"{free / 2**30:.1f} GB are free on the disk of {home.root}; the import files take about {files / 2**30:.1f} GB and the store "
            f"{store / 2**30:.1f} GB"
        )
    return reasons


def bulk_ingest(home: HomeLike, run_dir: str | Path, progress: Progress | None = None, *, check_store: bool = True) -> BulkReport:
    """Write a run into an empty embedded database by Neo4j's importer. The server is stopped meanwhile and runs again afterwards.

    Args:
        home: The home; its server is started if it is not running.
        run_dir: The run directory.
        progress: Called with what is being done, how much is done and how much there is.
        check_store: Let ``neo4j-admin database check`` read every record of the new store, too: it takes as long as the import. Counts,
            every property and every end of an edge are compared with the files whether or not.

    Raises:
        InvalidRun: If a file of the run is missing or wrong. Nothing was touched.
        BulkRefused: If the database is not empty, another client is connected, or the disk is too small. Nothing was touched.
        StoppedDatabaseError: If the importer or a check fails. The home has its old store.
    """
    home, tell, clock = as_home(home), progress or (lambda *_: None), _StepSeconds()
    begun = time.monotonic()
    with clock("validate"):
        run = open_run(run_dir)
        seen = validate(run)

    def check(running: server.RunningServer) -> None:
        reasons = bulk_refusals(running.home, seen.edges, len(seen.features))
        if reasons:
            raise BulkRefused(
                f"{running.home.root} cannot be filled in bulk: {'; '.join(reasons)}. Without --bulk always it is loaded by transactions."
            )

    stopping = time.monotonic()
    with staging(home, check) as staged:
        clock.seconds["stop"] = time.monotonic() - stopping
        report, held = _fill(staged, run, seen, tell, clock, check_store)
        size = folder_bytes(staged.stage.data)
        with clock("restart"):
            put_in_place(staged, held)
    server.start(home)  # where it was not running before
    clock.seconds["total"] = time.monotonic() - begun
    done = replace(report, resumed=0, seconds=clock.seconds["total"])
    return BulkReport(done, {step: round(seconds, 2) for step, seconds in clock.seconds.items()}, size)


def _fill(
    staged: Staging, run: RunDirectory, seen: Validated, tell: Progress, clock: _StepSeconds, check_store: bool
) -> tuple[ingest.IngestReport, Contents]:
    """The staged store, whole and checked, its server stopped."""
    quick = seen.edges < _QUICK_EDGES
    with clock("files"):
        files = write_import_files(run, seen, staged.stage.root / "import-files", tell)
    with clock("import"):
        _import(staged, files, tell, quick=quick)
    shutil.rmtree(files.folder)
    with clock("start"):
        connection = staged.start(page_cache=_page_cache(staged), quick=quick).connection()
    with clock("finish"), server.driver(connection) as driver:
        report = ingest.ingest_run(driver, run.root, tell, checked=seen)
        held = contents(connection)
    with clock("halt"):
        staged.stop()
    if check_store:
        with clock("check"):
            staged.admin("database", "check", DATABASE, f"--report-path={staged.stage.logs}", "--max-off-heap-memory=50%", quick=quick)
    return report, held


def _import(staged: Staging, files: ImportFiles, tell: Progress, *, quick: bool) -> None:
    """Run the importer and compare what it says it stored with what was written.

    Raises:
        StoppedDatabaseError: If they differ.
    """
    stage = 0

    def watch(line: str) -> None:
        nonlocal stage
        begun, percent = _STAGE.match(line), _PERCENT.search(line)
        stage = int(begun[1]) - 1 if begun else stage
        if percent:
            tell("import (%)", (100 * stage + int(percent[1])) // _STAGES, 100)

    said = staged.admin(*import_arguments(files, DATABASE), quick=quick, watch=watch)
    got = {what: int(number) for number, what in _COUNT.findall(said)}
    wanted = {"nodes": files.node_count, "relationships": files.relationship_count, "properties": files.property_count}
    if got != wanted:
        raise StoppedDatabaseError(f"The importer stored {got}; the files hold {wanted}. {staged.home.root} keeps its old store.")


def _page_cache(staged: Staging) -> str:
    """Page cache that holds the store, at most a quarter of the free memory and at least 256 MB."""
    import psutil

    wanted = min(folder_bytes(staged.stage.data / "databases" / DATABASE), psutil.virtual_memory().available // 4)
    return f"{max(256, wanted // 2**20)}m"
