"""The password from a file: what is read, what is refused and in which words, and who may read the file."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ingest.password
from feature_graph.cli import app
from feature_graph.database.server import ServerError, connection_from_environment
from feature_graph.database.store import LoginRefused, connect, connect_py2neo
from ingest import PasswordUnavailable
from ingest.__main__ import main
from ingest.environment import read_environment

SECRET = "s3cret of a test"
NOWHERE = "bolt://127.0.0.1:1"

Environment = Callable[[Path], None]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Give the environment a password file, and nothing else."""

    def set_to(path: Path) -> None:
        for name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NEO4J_PASSWORD_FILE", str(path))

    return set_to


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"abc\n", "abc"),
        (b"abc", "abc"),
        (b"abc\r\n", "abc"),
        (b" a b \n", " a b "),
        (b"abc\n\n# a note\n", "abc"),
        ("pä$$wörd\n".encode(), "pä$$wörd"),
        (b"x" * 4096 + b"\n", "x" * 4096),
    ],
)
def test_the_first_line_is_the_password(tmp_path: Path, content: bytes, password: str) -> None:
    assert read_environment({"NEO4J_PASSWORD_FILE": str(written(tmp_path / "a", content))}).password == password


def test_without_a_file_it_is_the_variable_or_nothing() -> None:
    assert read_environment({}).password is None
    assert read_environment({"NEO4J_PASSWORD": SECRET}).password == SECRET
    assert read_environment({"NEO4J_PASSWORD": SECRET, "NEO4J_PASSWORD_FILE": ""}).password == SECRET


def wrong(folder: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Environments that give no password, and how the message begins to say why."""
    line = SECRET.encode()
    files = {
        "empty": (written(folder / "empty", b""), "the first line of .* is empty; expected the password"),
        "empty line": (written(folder / "line", b"\n" + line), "the first line of .* is empty; expected the password"),
        "long": (written(folder / "long", line * 1000), "is longer than 4096 bytes"),
        "binary": (written(folder / "binary", line + b"\xff\n"), "is not UTF-8"),
        "missing": (folder / "none", r"which cannot be read \(No such file or directory\); expected a file"),
        "folder": (folder, r"which cannot be read \(Is a directory\)"),
    }
    both = {"NEO4J_PASSWORD": SECRET, "NEO4J_PASSWORD_FILE": str(written(folder / "good", line))}
    found = {name: ({"NEO4J_PASSWORD_FILE": str(path)}, f"NEO4J_PASSWORD_FILE: .*{why}") for name, (path, why) in files.items()}
    return found | {"both": (both, "^NEO4J_PASSWORD and NEO4J_PASSWORD_FILE are both set; .*unset one")}


@pytest.mark.parametrize("case", ["empty", "empty line", "long", "binary", "missing", "folder", "both"])
def test_what_is_wrong_is_said_without_the_password(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    environ, message = wrong(tmp_path)[case]
    with pytest.raises(PasswordUnavailable, match=message) as caught:
        _ = read_environment(environ).password
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        assert not hasattr(error, "object"), "an error of decoding carries what it decoded"
        error = error.__cause__ or error.__context__
    assert SECRET not in caplog.text


def test_every_entry_says_what_is_wrong(
    tmp_path: Path, named: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named(tmp_path / "none")
    for open_database in (connect, connect_py2neo):
        with pytest.raises(LoginRefused, match=r"NEO4J_PASSWORD_FILE: .*cannot be read"):
            open_database(NOWHERE)
    with pytest.raises(ServerError, match=r"NEO4J_PASSWORD_FILE: .*cannot be read"):
        connection_from_environment({"NEO4J_URI": NOWHERE, "NEO4J_PASSWORD_FILE": str(tmp_path / "none")})
    assert main([str(tmp_path), "--uri", NOWHERE]) == 1
    assert "NEO4J_PASSWORD_FILE: " in capsys.readouterr().err
    shown = CliRunner().invoke(app, ["query", "hubs", "--uri", NOWHERE])
    assert shown.exit_code == 1
    assert "NEO4J_PASSWORD_FILE: " in shown.stderr
    monkeypatch.setenv("NEO4J_URI", NOWHERE)
    for command in (["query", "hubs"], ["db", "shell", "--command", "RETURN 1"]):
        shown = CliRunner().invoke(app, command)
        assert shown.exit_code == 1, command
        assert "NEO4J_PASSWORD_FILE: " in shown.stderr
        assert "Traceback" not in shown.output


def test_a_server_of_ones_own_takes_it(tmp_path: Path) -> None:
    environ = {"NEO4J_URI": "bolt://db:7687", "NEO4J_PASSWORD_FILE": str(written(tmp_path / "a", SECRET.encode()))}
    own = connection_from_environment(environ)
    assert own is not None
    assert own.password == SECRET
    assert SECRET not in repr(own)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_named_in_a_warning(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "a file", SECRET.encode(), mode)
    with caplog.at_level(logging.WARNING, "ingest"):
        _ = read_environment({"NEO4J_PASSWORD_FILE": str(path)}).password
        assert f"can read the password in {path}: chmod 600 '{path}'" in caplog.text
        assert SECRET not in caplog.text
        caplog.clear()
        path.chmod(0o600)
        _ = read_environment({"NEO4J_PASSWORD_FILE": str(path)}).password
        path.chmod(mode)
        monkeypatch.setattr(ingest.password, "_SECRETS", tmp_path.resolve())
        _ = read_environment({"NEO4J_PASSWORD_FILE": str(path)}).password
    assert not caplog.records


def test_secrets_lie_where_docker_lays_them() -> None:
    assert Path("/run/secrets") == ingest.password._SECRETS


@pytest.mark.parametrize("command", [["query", "hubs", "--uri", NOWHERE], ["runs", "list", "--uri", NOWHERE]], ids=" ".join)
def test_without_a_terminal_nobody_is_asked_for_it(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD", "NEO4J_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, command, input="typed\n")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: no password for neo4j at {NOWHERE}, and no terminal to ask for it at: set NEO4J_PASSWORD or NEO4J_PASSWORD_FILE\n"
    )


def test_nor_by_the_package_s_own_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEO4J_")}
    command = [sys.executable, "-m", "ingest", str(tmp_path), "--uri", NOWHERE]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "no terminal to ask for it at: set NEO4J_PASSWORD or NEO4J_PASSWORD_FILE" in done.stderr


def test_one_function_reads_the_environment_and_one_opens_drivers() -> None:
    root = Path(ingest.__file__).parents[1]
    files = [path for package in ("feature_graph", "ingest", "queries") for path in (root / package).rglob("*.py")]
    text = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in files}
    assert [name for name, code in text.items() if "GraphDatabase.driver(" in code] == ["ingest/connection.py"]
    reads = re.compile(r"""(environ|getenv).{0,8}["']NEO4J_""")
    assert not [name for name, code in text.items() if reads.search(code)]
    assert [name for name, code in text.items() if re.search(r"^URI_ENV\b.*=", code, re.MULTILINE)] == ["ingest/environment.py"]
