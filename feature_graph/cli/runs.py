"""``runs``: what is in the database, one run as files, two runs side by side, one run out."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import CommandLine, Commands, JsonOption, RunDirectory
from feature_graph.cli.connection import DatabaseAddress, with_database
from feature_graph.utils import missing_as_none

runs_app = CommandLine(cls=Commands, no_args_is_help=True, help="List, show, export, compare and drop runs in the database.")

RunArgument = Annotated[str, typer.Argument(help="The run's id, the beginning of its id, or its name.")]


class Export(StrEnum):
    """Formats of an export."""

    CSV = "csv"
    PARQUET = "parquet"
    GRAPHML = "graphml"


@runs_app.command("list")
@with_database
def list_(
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """List every run in the database, whatever its status."""
    from feature_graph.database.store import list_runs

    with address.open() as db:
        frame = missing_as_none(list_runs(db))
    if as_json:
        common.say(json.dumps(frame.to_dict("records"), indent=2))
        return
    columns = ["id", "name", "status", "model", "nodes", "edges"]
    common.out.print(common.table("runs", columns, frame[columns].to_numpy().tolist(), right=["nodes", "edges"]))


@runs_app.command()
@with_database
def show(
    run: RunArgument,
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Show where a run comes from and how good it is."""
    with address.open() as db:
        found = db.find_run(run)
        answers = {name: db.ask(name, run=found) for name in ("provenance", "quality")}
    if as_json:
        common.say(json.dumps({"run": found} | {name: answer.records for name, answer in answers.items()}, indent=2, default=str))
        return
    for name, answer in answers.items():
        common.out.print(common.table(f"{name} of {found}", answer.columns, answer.rows))


@runs_app.command()
@with_database
def export(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(help="Folder to write into; created if absent.")],
    format_: Annotated[Export, typer.Option("--format", "-f", help="csv and parquet: nodes and edges; graphml: one file.")] = Export.CSV,
    method: Annotated[str | None, typer.Option("--method", help="Method whose edges are exported: clamping or jacobian.")] = None,
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Write a run's features and edges as files."""
    from feature_graph.database.store import export_run

    with address.open() as db:
        written = [str(path) for path in export_run(db, run, folder, format_.value, method)]
    common.answer(as_json, {"files": written}, *written)


@runs_app.command()
@with_database
def diff(
    first: RunArgument,
    second: Annotated[str, typer.Argument(help="The other run.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Number of edges to show.")] = 20,
    method: Annotated[
        str | None, typer.Option("--method", help="Method whose edges of the first run are compared: clamping or jacobian.")
    ] = None,
    other_method: Annotated[
        str | None,
        typer.Option("--other-method", help="The same for the other run. Default: the same method if it has it, otherwise its only one."),
    ] = None,
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Show the edges gained, lost, reversed in sign or changed in strength from one run to another."""
    from feature_graph.database.store import diff_runs

    with address.open() as db:
        found = diff_runs(db, first, second, method, other_method=other_method)
    other = missing_as_none(found.edges[found.edges["change"] != "kept"].head(limit))
    if as_json:
        records: list[Any] = other.to_dict("records")
        common.say(json.dumps({"first": found.first, "second": found.second, "counts": found.counts, "edges": records}, indent=2))
        return
    common.out.print(", ".join(f"{n} {name}" for name, n in found.counts.items()), highlight=False)
    common.out.print(common.table(f"{found.first} → {found.second}", [str(c) for c in other], other.to_numpy().tolist()))


@with_database
def verify(
    run_dir: RunDirectory,
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Compare the database with a run's files: counts, every property, constraints, orphans. Exit code 1 if anything differs."""
    with address.open() as db:
        report = db.verify(run_dir)
    if as_json:
        checks = [{"check": c.name, "found": c.found, "expected": c.expected, "ok": c.ok} for c in report.checks]
        common.say(json.dumps({"run": report.run, "ok": report.ok, "checks": checks}, indent=2))
    else:
        rows = [[c.name, _words(c.found), _words(c.expected), "yes" if c.ok else "NO"] for c in report.checks]
        common.out.print(common.table(f"run {report.run}", ["check", "found", "expected", "ok"], rows))
    if not report.ok:
        raise typer.Exit(common.FAILURE)


def _words(value: Any) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


@runs_app.command()
@with_database
def drop(
    run: RunArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Take a run out of the database. Other runs and the run directory stay as they are."""
    with address.open() as db:
        found = db.which_run(run)
        if not yes and not common.confirmed(f"drop run {found['id']} ({found.get('name')}) from the database?", err=True):
            raise typer.Exit(common.FAILURE)
        done = db.drop(found["id"])
    gone = ", ".join(f"{n:,} {what}" for what, n in done.deleted.items() if n)
    common.answer(as_json, {"run": done.run, "deleted": done.deleted}, f"run {done.run} dropped: {gone or 'it was empty'}")
