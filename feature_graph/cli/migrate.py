"""``db migrate``: bring a database's schema up to date, or say what that would do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption
from feature_graph.cli.connection import DatabaseAddress, with_database

if TYPE_CHECKING:
    from ingest.migrations import AppliedMigration


@with_database
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be applied without writing anything.")] = False,
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Bring the database's schema up to date. `ingest` does this too; use it to look first, or before a question of a newer program.

    A database that was migrated by a newer or an altered program is refused.
    """
    with address.open() as store:
        before = store.schema_history()
        pending = [step for step in before if step.applied is None]
        if not dry_run:
            store.migrate()
    rows = [[step.migration.n, step.migration.name, step.migration.checksum[:12], _when(step, dry_run)] for step in before]
    if as_json:
        made = [{"number": row[0], "file": row[1], "checksum": row[2], "applied": row[3]} for row in rows]
        common.answer(as_json, {"pending": len(pending), "dry_run": dry_run, "migrations": made})
        return
    common.out.print(common.table("migrations", ["number", "file", "checksum", "applied"], rows))
    if dry_run:
        common.out.print(f"{len(pending)} would be applied; nothing was written", highlight=False)
    else:
        common.out.print(f"{len(pending)} applied; the schema is up to date", highlight=False)


def _when(step: AppliedMigration, dry_run: bool) -> str:
    if step.applied is None:
        return "would be applied" if dry_run else "now"
    return datetime.fromtimestamp(step.applied / 1000, UTC).isoformat(sep=" ", timespec="seconds")
