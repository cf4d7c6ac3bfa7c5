"""``feature-graph db``: start, stop and look at the embedded Neo4j of a database home."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.browser import browser
from feature_graph.cli.commands import CommandLine, JsonOption
from feature_graph.cli.connection import DatabaseOption
from feature_graph.cli.home import HomeOption, resolve_home

if TYPE_CHECKING:
    from feature_graph.database.server import RunningServer, Status

db_app = CommandLine(no_args_is_help=True, help="Start, stop and inspect the embedded Neo4j. Neither Java nor Docker is needed.")


@db_app.command()
def start(
    home: HomeOption = None,
    heap: Annotated[str | None, typer.Option(help="Java heap, such as 2g; remembered. Default: 1g.")] = None,
    page_cache: Annotated[str | None, typer.Option(help="Memory for the store, such as 512m; remembered. Default: 256m.")] = None,
    bolt_port: Annotated[
        int | None, typer.Option(min=1024, max=65535, help="Port for drivers. Default: 7687, or the next free one.")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(min=1024, max=65535, help="Port for Neo4j Browser. Default: 7474, or the next free one.")
    ] = None,
    repair_log: Annotated[
        bool,
        typer.Option(
            "--repair-log", help="After a full disk: cut off the unreadable end of the transaction log. What was committed stays."
        ),
    ] = False,
) -> None:
    """Start the server and wait until it answers. The first start fetches Neo4j (158 MB) and sets a password."""
    from feature_graph.database import server

    where = resolve_home(home)
    running = server.start(where, heap=heap, page_cache=page_cache, bolt_port=bolt_port, http_port=http_port, repair_log=repair_log)
    common.say("Neo4j was already running." if running.already_running else "Neo4j is running.")
    _show(running)


def _show(running: RunningServer) -> None:
    home = running.home.option if running.home.origin == "given" else ""
    for name, value in (
        ("Browser", running.browser_url),
        ("Bolt", running.bolt_uri),
        ("Log in", f"user {running.username}; password in {running.password_file} (feature-graph db password {home})".replace(" )", ")")),
        ("Process", str(running.pid)),
        ("Stop", f"feature-graph db stop {home}".rstrip()),
    ):
        common.say(f"  {name:<8} {value}")


@db_app.command()
def stop(home: HomeOption = None) -> None:
    """Stop the server. It is killed if it has not ended after 30 seconds."""
    from feature_graph.database import server

    was_running = server.stop(resolve_home(home))
    common.say("Neo4j is stopped." if was_running else "Neo4j was not running.")


@db_app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say whether the server runs, where, and how large it is. Exit status 0 if it answers, 3 if not."""
    from feature_graph.database import server

    found = server.status(resolve_home(home))
    if as_json:
        _answer_status(found)
        return
    common.say(
        {
            "absent": "There is no database here yet. Make one: feature-graph db start",
            "stopped": "Neo4j is stopped.",
            "starting": "Neo4j is starting, or does not answer.",
            "running": "Neo4j is running.",
        }[found.state]
    )
    if found.server is not None:
        _show(found.server)
        common.say(f"  {'Memory':<8} {found.memory_bytes / 2**20:.0f} MB")
    if found.state != "absent":
        common.say(f"  {'Disk':<8} {found.store_bytes / 2**20:.1f} MB")
    if found.state != "running":
        raise typer.Exit(3)


def _answer_status(found: Status) -> None:
    running = found.server
    address = {"bolt": running.bolt_uri, "browser": running.browser_url, "pid": running.pid} if running else {}
    data = {"home": str(found.home.root), "state": found.state, "store_bytes": found.store_bytes, "memory_bytes": found.memory_bytes}
    common.answer(True, data | address)
    if found.state != "running":
        raise typer.Exit(3)


@db_app.command()
def logs(
    home: HomeOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Number of lines.")] = 50,
    which: Annotated[
        str, typer.Option(help="Which log: neo4j (what happened), debug (all details) or console (what the process printed).")
    ] = "neo4j",
) -> None:
    """Show the end of a log."""
    from feature_graph.database import server

    where = resolve_home(home)
    if which not in ("neo4j", "debug", "console"):
        raise typer.BadParameter(f"{which!r} is not a log; expected neo4j, debug or console", param_hint="--which")
    path = where.logs / f"{which}.log"
    if not path.exists():
        raise server.HomeError(f"There is no log {path}: no server was started on this home.")
    common.say(f"Log: {path}", err=True)
    common.say(server.tail(path, lines))


@db_app.command()
def password(
    home: HomeOption = None, show: Annotated[bool, typer.Option("--show", help="Print it even if the output is not a terminal.")] = False
) -> None:
    """Print the password of user neo4j, but only on a terminal."""
    from feature_graph.database import server

    where = resolve_home(home)
    secret = server.read_password(where)
    if not (show or sys.stdout.isatty()):
        raise server.ServerError(
            f"The output is not a terminal, so the password is not printed. It is in {where.password_file}; --show prints it anyway."
        )
    common.send(f"{secret}\n")


db_app.command()(browser)


@db_app.command()
def reset(home: HomeOption = None, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False) -> None:
    """Stop the server and erase the database, its password and its logs. Runs and other files stay."""
    from feature_graph.database import server

    where = resolve_home(home)
    found = server.status(where)
    if found.state == "absent" and not where.marker.exists():
        common.say("There is no database here.")
        return
    if not yes:
        common.confirmed(f"Erase the database in {where.root} ({found.store_bytes / 2**20:.1f} MB)? It cannot be undone", abort=True)
    server.reset(where)
    common.say("The database is erased.")


@db_app.command()
def shell(
    home: HomeOption = None,
    command: Annotated[str | None, typer.Option("--command", "-c", help="Run this statement and leave.")] = None,
    database: DatabaseOption = None,
) -> None:
    """Open a Cypher prompt; a statement may span lines and ends with a semicolon. With NEO4J_URI set and no --home, on your own server."""
    from feature_graph.cli.cypher_shell import print_answer, prompt
    from feature_graph.database import server

    own = server.connection_from_environment() if home is None else None
    if own is None:
        resolve_home(home)
    connection = own or server.connection(home, use_environment=False)
    connection = replace(connection, database=database or connection.database)
    if command is None:
        prompt(connection)
        return
    with server.driver(connection) as opened:
        print_answer(server.run_cypher(opened, command, connection.database))
