"""The end of a home's logs, for messages and for ``db logs``."""

from __future__ import annotations

from pathlib import Path

from feature_graph.database.server.homes import Home

LOG_TAIL = 15


def failure_text(home: Home, since: int = 0) -> str:
    """The end of the server's logs, and where the rest is; of ``neo4j.log`` only what stands beyond byte ``since``."""
    tails = [tail(home.logs / "neo4j.log", since=since), tail(home.logs / "console.log")]
    return "\n".join(part for part in (*tails, f"Logs: {home.logs}") if part)


def tail(path: Path, lines: int = LOG_TAIL, since: int = 0) -> str:
    """The last lines of a log file, beyond byte ``since`` of it; nothing if it is absent."""
    size = log_size(path)
    if size == 0:
        return ""
    with path.open("rb") as file:
        file.seek(max(since if since <= size else 0, size - 1000 * lines))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def log_size(path: Path) -> int:
    """Bytes of a log file; 0 if it is absent."""
    return path.stat().st_size if path.exists() else 0
