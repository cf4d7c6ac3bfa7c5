"""Database homes: one folder holds one database, its settings, its password and its logs.

Which home is meant, in this order: the one given, ``$FEATURE_GRAPH_HOME``, the nearest ``.feature-graph`` in this folder or one above it,
the user's data directory.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from feature_graph.database.server.errors import HomeError
from feature_graph.utils import write_json

HOME_ENV = "FEATURE_GRAPH_HOME"
FOLDER = ".feature-graph"
MARKER = "feature-graph-home.json"
LOCK = ".lock"
# A new store of two databases takes 20 MB with the settings of `settings`; the rest is room to work in.
FREE_BYTES = 300 * 2**20


@dataclass(frozen=True)
class Home:
    """Where everything of one database lies."""

    root: Path
    """The folder itself, absolute."""
    origin: str = "given"
    """Why this folder was chosen, for people."""

    @property
    def marker(self) -> Path:
        """Says that the folder is ours; without it no file in the folder is ever written or removed."""
        return self.root / MARKER

    @property
    def conf(self) -> Path:
        """Folder of ``neo4j.conf``, written anew at every start."""
        return self.root / "conf"

    @property
    def data(self) -> Path:
        """The store, its transaction logs and the users."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """``neo4j.log`` (what happened), ``debug.log``, ``console.log`` (what the process printed)."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What belongs to the running process: its id, its arguments, its temporary files."""
        return self.root / "run"

    @property
    def password_file(self) -> Path:
        """The password of user ``neo4j``, mode 0600."""
        return self.root / "password"

    @property
    def settings_file(self) -> Path:
        """Ports and memory of this home, remembered between starts."""
        return self.root / "settings.json"

    @property
    def option(self) -> str:
        """``--home FOLDER`` as it is typed in a shell; for messages that say what to do."""
        return f"--home {shlex.quote(str(self.root))}"

    @property
    def lock(self) -> Path:
        """Held by the command that starts, stops or erases."""
        return self.root / LOCK

    @property
    def has_database(self) -> bool:
        """Whether a server was started here before."""
        return (self.data / "databases" / "system").exists()


def find_home(given: str | os.PathLike[str] | None = None, *, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Home:
    """The home that is meant; nothing is created."""
    environ = os.environ if environ is None else environ
    if given is not None:
        return Home(_absolute(given), "given")
    if environ.get(HOME_ENV):
        return Home(_absolute(environ[HOME_ENV]), f"${HOME_ENV}")
    start = (cwd or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / FOLDER).is_dir():
            return Home(folder / FOLDER, f"nearest {FOLDER}")
    return Home(Path(platformdirs.user_data_dir("feature-graph")).resolve(), "user's data directory")


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).expanduser().resolve()


def staging_folder(home: Home) -> Path:
    """Where a new store of this home is made (see :mod:`feature_graph.database.server.staging`)."""
    return home.root / "staging"


def before_swap(home: Home) -> Path:
    """The store that a new one took the place of; removed when that is done."""
    return home.root / "data.before"


def _put_back(home: Home) -> None:
    """Undo half a swap: who swapped was killed between its two renames."""
    if home.marker.exists() and before_swap(home).is_dir() and not home.data.exists():
        before_swap(home).rename(home.data)


def prepare_home(home: Home) -> None:
    """Create the home's folders, after checking that the folder may be used.

    Raises:
        HomeError: The folder holds files of someone else, cannot be written, or its disk is full.
    """
    if "\n" in str(home.root):
        raise HomeError(f"The database home {str(home.root)!r} has a line break in its name. Choose another folder with --home.")
    _refuse_foreign(home)
    try:
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _put_back(home)
        for folder in (home.conf, home.data, home.logs, home.run, home.root / "import"):
            folder.mkdir(exist_ok=True, mode=0o700)
        if not home.marker.exists():
            write_json(home.marker, {"kind": "feature-graph-home", "version": 1})
    except OSError as error:
        raise unusable(home, error) from error
    free = shutil.disk_usage(home.root).free
    if free < FREE_BYTES:
        raise HomeError(
            f"Only {free / 2**20:.0f} MB are free on the disk of {home.root}; a database needs at least {FREE_BYTES / 2**20:.0f} MB. "
            "Free some space, or choose a folder on another disk with --home."
        )


def _refuse_foreign(home: Home) -> None:
    if home.root.exists() and not home.root.is_dir():
        raise HomeError(f"The database home {home.root} is a file; expected a folder. Choose another one with --home.")
    try:
        foreign = home.root.is_dir() and not home.marker.exists() and any(p.name != LOCK for p in home.root.iterdir())
    except OSError as error:
        raise unusable(home, error) from error
    if foreign:
        raise HomeError(
            f"{home.root} is not empty and is no database home (it has no {MARKER}). "
            "Nothing was written. Choose an empty or a new folder with --home."
        )


def unusable(home: Home, error: OSError) -> HomeError:
    """The error that says in plain words why the home cannot be used."""
    reasons = {
        errno.EROFS: "its disk is mounted read-only",
        errno.EACCES: "you may not write there",
        errno.EPERM: "you may not write there",
        errno.ENOSPC: "its disk is full",
        errno.EDQUOT: "your disk quota is used up",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return HomeError(f"The database home {home.root} cannot be used: {reason}. Choose another folder with --home or ${HOME_ENV}.")


def erase_home(home: Home) -> None:
    """Remove the database, its password, settings and logs; a folder that is no database home is refused.

    The empty folder stays, so that the next start finds the same home.

    Raises:
        HomeError: The folder is not ours, or a file cannot be removed.
    """
    if not home.root.exists():
        return
    if not home.marker.exists():
        raise HomeError(f"{home.root} is no database home (it has no {MARKER}); nothing was removed.")
    try:
        for folder in (home.data, before_swap(home), staging_folder(home), home.logs, home.run, home.conf, home.root / "import"):
            if folder.exists():
                shutil.rmtree(folder)
        for file in (home.password_file, home.settings_file, home.marker, home.lock):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(home, error) from error
