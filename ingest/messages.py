"""What a driver's error means and what to do, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neo4j.exceptions import DriverError, Neo4jError

_FULL = ("No space left on device", "TransactionLogError")
_STOPPED = ("DatabaseUnavailable", "critical error", "has panicked", "not currently available")
_AGAIN = "then give the same command again: what was acknowledged is kept, and loading resumes where it stopped"
_SHOWN = 200


def explain(error: DriverError | Neo4jError, uri: str) -> str:
    """The error of a connection that had been open, for people."""
    from neo4j.exceptions import DriverError, TransientError

    said, shown = str(error), _first_line(getattr(error, "message", None) or str(error))
    if "Database.DatabaseNotFound" in said:
        return f"{uri}: {shown}. Choose one that is there by --database, NEO4J_DATABASE or ?database=NAME in the address"
    if any(word in said for word in _FULL):
        do = "Stop it (`feature-graph db stop`), free some space, and only then start it (`db start --repair-log`)"
        return f"{uri}: the server could not write, most likely because its disk is full: {shown}. {do}, {_AGAIN}"
    if any(word in said for word in _STOPPED):
        after = "after a full disk: `db stop`, free some space, `db start --repair-log`"
        do = f"It is starting, or its log says why (`feature-graph db logs`); {after}"
        return f"{uri}: the database has stopped: {shown}. {do}, {_AGAIN}"
    if isinstance(error, DriverError):
        do = "Look whether the server runs (`feature-graph db status`, `db logs`)"
        return f"{uri}: the connection was lost: {shown}. {do}, {_AGAIN}"
    if isinstance(error, TransientError):
        return f"{uri}: the server is too busy: {shown}. Wait a little, {_AGAIN}"
    return f"{uri}: {shown}"


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0].rstrip(".") if text.strip() else "no reason given"
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
