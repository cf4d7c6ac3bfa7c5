"""A small Cypher prompt: several lines, ended by a semicolon; answers as tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from feature_graph.cli import common
from feature_graph.cli.common import err, out

if TYPE_CHECKING:
    from feature_graph.database.server import Connection
    from queries import Answer

MAX_ROWS = 1000
LEAVE = (":exit", ":quit", "exit", "quit")


def prompt(connection: Connection) -> None:
    """Run statements until end of file or ``:exit``. On a terminal an error does not end the prompt; in a script it does.

    Raises:
        ServerError: A statement of a script was refused.
    """
    from rich.text import Text

    from feature_graph.database import server

    with server.driver(connection) as opened:
        common.say(
            f"Connected to {connection.uri} as {connection.username}. End a statement with ; and leave with :exit or Ctrl-D.", err=True
        )
        for statement in _statements():
            try:
                print_answer(server.run_cypher(opened, statement, connection.database))
            except server.ServerError as error:
                if not sys.stdin.isatty():
                    raise
                err.print(Text(str(error), style="red"))


def _statements() -> Iterator[str]:
    if sys.stdin.isatty():
        import readline  # noqa: F401 - importing it gives input() history and editing

    lines: list[str] = []
    while True:
        try:
            line = input("cypher> " if not lines else "   ...> ") if sys.stdin.isatty() else input()
        except EOFError:
            break
        except KeyboardInterrupt:
            common.say("")
            lines.clear()
            continue
        if not lines and line.strip() in LEAVE:
            return
        lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines).rstrip().removesuffix(";")
            lines.clear()
    if "".join(lines).strip():
        yield "\n".join(lines)


def print_answer(answer: Answer) -> None:
    """Print the rows as a table, and the counts on standard error."""
    from feature_graph.database import server
    from ingest import counted

    if answer.columns:
        rows = [[server.value_text(value) for value in row] for row in answer.rows[:MAX_ROWS]]
        out.print(common.table("", answer.columns, rows))
        if len(answer.rows) > MAX_ROWS:
            common.say(f"The first {MAX_ROWS} of {len(answer.rows)} rows are shown.", err=True)
    changes = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in answer.changes.items())
    common.say(f"{counted(len(answer.rows), 'row')}, {answer.milliseconds:.0f} ms" + (f"; {changes}" if changes else ""), err=True)
