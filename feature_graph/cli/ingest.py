"""``ingest``: a run into Neo4j."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from feature_graph.cli import common, edge_files, selection
from feature_graph.cli.bulk import COMPARING, Bulk, BulkOption, CheckStoreOption, ScriptOption, bulk_ingest, write_script
from feature_graph.cli.commands import JsonOption
from feature_graph.cli.connection import DatabaseAddress, with_database

if TYPE_CHECKING:
    from rich.progress import TaskID

    from feature_graph.database.store import Store
    from ingest import IngestReport, Options


@with_database
def ingest(
    path: edge_files.PathArgument,
    bulk: BulkOption = Bulk.AUTO,
    bulk_script: ScriptOption = None,
    check_store: CheckStoreOption = True,
    limit: selection.LimitOption = None,
    min_strength: selection.MinStrengthOption = None,
    top_k_per_source: selection.TopOption = None,
    bad_rows: selection.BadRowsOption = selection.BadRows.REFUSE,
    rejected: selection.RejectedOption = None,
    writers: selection.WritersOption = None,
    model: edge_files.ModelOption = "",
    method: edge_files.MethodOption = "",
    features: edge_files.FeaturesOption = None,
    out: edge_files.OutOption = None,
    release: edge_files.ReleaseOption = "",
    site_order: edge_files.SiteOrderOption = "",
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Load a run into Neo4j. The files are checked first; loading is resumable and safe to repeat.

    A part of a run (--limit, --min-strength, --top-k-per-source) is a separate run in the graph. A file of edges needs the columns
    source, target and strength; a run directory is made from it first.
    """
    run_dir = edge_files.EdgeFile(model, method, features, out, release, site_order).run_of(path)
    chosen = selection.options(run_dir, limit, min_strength, top_k_per_source, bad_rows, rejected)
    if chosen is not None and (bulk is Bulk.ALWAYS or bulk_script is not None):
        common.fail("the bulk path loads whole runs without wrong rows; leave out --bulk always and --bulk-script", common.USAGE)
    if bulk_script is not None:
        write_script(run_dir, bulk_script)
        return
    done = bulk_ingest(bulk, run_dir, address, check_store) if chosen is None and writers is None else None
    if done is not None:
        common.answer(as_json, asdict(done.ingest) | {"bulk": True}, f"{done.ingest.summary()}, in bulk")
        return
    with address.open() as store:
        report = ingest_with_bars(store, run_dir, chosen, writers)
    common.answer(as_json, asdict(report) | {"bulk": False}, report.summary())
    if report.rejected and chosen is not None:
        common.err.print(f"the wrong rows, each with its reason: {chosen.rejected}", highlight=False)


def ingest_with_bars(store: Store, run_dir: Path, chosen: Options | None = None, writers: int | None = None) -> IngestReport:
    """Write a run into Neo4j under a progress bar with rate and estimate."""
    import time

    from feature_graph.utils import progress_bar

    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}
        begun: dict[str, tuple[float, int]] = {}

        def advance(what: str, done: int, total: int) -> None:
            name = COMPARING.get(what, f"writing {what}")
            if what not in tasks:
                tasks[what], begun[what] = bar.add_task(name, total=None), (time.monotonic(), done)
            since, first = begun[what]
            rate = (done - first) / max(time.monotonic() - since, 1e-3)
            bar.update(tasks[what], completed=done, total=total, description=f"{name}, {rate:,.0f}/s")

        return store.ingest(run_dir, advance, chosen, writers)
