"""One process per run directory."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from feature_graph.pipeline.errors import RunLocked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``; the system lets it go when the process ends, however it ends.

    Raises:
        RunLocked: If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLocked(f"{path.parent} is in use by {holder(path)}; wait for it to end, or choose another --output-dir") from error
    try:
        path.write_text(json.dumps(_myself()), encoding="utf-8")
        yield
    finally:
        path.write_text("", encoding="utf-8")
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock at this moment."""
    if not path.exists():
        return False
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def holder(path: Path) -> str:
    """Who holds the lock, in words, as that process wrote it down."""
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _myself() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
    }
