"""Files around the offline life of a database: notes, backups, half a swap."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from feature_graph.database import offline
from feature_graph.database.offline.dumps import KIND, VERSION, note_path
from feature_graph.database.server.homes import Home, before_swap, erase_home, prepare_home

HELD = offline.Contents(10, 20, 3, "5.26.30", (offline.RunNote("abc", 1, "run", "ready", 4, 5, "00ff"),))


def write_dump(file: Path, home: Path) -> Path:
    note = offline.DumpNote("00", 1, 2, "2026-01-01T00:00:00+00:00", str(home), "0.1.0", HELD)
    file.write_bytes(b"x")
    note_path(file).write_text(json.dumps({"kind": KIND, "version": VERSION, **asdict(note)}))
    return file


def test_a_note_comes_back_as_it_was_written(tmp_path: Path) -> None:
    note = offline.read_note(write_dump(tmp_path / "a.dump", tmp_path))
    assert note is not None
    assert (note.contents, note.bytes, note.home) == (HELD, 1, str(tmp_path))
    assert offline.read_note(tmp_path / "b.dump") is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"kind": "feature-graph-dump", "version": 2}', '{"kind": "feature-graph-dump", "version": 1}']
)
def test_what_is_no_note_is_said(tmp_path: Path, text: str) -> None:
    note_path(tmp_path / "a.dump").write_text(text)
    with pytest.raises(offline.DumpError, match=r"a\.dump\.json: not the note of a dump"):
        offline.read_note(tmp_path / "a.dump")


def test_only_this_home_s_own_backups_are_counted(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    wanted = [write_dump(tmp_path / f"neo4j-2026010{day}-000000.dump", mine) for day in (1, 3)]
    write_dump(tmp_path / "neo4j-20260102-000000.dump", other)
    write_dump(tmp_path / "kept.dump", mine)
    (tmp_path / "neo4j-20260104-000000.dump").write_bytes(b"without a note")
    assert offline.backups(mine, tmp_path) == wanted


def test_where_nothing_can_be_dumped(tmp_path: Path) -> None:
    with pytest.raises(offline.DumpError, match="There is no database in"):
        offline.dump(tmp_path / "home", tmp_path / "a.dump")
    home = Home(tmp_path / "home")
    prepare_home(home)
    (home.data / "databases" / "system").mkdir(parents=True)
    (tmp_path / "a.dump").write_bytes(b"precious")
    with pytest.raises(offline.DumpError, match="never replaces a file"):
        offline.dump(home, tmp_path / "a.dump")
    with pytest.raises(offline.DumpError, match="is not a folder"):
        offline.dump(home, tmp_path / "nowhere" / "a.dump")
    with pytest.raises(offline.DumpError, match="got 0; expected 1 or more"):
        offline.backup(home, tmp_path, keep=0)
    with pytest.raises(offline.DumpError, match=r"b\.dump: no such file"):
        offline.load(home, tmp_path / "b.dump")
    assert (tmp_path / "a.dump").read_bytes() == b"precious"


def test_half_a_swap_is_undone(tmp_path: Path) -> None:
    """Killed between the two renames: the old store lies aside, and nothing is in its place."""
    home = Home(tmp_path / "home")
    prepare_home(home)
    (home.data / "store").write_text("old")
    home.data.rename(before_swap(home))
    prepare_home(home)
    assert (home.data / "store").read_text() == "old"
    assert not before_swap(home).exists()


def test_a_whole_swap_is_not_undone(tmp_path: Path) -> None:
    """Killed after both: the new store stays, and the old one goes with the home at the latest."""
    home = Home(tmp_path / "home")
    prepare_home(home)
    before_swap(home).mkdir()
    (home.data / "store").write_text("new")
    prepare_home(home)
    assert (home.data / "store").read_text() == "new"
    erase_home(home)
    assert list(home.root.iterdir()) == []
