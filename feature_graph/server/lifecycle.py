"""Start, stop, status and reset of the server of one home."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock, Timeout

from feature_graph.server import process
from feature_graph.server.bolt import Connection, answers, connection_from_environment, driver
from feature_graph.server.errors import HomeError, NotRunning, ServerError, StartFailed
from feature_graph.server.homes import Home, erase_home, find_home, prepare_home, unusable
from feature_graph.server.jars import JarFolder, ensure_jars
from feature_graph.server.java import run_admin, write_arguments
from feature_graph.server.password import USERNAME, ensure_password, read_password
from feature_graph.server.ports import LOOPBACK
from feature_graph.server.settings import Settings, choose, load_settings, save_settings, write_conf
from feature_graph.utils import progress_bar

logger = logging.getLogger(__name__)

START_SECONDS = 300.0
"""How long a server may take to answer before the start is given up. 10 to 20 s are usual; an overloaded machine has taken 145 s."""
LOG_TAIL = 15

HomeLike = Home | str | os.PathLike[str] | None


@dataclass(frozen=True)
class RunningServer:
    """A server that answers."""

    home: Home
    pid: int
    bolt_uri: str
    http_url: str
    password_file: Path
    username: str = USERNAME
    already_running: bool = False
    """It was running before this call."""

    @property
    def browser_url(self) -> str:
        """Neo4j Browser, with the address to connect to filled in."""
        return f"{self.http_url}/browser/?connectURL={self.bolt_uri}"

    def connection(self) -> Connection:
        """How drivers reach it."""
        return Connection(self.bolt_uri, self.username, read_password(self.home), f"embedded, {self.home.root}")


@dataclass(frozen=True)
class Status:
    """What is known of one home."""

    home: Home
    state: Literal["absent", "stopped", "starting", "running"]
    """absent: no database yet; starting: the process is there and does not answer (yet)."""
    server: RunningServer | None
    store_bytes: int
    memory_bytes: int


def _home(home: HomeLike) -> Home:
    return home if isinstance(home, Home) else find_home(home)


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Only one command at a time starts, stops or erases the server of a home."""
    lock = FileLock(home.lock)
    try:
        lock.acquire(timeout=START_SECONDS + process.STOP_SECONDS)
    except Timeout as error:
        raise HomeError(
            f"Another command has been starting or stopping the server of {home.root} for minutes. Try again when it is done."
        ) from error
    except OSError as error:
        raise unusable(home, error) from error
    try:
        yield
    finally:
        lock.release()


def start(
    home: HomeLike = None,
    *,
    heap: str | None = None,
    page_cache: str | None = None,
    bolt_port: int | None = None,
    http_port: int | None = None,
    quick: bool = False,
    timeout: float = START_SECONDS,
) -> RunningServer:
    """Start the server of ``home``, or find it running; returns when it answers and lets us in.

    Args:
        home: The home; by default the one :func:`find_home` finds. Created if absent.
        heap: Java heap such as ``1g``; remembered.
        page_cache: Memory for the store such as ``256m``; remembered.
        bolt_port: Port to try first; remembered. A taken port gives way to the next free one.
        http_port: Likewise, for Neo4j Browser.
        quick: For a server that lives minutes, as in a test: starts with a third less work, long queries are slower. Not remembered.
        timeout: Seconds to wait for the first answer.

    Raises:
        ServerError: One of its kinds, with what to do.
    """
    home = _home(home)
    if process.find(home) is None:
        prepare_home(home)
    with _locked(home):
        found = process.find(home)
        if found is not None:
            return _join(home, found, timeout)
        jars = ensure_jars()
        remembered = load_settings(home)
        settings = choose(remembered, heap, page_cache, bolt_port, http_port)
        _say_moved(remembered, settings)
        try:
            return _start(home, jars, settings, quick, timeout)
        except OSError as error:
            raise unusable(home, error) from error


def _join(home: Home, server: psutil.Process, timeout: float) -> RunningServer:
    """The server that runs already, once it answers: the command that started it may have been killed."""
    settings = load_settings(home)
    _wait(home, server, settings, timeout)
    return replace(_describe(home, server, settings), already_running=True)


def _say_moved(before: Settings, now: Settings) -> None:
    for name in ("bolt_port", "http_port"):
        if getattr(before, name) != getattr(now, name):
            logger.info("Port %d is taken; using %d", getattr(before, name), getattr(now, name))


def _start(home: Home, jars: JarFolder, settings: Settings, quick: bool, timeout: float) -> RunningServer:
    shutil.rmtree(home.run / "tmp", ignore_errors=True)
    write_conf(home, settings, jars.plugins)
    ensure_password(home, jars)
    save_settings(home, settings)  # now, so that a server whose starter was killed is found again
    began = time.monotonic()
    server = process.spawn(home, write_arguments(home, jars, settings.heap, quick=quick))
    try:
        _wait(home, server, settings, timeout)
        running = _describe(home, server, settings)
        with driver(running.connection()):
            pass
    except BaseException:
        process.end(server)
        process.forget(home)
        raise
    save_settings(home, replace(settings, start_seconds=round(time.monotonic() - began, 1)))
    return running


