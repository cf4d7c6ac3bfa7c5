"""The password of user ``neo4j``: random, kept in the home with mode 0600, never in a log or an argument list."""

from __future__ import annotations

import os
import secrets
import shutil
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_graph.database.server.errors import HomeError, ServerError
from feature_graph.database.server.homes import Home
from feature_graph.database.server.jars import JarFolder
from feature_graph.database.server.java import run_admin

USERNAME = "neo4j"

# Letters and digits only: the admin tool takes a password that begins with a dash for one of its options.
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 24


def new_password() -> str:
    """A random password of 24 letters and digits (142 bits)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def read_password(home: Home) -> str:
    """The password of this home.

    Raises:
        HomeError: There is none, or the file is empty.
    """
    try:
        password = home.password_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise HomeError(f"{home.password_file} is missing: there is no password for the database in {home.root}.{_remedy(home)}") from error
    if not password:
        raise HomeError(f"{home.password_file} is empty.{_remedy(home)}")
    return password


def _remedy(home: Home) -> str:
    if not home.has_database:
        return " Start the server first: feature-graph db start"
    return " Put the password back into that file (mode 0600), or erase the database: feature-graph db reset"


def ensure_password(home: Home, jars: JarFolder) -> None:
    """Make and set the password of a new database; one that exists must have its own.

    Raises:
        HomeError: The database exists and its password file does not.
        ServerError: Neo4j did not take the password.
    """
    if home.has_database:
        read_password(home)
        return
    # A first start that was cut off may have left a user file, which the tool would refuse to replace.
    shutil.rmtree(home.data / "dbms", ignore_errors=True)
    password = new_password()
    _write_private(home.password_file, password)
    with _handed_over(home, password) as file:
        output = run_admin(home, jars, "dbms", "set-initial-password", f"@{file}", heap="256m", quick=True)
    if "Changed password" not in output or not (home.data / "dbms" / "auth.ini").exists():
        raise ServerError(f"Neo4j did not take the initial password; it said: {output or 'nothing'}")


@contextmanager
def _handed_over(home: Home, password: str) -> Iterator[Path]:
    """A file with the password for the admin tool, removed after."""
    file = home.run / "initial-password"
    try:
        _write_private(file, password)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "\n")
