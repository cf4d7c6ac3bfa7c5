"""Which database home is meant, and which folder may be used as one."""

import errno
import json
import stat
from pathlib import Path

import pytest

from feature_graph.database.server.errors import HomeError
from feature_graph.database.server.homes import FOLDER, MARKER, Home, erase_home, find_home, prepare_home, unusable
from feature_graph.database.server.password import new_password, read_password


def test_given_home_wins_over_everything(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    found = find_home(tmp_path / "mine", cwd=tmp_path, environ={"FEATURE_GRAPH_HOME": str(tmp_path / "env")})
    assert found == Home(tmp_path / "mine", "given")


def test_environment_wins_over_parent_folder(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    found = find_home(cwd=tmp_path, environ={"FEATURE_GRAPH_HOME": str(tmp_path / "env")})
    assert found == Home(tmp_path / "env", "$FEATURE_GRAPH_HOME")


def test_nearest_parent_wins(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / FOLDER).mkdir()
    assert find_home(cwd=inner, environ={}).root == tmp_path / FOLDER
    (tmp_path / "a" / FOLDER).mkdir()
    assert find_home(cwd=inner, environ={}).root == tmp_path / "a" / FOLDER


def test_else_the_users_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = find_home(cwd=tmp_path, environ={})
    assert found.root.is_relative_to(tmp_path)
    assert found.origin == "user's data directory"


def test_prepare_makes_a_private_home_and_is_repeatable(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    prepare_home(home)
    prepare_home(home)
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert json.loads(home.marker.read_text())["kind"] == "feature-graph-home"
    assert not home.has_database


def test_folder_of_someone_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for act in (prepare_home, erase_home):
        with pytest.raises(HomeError, match=MARKER):
            act(Home(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="expected a folder"):
        prepare_home(Home(tmp_path / "file"))


def test_unusable_parent_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot be used"):
        prepare_home(Home(tmp_path / "file" / "home"))


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only"), (errno.ENOSPC, "full"), (errno.EACCES, "may not write"), (errno.EDQUOT, "quota")],
)
def test_disk_errors_in_plain_words(number: int, words: str) -> None:
    message = str(unusable(Home(Path("/home/of/db")), OSError(number, "x")))
    assert words in message
    assert "/home/of/db" in message
    assert "--home" in message


def test_erase_leaves_what_is_not_ours(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    prepare_home(home)
    (home.data / "databases" / "system").mkdir(parents=True)
    (home.root / "notes.txt").write_text("mine")
    erase_home(home)
    assert [p.name for p in home.root.iterdir()] == ["notes.txt"]


def test_erase_removes_an_all_ours_home_and_allows_a_new_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    prepare_home(home)
    home.lock.touch()
    erase_home(home)
    assert list(home.root.iterdir()) == []
    prepare_home(home)


def test_missing_and_empty_password_say_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="db start"):
        read_password(home)
    (home.data / "databases" / "system").mkdir(parents=True)
    with pytest.raises(HomeError, match="db reset"):
        read_password(home)
    home.password_file.write_text("\n")
    with pytest.raises(HomeError, match="empty"):
        read_password(home)


def test_no_password_looks_like_an_option() -> None:
    """The admin tool reads a password that begins with a dash as one of its options: one start in 64 failed."""
    passwords = {new_password() for _ in range(500)}
    assert len(passwords) == 500
    assert all(len(p) == 24 and p.isascii() and p.isalnum() for p in passwords)
