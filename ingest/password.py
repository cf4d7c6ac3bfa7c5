"""The password of a server of one's own: ``NEO4J_PASSWORD``, or the first line of the file that ``NEO4J_PASSWORD_FILE`` names."""

from __future__ import annotations

import logging
import os
import shlex
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ingest.errors import PasswordUnavailable

logger = logging.getLogger(__name__)

PASSWORD_ENV, FILE_ENV = "NEO4J_PASSWORD", "NEO4J_PASSWORD_FILE"

#: Where Docker and Kubernetes lay secrets; who may read them there is not for this program to say.
_SECRETS = Path("/run/secrets")
_LONGEST = 4096


def password_from_environment(environ: Mapping[str, str] | None = None) -> str | None:
    """The password that the environment gives; None if it gives none. An empty ``NEO4J_PASSWORD_FILE`` counts as unset.

    Raises:
        PasswordUnavailable: If both variables are set, or the file cannot be read or holds no password. No message holds a password.
    """
    environ = os.environ if environ is None else environ
    file = environ.get(FILE_ENV)
    if not file:
        return environ.get(PASSWORD_ENV)
    if environ.get(PASSWORD_ENV):
        raise PasswordUnavailable(f"{PASSWORD_ENV} and {FILE_ENV} are both set; expected one of the two: unset one")
    return _first_line(Path(file))


def _first_line(path: Path) -> str:
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
