"""Start, stop and erase the server of one home, and run Neo4j's admin tool on it."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from feature_graph.database.connection import Connection
from feature_graph.database.server import process
from feature_graph.database.server.bolt import driver
from feature_graph.database.server.errors import HomeError, PortTaken, ServerError
from feature_graph.database.server.homes import Home, erase_home, prepare_home, unusable
from feature_graph.database.server.jars import JarFolder, ensure_jars
from feature_graph.database.server.java import run_admin, write_arguments
from feature_graph.database.server.leftovers import clear_staging
from feature_graph.database.server.logs import log_size
from feature_graph.database.server.password import ensure_password
from feature_graph.database.server.running import HomeLike, RunningServer, as_home, describe
from feature_graph.database.server.settings import Settings, choose, load_settings, on_any_ports, on_free_ports, save_settings, write_conf
from feature_graph.database.server.waiting import START_SECONDS, wait_until_ready

logger = logging.getLogger(__name__)

PORT_TRIES = 3
"""How often a start begins again because another program took its port while it was starting."""


@contextmanager
def locked(home: Home) -> Iterator[None]:
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
    repair_log: bool = False,
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
        repair_log: Cut off the end of the transaction log where it cannot be read. After a full disk Neo4j does not open a database
            otherwise; what was committed before the unreadable end is kept.
        timeout: Seconds to wait for the first answer.

    Raises:
        ServerError: One of its kinds, with what to do.
    """
    home = as_home(home)
    if process.find(home) is None:
        prepare_home(home)
    with locked(home):
        wanted = replace(choose(load_settings(home), heap, page_cache, bolt_port, http_port), repair_log=repair_log)
        return start_locked(home, wanted, quick=quick, timeout=timeout)


def start_locked(home: Home, wanted: Settings, *, quick: bool = False, timeout: float = START_SECONDS) -> RunningServer:
    """Start the server of a prepared home while the caller holds its lock, or find it running."""
    found = process.find(home)
    if found is not None:
        return _join(home, found, timeout)
    clear_staging(home)
    jars = ensure_jars()
    try:
        return _start_on_free_ports(home, jars, wanted, quick, timeout)
    except OSError as error:
        raise unusable(home, error) from error


def _join(home: Home, server: psutil.Process, timeout: float) -> RunningServer:
    """The server that runs already, once it answers: the command that started it may have been killed."""
    settings = load_settings(home)
    wait_until_ready(home, server, settings, timeout)
    return replace(describe(home, server, settings), already_running=True)


def _start_on_free_ports(home: Home, jars: JarFolder, wanted: Settings, quick: bool, timeout: float) -> RunningServer:
    """Start on the wanted ports, or free ones near them; once more if one of them is taken by somebody before the server has it.

    Servers that start at the same time all find the same port free: the last try is on ports that nobody asks for.
    """
    for _ in range(PORT_TRIES - 1):
        try:
            return _start(home, jars, on_free_ports(wanted), quick, timeout)
        except PortTaken as error:
            logger.info("%s Starting again.", error)
    return _start(home, jars, on_any_ports(wanted), quick, timeout)


def _start(home: Home, jars: JarFolder, settings: Settings, quick: bool, timeout: float) -> RunningServer:
    shutil.rmtree(home.run / "tmp", ignore_errors=True)
    write_conf(home, settings, jars.plugins)
    ensure_password(home, jars)
    save_settings(home, settings)  # now, so that a server whose starter was killed is found again
    began, logged = time.monotonic(), log_size(home.logs / "neo4j.log")
    server = process.spawn(home, write_arguments(home, jars, settings.heap, quick=quick))
    try:
        wait_until_ready(home, server, settings, timeout, logged)
        running = describe(home, server, settings)
        with driver(running.connection()):
            pass
    except BaseException:
        process.end(server)
        process.forget(home)
        raise
    save_settings(home, replace(settings, start_seconds=round(time.monotonic() - began, 1)))
    return running


def stop(home: HomeLike = None) -> bool:
    """Stop the server of ``home``; False if none was running."""
    home = as_home(home)
    if not home.marker.exists():
        return False
    with locked(home):
        return stop_locked(home)


@contextmanager
def disposable(folder: Path, heap: str = "768m", page_cache: str = "128m") -> Iterator[Connection]:
    """A server of its own for the length of the block, in ``folder`` (which the caller removes)."""
    home = folder / "home"
    try:
        yield start(home, heap=heap, page_cache=page_cache, quick=True).connection()
    finally:
        stop(home)


def stop_locked(home: Home) -> bool:
    """Stop the server while the caller holds the home's lock; False if none was running."""
    server = process.find(home)
    if server is not None:
        process.end(server)
    process.forget(home)
    return server is not None


def reset(home: HomeLike = None) -> None:
    """Stop the server of ``home`` and remove its database, password, settings and logs."""
    home = as_home(home)
    if not home.root.exists():
        return
    if not home.marker.exists():
        erase_home(home)  # says that it is not ours
    with locked(home):
        stop_locked(home)
        erase_home(home)


def admin(home: HomeLike, *arguments: str, heap: str = "1g") -> str:
    """Run ``neo4j-admin ARGUMENTS`` (dump, load, import …) on a home whose server is stopped, and give what it printed.

    Raises:
        ServerError: The server is running, or the tool failed.
    """
    home = as_home(home)
    prepare_home(home)
    with locked(home):
        return admin_locked(home, *arguments, heap=heap)


def admin_locked(home: Home, *arguments: str, heap: str = "1g", quick: bool = False, watch: Callable[[str], None] | None = None) -> str:
    """The same while the caller holds the home's lock; ``watch`` is called with each line as it is printed.

    ``quick`` leaves out the optimising compiler, which costs work of seconds more than it saves.
    """
    if process.find(home) is not None:
        raise ServerError(f"The server of {home.root} is running; stop it first: feature-graph db stop {home.option}")
    jars = ensure_jars()
    write_conf(home, load_settings(home), jars.plugins)
    return run_admin(home, jars, *arguments, heap=heap, quick=quick, watch=watch)
