"""The server's process: started so that it outlives the command, found again, ended in peace.

A process counts as the server of a home only if its own command line says so; a process id in a file proves nothing, since ids are reused.
"""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path

import psutil

from feature_graph.database.server.errors import ServerError
from feature_graph.database.server.homes import Home
from feature_graph.database.server.java import SERVER_CLASS, environment, java_executable
from feature_graph.utils import write_json

logger = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long a server may take to stop before it is killed; 13 s have been seen."""
# The shell ends at once and leaves the server in a session of its own, with no pipe and no child status of ours.
DETACH = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'


def _pid_file(home: Home) -> Path:
    return home.run / "server.json"


def _home_argument(home: Home) -> str:
    return f"--home-dir={home.root}"


def spawn(home: Home, arguments: Path) -> psutil.Process:
    """Start the server of ``home`` in the background.

    Raises:
        ServerError: The process was gone at once.
    """
    server = [str(java_executable()), f"@{arguments}", SERVER_CLASS, _home_argument(home), f"--config-dir={home.conf}"]
    console = home.logs / "console.log"
    console.unlink(missing_ok=True)
    shell = subprocess.run(
        ["/bin/sh", "-c", DETACH, "sh", str(console), *server],
        env=environment(home),
        cwd=home.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    try:
        process = psutil.Process(int(shell.stdout))
        write_json(_pid_file(home), {"pid": process.pid, "created": process.create_time(), "home": str(home.root)})
    except psutil.NoSuchProcess as error:
        raise ServerError(f"The server ended at once. See {console}.") from error
    return process


def find(home: Home) -> psutil.Process | None:
    """The running server of ``home``, if there is one: by its noted id, else by looking at every process of this machine."""
    noted = _noted(home)
    if noted is not None and belongs(noted, home):
        return noted
    return next((p for p in psutil.process_iter() if belongs(p, home)), None)


def _noted(home: Home) -> psutil.Process | None:
    try:
        return psutil.Process(int(json.loads(_pid_file(home).read_text(encoding="utf-8"))["pid"]))
    except (OSError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        return None  # no note, a damaged one, or a stale one: the search over all processes decides


def belongs(process: psutil.Process, home: Home) -> bool:
    """Whether ``process`` is alive and is a Neo4j server on exactly this home."""
    try:
        command = process.cmdline()
        return SERVER_CLASS in command and _home_argument(home) in command and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def listening(process: psutil.Process) -> set[int]:
    """The ports ``process`` listens on; none if it is gone."""
    try:
        return {c.laddr.port for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:
        return set()


def end(process: psutil.Process, seconds: float = STOP_SECONDS) -> bool:
    """Ask the process to stop, wait, and kill it only then; True if it stopped in peace."""
    try:
        process.terminate()
        process.wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        logger.warning(
            "The server (process %d) did not stop within %.0f s and is killed; the next start recovers its data.", process.pid, seconds
        )
        process.kill()
        process.wait(5)
        return False
    return True


def forget(home: Home) -> None:
    """Remove the note of the process id."""
    _pid_file(home).unlink(missing_ok=True)
