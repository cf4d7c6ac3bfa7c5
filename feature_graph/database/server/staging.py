"""A second store next to a home's own, made whole and checked before it takes the place of the old one.

1. The home's lock is held from the first step to the last, so that nobody starts its server in between; its server is stopped.
2. A home of its own is made in ``<home>/staging`` with the users and the password of the first, and an empty database.
3. The caller fills it, starts it, checks it, stops it.
4. Two renames put it in place: ``data`` becomes ``data.before``, ``staging/data`` becomes ``data``. Whoever is killed between the two finds
   ``data.before`` put back by the next start. The old store is removed last.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_graph.database.server import process
from feature_graph.database.server.errors import HomeError
from feature_graph.database.server.homes import Home, before_swap, prepare_home, staging_folder
from feature_graph.database.server.leftovers import clear_staging
from feature_graph.database.server.lifecycle import admin_locked, locked, start_locked, stop_locked
from feature_graph.database.server.ports import any_port
from feature_graph.database.server.running import HomeLike, RunningServer, as_home
from feature_graph.database.server.settings import choose, load_settings

logger = logging.getLogger(__name__)

DATABASE = "neo4j"
#: What the staged home takes over: the users and the name of the server.
_SHARED = ("dbms", "server_id", "databases/system", "transactions/system")


@dataclass(frozen=True)
class Staging:
    """A store in the making.

    Attributes:
        home: The home that it is for; its server is stopped and its lock held.
        stage: The home that it is made in.
        was_running: Whether the home's server was running before.
    """

    home: Home
    stage: Home
    was_running: bool

    def admin(self, *arguments: str, heap: str = "1g", quick: bool = False, watch: Callable[[str], None] | None = None) -> str:
        """Run ``neo4j-admin ARGUMENTS`` on the staged home; its server must be stopped. ``quick``: for work of seconds."""
        return admin_locked(self.stage, *arguments, heap=heap, quick=quick, watch=watch)

    def start(self, heap: str | None = None, page_cache: str | None = None, *, quick: bool = False) -> RunningServer:
        """Start a server on the staged store, on ports that nobody knows; ``quick`` as of :func:`feature_graph.database.server.start`."""
        settings = choose(load_settings(self.home), heap, page_cache, any_port(), any_port())
        return start_locked(self.stage, settings, quick=quick)

    def stop(self) -> None:
        """Stop that server."""
        stop_locked(self.stage)

    def swap(self) -> None:
        """Put the staged store in the place of the home's own, which stays in ``data.before`` until :meth:`forget_old`.

        Raises:
            HomeError: A server runs on one of the two, or a folder cannot be renamed; the old store is in its place.
        """
        for home in (self.home, self.stage):
            if process.find(home) is not None:
                raise HomeError(f"A server is running on {home.root}: {self.home.root} keeps its old store. Stop it and try again.")
        shutil.rmtree(before_swap(self.home), ignore_errors=True)  # of a swap that was done and whose end was cut off
        try:
            shutil.copy2(self.stage.password_file, self.home.password_file)
            self.home.data.rename(before_swap(self.home))
            try:
                self.stage.data.rename(self.home.data)
            except OSError:
                before_swap(self.home).rename(self.home.data)
                raise
        except OSError as error:
            raise HomeError(f"{self.home.root} keeps its old store: {error}") from error

    def restart(self) -> RunningServer:
        """Start the home's own server."""
        return start_locked(self.home, load_settings(self.home))

    def restore_clean(self) -> None:
        """After a swap: the old store again; the new one is removed."""
        stop_locked(self.home)
        shutil.rmtree(self.home.data)
        before_swap(self.home).rename(self.home.data)

    def forget_old(self) -> None:
        """Remove the old store."""
        shutil.rmtree(before_swap(self.home), ignore_errors=True)


@contextmanager
def staging(home: HomeLike = None, check: Callable[[RunningServer], None] | None = None) -> Iterator[Staging]:
    """Stop the server of ``home`` and give a :class:`Staging`; the server is started again afterwards, if it was running.

    Whatever happens, the staged home is removed in the end; the home has its old store, or, after a swap, the new one.

    Args:
        home: The home.
        check: Called with the running server before it is stopped, while nobody else can start, stop or replace it; may refuse by raising.

    Raises:
        HomeError: The home cannot be used.
    """
    home = as_home(home)
    prepare_home(home)
    with locked(home):
        was_running = process.find(home) is not None
        if check is not None:
            _checked(home, check, was_running)
        stop_locked(home)
        refuse_in_use(home)
        stage = Home(staging_folder(home), "staging")
        try:
            clear_staging(home)
            _make(home, stage)
            yield Staging(home, stage, was_running)
        finally:
            stop_locked(stage)
            clear_staging(home)
            if was_running:
                start_locked(home, load_settings(home))


def _checked(home: Home, check: Callable[[RunningServer], None], was_running: bool) -> None:
    """Run the check; a server that was started for it is stopped if it refuses, and by the caller if it does not."""
    running = start_locked(home, load_settings(home), quick=True)
    try:
        check(running)
    except BaseException:
        if not was_running:
            stop_locked(home)
        raise


def refuse_in_use(home: Home) -> None:
    """Refuse a stopped home whose store a server holds that is not ours to stop: in a container, or on another machine.

    Raises:
        HomeError: If there is one.
    """
    lock = home.data / "databases" / "store_lock"
    if not lock.exists():
        return
    with lock.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HomeError(
                f"The store in {home.data} is in use by a server in a container or on another machine. Stop it there."
            ) from error


def _make(home: Home, stage: Home) -> None:
    """The staged home, with the users of the first where it has any."""
    prepare_home(stage)
    if not home.has_database:
        return
    for name in _SHARED:
        source, target = home.data / name, stage.data / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.is_file():
            shutil.copy2(source, target)
    shutil.copy2(home.password_file, stage.password_file)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
