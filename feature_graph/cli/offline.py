"""``db dump``, ``db load``, ``db backup``: the database as a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption
from feature_graph.cli.home import HomeOption, resolve_home

if TYPE_CHECKING:
    from feature_graph.database.offline import Contents
    from feature_graph.database.server import Home

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before other clients are disconnected or a database is replaced.")]
CheckOption = Annotated[bool, typer.Option("--check/--no-check", help="Have Neo4j check the store first.")]


def dump(
    file: Annotated[Path, typer.Argument(help="File to write, such as graph.dump; a note is written next to it, as graph.dump.json.")],
    home: HomeOption = None,
    check: CheckOption = True,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the database into one file. The server is stopped while this is done."""
    from feature_graph.database import offline

    where = _free_home(home, yes)
    note = offline.dump(where, file, check=check)
    data = {"file": str(file), "bytes": note.bytes, "contents": asdict(note.contents)}
    common.answer(as_json, data, f"{file}: {note.bytes / 2**20:.1f} MB, {_described(note.contents)}")


def load(
    file: Annotated[Path, typer.Argument(help="A dump written by `db dump`, with its note next to it.")],
    home: HomeOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a database that is not empty; its contents are lost.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Load a dump. It is checked before it replaces the database."""
    from feature_graph.database import offline

    where = _free_home(home, yes)
    if replace and where.has_database and not yes:
        common.confirmed(f"Replace the database in {where.root}? `db dump` keeps what is there", abort=True)
    held = offline.load(where, file, overwrite=replace)
    said = f"Loaded: {_described(held)}. Start it, if it does not run: feature-graph db start {where.option}"
    common.answer(as_json, {"contents": asdict(held)}, said.rstrip())


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder for the backups; created if absent.")],
    home: HomeOption = None,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Number of backups of this home to keep. Default: all.")] = None,
    check: CheckOption = True,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Dump into a dated file. With --keep, the oldest are removed once the new one is complete."""
    from feature_graph.database import offline

    where = _free_home(home, yes)
    written = str(offline.backup(where, folder, keep=keep, check=check))
    common.answer(as_json, {"file": written}, written)


def _free_home(given: Path | None, yes: bool) -> Home:
    """The home that is meant. Other clients will lose their connection: ask first, unless told not to."""
    from feature_graph.database import server
    from feature_graph.database.server import other_clients

    home = resolve_home(given)
    if server.status(home).state != "running":
        return home
    common.say("The server is stopped meanwhile and started again afterwards.", err=True)
    others = [] if yes else other_clients(server.connection(home))
    if others:
        from ingest import counted

        names = ", ".join(sorted({f"{client.program} from {client.address}" for client in others}))
        connected = counted(len(others), "other client is", "other clients are")
        common.confirmed(f"{connected} connected ({names}) and will be cut off. Go on?", abort=True, err=True)
    return home


def _described(held: Contents) -> str:
    runs = ", ".join(f"{run.id} ({run.status}, {run.edges or 0:,} edges)" for run in held.runs) or "no run"
    return f"{held.nodes:,} nodes, {held.relationships:,} relationships; {runs}"
