"""Waiting for a server that starts: until both its ports are its own and Bolt answers."""

from __future__ import annotations

import socket
import time

import psutil

from feature_graph.database.server import process
from feature_graph.database.server.bolt import answers
from feature_graph.database.server.errors import PortTaken, StartFailed
from feature_graph.database.server.homes import Home
from feature_graph.database.server.logs import failure_text
from feature_graph.database.server.ports import LOOPBACK
from feature_graph.database.server.settings import Settings
from feature_graph.utils import progress_bar

START_SECONDS = 300.0
"""How long a server may take to answer before the start is given up. 10 to 20 s are usual; an overloaded machine has taken 145 s."""


def is_ready(server: psutil.Process, settings: Settings) -> bool:
    """Whether this very process listens on both ports and answers.

    Raises:
        PortTaken: Another program listens on one of them.
    """
    open_ports = [port for port in (settings.bolt_port, settings.http_port) if _accepts(port)]
    ours = process.listening(server) if open_ports else set()
    for port in open_ports:
        if port not in ours:
            raise PortTaken(f"Another program took port {port} of {LOOPBACK} before the server did.")
    return len(open_ports) == 2 and answers(settings.bolt_uri)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
    except OSError:
        return False
    return True


def wait_until_ready(home: Home, server: psutil.Process, settings: Settings, timeout: float, logged: int = 0) -> None:
    """Wait with a progress bar that knows how long the last start took.

    Args:
        home: The home the process was started on.
        server: The process.
        settings: Its ports.
        timeout: Seconds to wait at most.
        logged: Bytes of ``neo4j.log`` that are older than this start.

    Raises:
        StartFailed: The process ended, or gave no answer in time.
        PortTaken: Another program listens on one of its ports.
    """
    if is_ready(server, settings):
        return
    began = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("Starting Neo4j (s)", total=round(settings.start_seconds))
        while not is_ready(server, settings):
            waited = time.monotonic() - began
            if not process.belongs(server, home):
                raise StartFailed(f"The server ended while starting.\n{failure_text(home, logged)}")
            if waited > timeout:
                raise StartFailed(f"The server (process {server.pid}) gave no answer within {timeout:.0f} s.\n{failure_text(home, logged)}")
            bar.update(task, completed=min(round(waited), round(settings.start_seconds)))
            time.sleep(0.1)
        bar.update(task, completed=round(settings.start_seconds))
