"""A database as one file, with a note next to it about what it holds; and back into a database.

The note ``FILE.json`` carries checksum, size, versions, schema and runs. A dump holds the graph only: no users, no password, no settings.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feature_graph.database import server
from feature_graph.database.offline.errors import DumpError
from feature_graph.database.offline.stores import Contents, RunNote, contents, other_content, put_in_place
from feature_graph.database.server import Home, process
from feature_graph.database.server.lifecycle import admin_locked, locked, start_locked, stop_locked
from feature_graph.database.server.running import HomeLike, as_home
from feature_graph.database.server.settings import load_settings
from feature_graph.database.server.staging import DATABASE, Staging, folder_bytes, refuse_in_use, staging
from feature_graph.utils import write_json
from ingest.migrations import migrations
from ingest.rundir import sha256_file

logger = logging.getLogger(__name__)

KIND, VERSION = "feature-graph-dump", 1
#: Size of a store, or of a dump, below which the tools run for seconds and Java's optimising compiler is left out.
_QUICK_BYTES = 64 * 2**20
_BACKUP = re.compile(r"neo4j-\d{8}-\d{6}\.dump")


@dataclass(frozen=True)
class DumpNote:
    """What a dump holds.

    Attributes:
        sha256: Of the dump.
        bytes: Size of the dump.
        store_bytes: Size of the store that it was made of, and will be again.
        created: Time in UTC, ISO 8601.
        home: Folder of the home that it was made of.
        feature_graph: Version of the program.
        contents: Counts, runs, versions of schema and server.
    """

    sha256: str
    bytes: int
    store_bytes: int
    created: str
    home: str
    feature_graph: str
    contents: Contents


def note_path(file: Path) -> Path:
    """The note beside a dump."""
    return file.with_name(file.name + ".json")


def read_note(file: Path) -> DumpNote | None:
    """The note of a dump; None if there is none.

    Raises:
        DumpError: If it is not one of ours, or of a newer version.
    """
    path = note_path(file)
    if not path.exists():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (value.pop("kind"), value.pop("version")) != (KIND, VERSION):
            raise ValueError(f"expected kind {KIND}, version {VERSION}")
        held = value.pop("contents")
        runs = tuple(RunNote(**run) for run in held.pop("runs"))
        return DumpNote(contents=Contents(runs=runs, **held), **value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"{path}: not the note of a dump ({error}). Without it the dump is loaded unchecked: move it away") from error


def dump(home: HomeLike, file: str | Path, *, check: bool = True) -> DumpNote:
    """Write the database into one file. The server is stopped meanwhile and started again afterwards, if it was running.

    Args:
        home: The home.
        file: The file; it must not exist. Its note is written next to it.
        check: Let Neo4j's own tool check the store first.

    Raises:
        DumpError: If the file exists, its folder does not, the disk is too small, or the home has no database. Nothing was written.
        ServerError: If Neo4j cannot write it; nothing is left half-written.
    """
    home, file = as_home(home), Path(file).expanduser().absolute()
    size = _check_target(home, file)
    quick = size < _QUICK_BYTES
    part = file.with_name(f".{file.name}.part")
    with locked(home):
        was_running = process.find(home) is not None
        held = contents(start_locked(home, load_settings(home), quick=True).connection())
        stop_locked(home)
        refuse_in_use(home)
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            if check:
                admin_locked(home, "database", "check", DATABASE, f"--report-path={home.logs}", "--max-off-heap-memory=50%", quick=quick)
            admin_locked(home, "database", "dump", DATABASE, f"--to-path={part}", quick=quick)
            whole = part / f"{DATABASE}.dump"
            note = DumpNote(sha256_file(whole), whole.stat().st_size, size, _now(), str(home.root), version("feature-graph"), held)
            write_json(note_path(file), {"kind": KIND, "version": VERSION, **asdict(note)})
            whole.rename(file)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if was_running:
                start_locked(home, load_settings(home))
    logger.info("%s: %d runs, %.1f MB", file, len(held.runs), note.bytes / 2**20)
    return note


def _check_target(home: Home, file: Path) -> int:
    """Refuse what cannot work before the server is stopped; gives the size of the store."""
    if not (home.marker.exists() and home.has_database):
        raise DumpError(f"There is no database in {home.root} ({home.origin}): nothing to dump.")
    if file.exists():
        raise DumpError(f"{file} exists. A dump never replaces a file: choose another name, or remove it.")
    if not file.parent.is_dir():
        raise DumpError(f"{file.parent} is not a folder: make it first, or choose another place.")
    size = folder_bytes(home.data / "databases" / DATABASE)
    free = shutil.disk_usage(file.parent).free
    if free < size:
        raise DumpError(f"{free / 2**20:.0f} MB are free in {file.parent}; a dump takes up to {size / 2**20:.0f} MB. Free some space.")
    return size


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def load(home: HomeLike, file: str | Path, *, overwrite: bool = False) -> Contents:
    """Load a dump into a home. It is loaded into a store next to the old one, started, compared with its note, and only then put in place.

    Args:
        home: The home; made if absent. A server that runs is stopped, and started again on what was loaded.
        file: The dump.
        overwrite: Allow it where the database holds something, which is then gone.

    Raises:
        DumpError: If the file is no dump, was altered, needs a newer program, does not fit on the disk, or the database is not empty.
        SchemaMismatch: If the database in it was made by a newer or an altered program.
    """
    home, file = as_home(home), Path(file).expanduser().absolute()
    note = _checked_note(file)
    _check_space(home, file, note)
    with staging(home, None if overwrite or not home.has_database else _refuse_filled) as staged:
        held = _load(staged, file, note)
        put_in_place(staged, held)
    return held


def _refuse_filled(running: server.RunningServer) -> None:
    content = other_content(running.connection())
    if content:
        raise DumpError(f"{running.home.root}: {'; '.join(content)}; or --replace (`db dump` keeps what is there).")


def _checked_note(file: Path) -> DumpNote | None:
    if not file.is_file():
        raise DumpError(f"{file}: no such file; expected a dump that `feature-graph db dump` wrote.")
    note = read_note(file)
    if note is None:
        logger.warning("%s has no note %s next to it: it is loaded without comparing checksum and counts", file, note_path(file).name)
        return None
    if (file.stat().st_size, sha256_file(file)) != (note.bytes, note.sha256):
        raise DumpError(f"{file} is not what was dumped: its size or sha256 differs from {note_path(file).name}. Copy it again.")
    known = max(migration.n for migration in migrations())
    if (note.contents.schema or 0) > known:
        raise DumpError(
            f"{file} was made with schema version {note.contents.schema}, this program knows {known}: install feature-graph "
            f"{note.feature_graph} or newer."
        )
    return note


def _check_space(home: Home, file: Path, note: DumpNote | None) -> None:
    wanted = note.store_bytes if note is not None else 4 * file.stat().st_size
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise DumpError(
            f"{free / 2**20:.0f} MB are free on the disk of {home.root}; the database takes {wanted / 2**20:.0f} MB. Free some space."
        )


def _load(staged: Staging, file: Path, note: DumpNote | None) -> Contents:
    """The dump in the staged store, started once and compared with its note."""
    folder = staged.stage.root / "dump"
    folder.mkdir()
    (folder / f"{DATABASE}.dump").symlink_to(file)
    try:
        staged.admin("database", "load", DATABASE, f"--from-path={folder}", quick=file.stat().st_size < _QUICK_BYTES)
    except server.ServerError as error:
        reason = next((line for line in str(error).splitlines() if line.startswith("Failed to load")), str(error))
        raise DumpError(f"{file} cannot be loaded; {staged.home.root} is unchanged. {reason}") from error
    held = contents(staged.start(quick=True).connection())
    if note is not None and replace(held, neo4j=note.contents.neo4j) != note.contents:
        raise DumpError(f"{file}: the database holds {held}, its note says {note.contents}; {staged.home.root} is unchanged.")
    staged.stop()
    return held


def backup(home: HomeLike, folder: str | Path, *, keep: int | None = None, check: bool = True) -> Path:
    """Dump into a file named by date and time, then remove the oldest of this home beyond ``keep``.

    Args:
        home: The home.
        folder: Made if absent.
        keep: How many backups of this home stay; None keeps all.
        check: As of :func:`dump`. A store that does not pass is not dumped, and no backup removed.

    Raises:
        DumpError: As :func:`dump`, or if ``keep`` is under 1.
    """
    if keep is not None and keep < 1:
        raise DumpError(f"keep: got {keep}; expected 1 or more.")
    home, folder = as_home(home), Path(folder).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"neo4j-{datetime.now(UTC):%Y%m%d-%H%M%S}.dump"
    dump(home, file, check=check)
    if keep is not None:
        for old in backups(home, folder)[:-keep]:
            logger.info("removing the old backup %s", old)
            old.unlink()
            note_path(old).unlink()
    return file


def backups(home: HomeLike, folder: Path) -> list[Path]:
    """Backups of this home in a folder, oldest first; dumps of other names or other homes are not among them."""
    root = str(as_home(home).root)
    found = [path for path in sorted(folder.iterdir()) if _BACKUP.fullmatch(path.name)]
    notes = {path: read_note(path) for path in found}
    return [path for path, note in notes.items() if note is not None and note.home == root]
