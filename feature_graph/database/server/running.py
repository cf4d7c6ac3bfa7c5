"""What runs on a home, and how to reach it; nothing here changes anything."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from feature_graph.database.connection import Connection
from feature_graph.database.server import process
from feature_graph.database.server.bolt import answers, connection_from_environment
from feature_graph.database.server.errors import NotRunning
from feature_graph.database.server.homes import Home, find_home
from feature_graph.database.server.password import USERNAME, read_password
from feature_graph.database.server.ports import LOOPBACK
from feature_graph.database.server.settings import Settings, load_settings
from ingest.environment import read_environment

#: The one database that Neo4j Community has for its user.
DATABASE = "neo4j"

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
        """Neo4j Browser, with the address to connect to and the user filled in."""
        return f"{self.http_url}/browser/?connectURL={self.bolt_uri.replace('//', f'//{self.username}@')}"

    @property
    def browser_origins(self) -> frozenset[str]:
        """Origins of Neo4j Browser, by either name of this machine."""
        return frozenset({self.http_url, self.http_url.replace(LOOPBACK, "localhost")})

    def connection(self) -> Connection:
        """How drivers reach it."""
        return Connection(self.bolt_uri, self.username, read_password(self.home), f"embedded, {self.home.root}", DATABASE)


@dataclass(frozen=True)
class Status:
    """What is known of one home."""

    home: Home
    state: Literal["absent", "stopped", "starting", "running"]
    """absent: no database yet; starting: the process is there and does not answer (yet)."""
    server: RunningServer | None
    store_bytes: int
    memory_bytes: int


def as_home(home: HomeLike) -> Home:
    """The home that is meant: as it is, by its folder, or None for the one of :func:`find_home`."""
    return home if isinstance(home, Home) else find_home(home)


def describe(home: Home, server: psutil.Process, settings: Settings) -> RunningServer:
    """The server of ``home`` as its callers see it."""
    return RunningServer(home, server.pid, settings.bolt_uri, settings.http_url, home.password_file)


def _running(home: Home) -> RunningServer | None:
    server = process.find(home)
    return None if server is None else describe(home, server, load_settings(home))


def status(home: HomeLike = None) -> Status:
    """What is known of ``home``; changes nothing."""
    home = as_home(home)
    server = process.find(home)
    if server is None:
        there = home.marker.exists() and home.has_database
        return Status(home, "stopped" if there else "absent", None, _folder_bytes(home.data) if there else 0, 0)
    settings = load_settings(home)
    answering = settings.bolt_port in process.listening(server) and answers(settings.bolt_uri)
    state: Literal["starting", "running"] = "running" if answering else "starting"
    return Status(home, state, describe(home, server, settings), _folder_bytes(home.data), _memory_bytes(server.pid))


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
    of the home that :func:`find_home` finds, which must be running. Without a home ``NEO4J_DATABASE`` names the database.

    Args:
        home: A home, or None.
        use_environment: False leaves ``NEO4J_URI``, its user and its password unread.

    Raises:
        NotRunning: The home has no running server.
    """
    own = connection_from_environment() if home is None and use_environment else None
    if own is not None:
        return own
    named = read_environment().database if home is None else None  # a home given by name has nothing to do with the environment's server
    home = as_home(home)
    running = _running(home)
    if running is None:
        raise NotRunning(f"No server is running on {home.root} ({home.origin}). Start it: feature-graph db start {home.option}")
    return replace(running.connection(), database=named or DATABASE)
