"""The password of a server of one's own: ``NEO4J_PASSWORD``, or the first line of the file that ``NEO4J_PASSWORD_FILE`` names."""

from __future__ import annotations

import logging
import os
import shlex
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ingest.errors import PasswordUnavailable

logger = logging.getLogger(__name__)

PASSWORD_ENV, FILE_ENV = "NEO4J_PASSWORD", "NEO4J_PASSWORD_FILE"

#: Where Docker and Kubernetes lay secrets; who may read them there is not for this program to say.
_SECRETS = Path("/run/secrets")
_LONGEST = 4096


def obtain_password(given: str | None, who: str, ask: Callable[[str], str]) -> str:
    """The password that the environment gives, else the one that a person types at a terminal.

    Args:
        given: What the environment gives.
        who: Whose it is, such as ``neo4j at bolt://127.0.0.1:7687``.
        ask: Asks for it with the words given.

    Raises:
        PasswordUnavailable: If there is none and no terminal to ask at.
    """
    if given:
        return given
    if sys.stdin is None or not sys.stdin.isatty():
        raise PasswordUnavailable(f"no password for {who}, and no terminal to ask for it at: set {PASSWORD_ENV} or {FILE_ENV}")
    return ask(f"password of {who}")


def read_password_file(path: Path) -> str:
    """The first line of a file.

    Raises:
        PasswordUnavailable: If the file cannot be read or its first line is not a password. No message holds one.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.readline(_LONGEST + 1).rstrip(b"\r\n")
    except OSError as error:
        raise PasswordUnavailable(
            f"{FILE_ENV}: got {str(path)!r}, which cannot be read ({error.strerror}); expected a file whose first line is the password"
        ) from error
    _warn_if_open(path, mode)
    if not line or len(line) > _LONGEST:
        wrong = "is empty" if not line else f"is longer than {_LONGEST} bytes"
        raise PasswordUnavailable(f"{FILE_ENV}: the first line of {str(path)!r} {wrong}; expected the password: write it there, alone")
    with suppress(UnicodeDecodeError):  # its text would carry a byte of the password
        return line.decode("utf-8")
    raise PasswordUnavailable(f"{FILE_ENV}: the first line of {str(path)!r} is not UTF-8; expected the password as text: write it again")


def _warn_if_open(path: Path, mode: int) -> None:
    if mode & (stat.S_IRGRP | stat.S_IROTH) and not path.resolve().is_relative_to(_SECRETS):
        logger.warning("other users of this machine can read the password in %s: chmod 600 %s", path, shlex.quote(str(path)))
