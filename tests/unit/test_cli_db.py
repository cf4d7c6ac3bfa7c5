"""``feature-graph db`` where no server is needed: what it says, and that it touches nothing it should not."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database.server.homes import Home, prepare_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "my home")
    prepare_home(made)
    return made


def run(*arguments: str, text: str | None = None) -> tuple[int, str]:
    """Exit status and everything printed."""
    done = CliRunner().invoke(app, ["db", *arguments], input=text)
    return done.exit_code, done.output


def test_status_of_no_database(tmp_path: Path) -> None:
    code, said = run("status", "--home", str(tmp_path / "none"))
    assert code == 3
    assert f"Database home: {tmp_path / 'none'} (given)" in said
    assert "feature-graph db start" in said
    assert not (tmp_path / "none").exists()


def test_password_is_not_printed_into_a_pipe(home: Home) -> None:
    home.password_file.write_text("a-secret\n")
    code, said = run("password", "--home", str(home.root))
    assert code == 1
    assert "a-secret" not in said
    assert "--show" in said
    assert run("password", "--home", str(home.root), "--show")[1].splitlines()[-1] == "a-secret"


def test_reset_asks_and_spares_foreign_folders(home: Home, tmp_path: Path) -> None:
    (home.data / "databases" / "system").mkdir(parents=True)
    code, said = run("reset", "--home", str(home.root), text="n\n")
    assert code == 1
    assert "cannot be undone" in said
    assert home.has_database
    assert run("reset", "--home", str(home.root), "--yes")[0] == 0
    assert not home.has_database
    (tmp_path / "file").write_text("mine")
    assert run("reset", "--home", str(tmp_path), "--yes") == (0, f"Database home: {tmp_path} (given)\nThere is no database here.\n")
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("command", [("shell", "-c", "RETURN 1"), ("browser", "--no-open"), ("logs",)])
def test_without_a_server_each_says_what_is_missing(home: Home, command: tuple[str, ...]) -> None:
    code, said = run(command[0], "--home", str(home.root), *command[1:])
    assert code == 1
    assert "server" in said or "running" in said


def test_stop_without_server_is_no_error(home: Home) -> None:
    assert run("stop", "--home", str(home.root))[0] == 0


def test_unknown_log_and_bad_memory_are_refused(home: Home) -> None:
    answer = " ".join(run("logs", "--home", str(home.root), "--which", "x")[1].replace("│", " ").split())
    assert "expected neo4j, debug or console" in answer
    assert run("start", "--home", str(home.root), "--bolt-port", "80")[0] == 2