def _wait(home: Home, server: psutil.Process, settings: Settings, timeout: float) -> None:
    """Wait for Bolt and HTTP, with a progress bar that knows how long the last start took."""
    began = time.monotonic()
    if _ready(settings):
        return
    with progress_bar() as bar:
        task = bar.add_task("Starting Neo4j (s)", total=round(settings.start_seconds))
        while not _ready(settings):
            waited = time.monotonic() - began
            if not process.belongs(server, home):
                raise StartFailed(f"The server ended while starting.\n{failure_text(home)}")
            if waited > timeout:
                raise StartFailed(f"The server (process {server.pid}) gave no answer within {timeout:.0f} s.\n{failure_text(home)}")
            bar.update(task, completed=min(round(waited), round(settings.start_seconds)))
            time.sleep(0.1)
        bar.update(task, completed=round(settings.start_seconds))


def _ready(settings: Settings) -> bool:
    return answers(settings.bolt_uri) and _listens(settings.http_port)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
    except OSError:
        return False
    return True


def failure_text(home: Home) -> str:
    """The end of the server's logs, and where the rest is."""
    tails = [tail(home.logs / name) for name in ("neo4j.log", "console.log")]
    return "\n".join(part for part in (*tails, f"Logs: {home.logs}") if part)


def tail(path: Path, lines: int = LOG_TAIL) -> str:
    """The last lines of a log file, or nothing if it is absent."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1000 * lines))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _describe(home: Home, server: psutil.Process, settings: Settings) -> RunningServer:
    return RunningServer(home, server.pid, settings.bolt_uri, settings.http_url, home.password_file)


def _running(home: Home) -> RunningServer | None:
    server = process.find(home)
    return None if server is None else _describe(home, server, load_settings(home))


def stop(home: HomeLike = None) -> bool:
    """Stop the server of ``home``; False if none was running."""
    home = _home(home)
    if not home.marker.exists():
        return False
    with _locked(home):
        return _stop(home)


def _stop(home: Home) -> bool:
    server = process.find(home)
    if server is not None:
        process.end(server)
    process.forget(home)
    return server is not None


def status(home: HomeLike = None) -> Status:
    """What is known of ``home``; changes nothing."""
    home = _home(home)
    running = _running(home)
    if running is None:
        there = home.marker.exists() and home.has_database
        return Status(home, "stopped" if there else "absent", None, _folder_bytes(home.data) if there else 0, 0)
    state: Literal["starting", "running"] = "running" if answers(running.bolt_uri) else "starting"
    return Status(home, state, running, _folder_bytes(home.data), _memory_bytes(running.pid))


def _memory_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:  # ended since we looked
        return 0


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a running server removes files while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


def connection(home: HomeLike = None, *, use_environment: bool = True) -> Connection:
    """How to reach the database that is meant.

    A home given by name wins; then the user's own server (``NEO4J_URI``, ``NEO4J_USERNAME``, ``NEO4J_PASSWORD``); then the embedded server
    of the home that :func:`find_home` finds, which must be running.

    Args:
        home: A home, or None.
        use_environment: False leaves ``NEO4J_*`` unread.

    Raises:
        NotRunning: The home has no running server.
    """
    own = connection_from_environment() if home is None and use_environment else None
    if own is not None:
        return own
    home = _home(home)
    running = _running(home)
    if running is None:
        raise NotRunning(f"No server is running on {home.root} ({home.origin}). Start it: feature-graph db start --home {home.root}")
    return running.connection()


def reset(home: HomeLike = None) -> None:
    """Stop the server of ``home`` and remove its database, password, settings and logs."""
    home = _home(home)
    if not home.root.exists():
        return
    if not home.marker.exists():
        erase_home(home)  # says that it is not ours
    with _locked(home):
        _stop(home)
        erase_home(home)


def admin(home: HomeLike, *arguments: str, heap: str = "1g") -> str:
    """Run ``neo4j-admin ARGUMENTS`` (dump, load, import …) on a home whose server is stopped, and give what it printed.

    Raises:
        ServerError: The server is running, or the tool failed.
    """
    home = _home(home)
    prepare_home(home)
    with _locked(home):
        if process.find(home) is not None:
            raise ServerError(f"The server of {home.root} is running; stop it first: feature-graph db stop --home {home.root}")
        jars = ensure_jars()
        write_conf(home, load_settings(home), jars.plugins)
        return run_admin(home, jars, *arguments, heap=heap)
