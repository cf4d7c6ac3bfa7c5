"""``ingest --bulk`` and ``--bulk-script``: when the importer is taken, and the files for a server elsewhere."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common

if TYPE_CHECKING:
    from feature_graph.cli.connection import DatabaseAddress
    from feature_graph.database.offline import BulkReport

logger = logging.getLogger(__name__)

#: How the last step of a load is called on its bar.
COMPARING = {"comparison": "comparing edges with the files"}


class Bulk(StrEnum):
    """Whether a run goes in by Neo4j's importer."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


BulkOption = Annotated[
    Bulk,
    typer.Option(
        "--bulk",
        help="Use Neo4j's importer instead of transactions, into an empty embedded database; the server restarts. auto: if the run is "
        "large and no other client is connected.",
    ),
]
ScriptOption = Annotated[
    Path | None, typer.Option("--bulk-script", metavar="DIR", help="Do not load; write import files and a script for another server.")
]

CheckStoreOption = Annotated[
    bool,
    typer.Option(
        "--check-store/--no-check-store",
        help="In bulk: also let Neo4j's own checker read every record, which takes as long as the import. Values are compared either way.",
    ),
]


def bulk_ingest(mode: Bulk, run_dir: Path, address: DatabaseAddress, check_store: bool = True) -> BulkReport | None:
    """Take the bulk path if it is asked for, or, with ``auto``, if it is worth it and every condition holds; None if it was not taken.

    Raises:
        BulkRefused: With ``always``, if a condition does not hold.
    """
    if mode is Bulk.NEVER:
        return None
    home, elsewhere = address.home, address.elsewhere
    if elsewhere and mode is Bulk.ALWAYS:
        common.fail("--bulk always needs the embedded database; for another server: --bulk-script DIR", common.USAGE)
    if elsewhere or (mode is Bulk.AUTO and not _worth_it(run_dir, home)):
        return None
    from feature_graph.database import offline
    from feature_graph.utils import progress_bar

    with progress_bar() as bar:
        tasks = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(COMPARING.get(what, what if " " in what else f"checking {what}"), total=None)
            bar.update(tasks[what], completed=done, total=total)

        return offline.bulk_ingest(home, run_dir, advance, check_store=check_store)


def _worth_it(run_dir: Path, home: Path | None) -> bool:
    """Whether ``auto`` takes the bulk path."""
    from feature_graph.database import server

    if not (run_dir / "interactions.parquet").is_file() or server.status(home).state != "running":
        return False  # the online path says what is wrong
    from feature_graph.database import offline
    from ingest.rundir import open_run

    features, edges = offline.run_size(open_run(run_dir))
    if edges < offline.BULK_FROM_EDGES:
        return False
    reasons = offline.bulk_refusals(home, edges, features)
    if reasons:
        logger.info("%d edges would go in faster in bulk (--bulk always), but: %s", edges, "; ".join(reasons))
    return not reasons


def write_script(run_dir: Path, folder: Path) -> None:
    """Write import files and script, and say how to go on."""
    from feature_graph.utils import progress_bar
    from ingest.bulk import write_script as write

    with progress_bar() as bar:
        task = bar.add_task("import files", total=None)
        script = write(run_dir, folder, lambda _, done, total: bar.update(task, completed=done, total=total))
    common.say(f"{script}: its first lines say how to run it.")
