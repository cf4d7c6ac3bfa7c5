"""A server of one's own, as the environment names it: the only place where ``NEO4J_*`` is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingest.errors import PasswordUnavailable
from ingest.password import FILE_ENV, PASSWORD_ENV, read_password_file

URI_ENV, USER_ENV, DATABASE_ENV = "NEO4J_URI", "NEO4J_USERNAME", "NEO4J_DATABASE"
DEFAULT_USER = "neo4j"


@dataclass(frozen=True)
class Neo4jEnvironment:
    """What the environment says of a server; a variable that is empty counts as unset, save the password's.

    Attributes:
        uri: ``NEO4J_URI`` as it stands; it may be no address.
        user: ``NEO4J_USERNAME``, else ``neo4j``.
        database: ``NEO4J_DATABASE``.
        password_text: ``NEO4J_PASSWORD``.
        password_file: ``NEO4J_PASSWORD_FILE``.
    """

    uri: str | None = None
    user: str = DEFAULT_USER
    database: str | None = None
    password_text: str | None = field(default=None, repr=False)
    password_file: str | None = None

    @property
    def password(self) -> str | None:
        """The password, or the first line of the file that holds it; None if the environment gives none.

        Raises:
            PasswordUnavailable: If both variables are set, or the file cannot be read or holds no password. No message holds a password.
        """
        if not self.password_file:
            return self.password_text
        if self.password_text:
            raise PasswordUnavailable(f"{PASSWORD_ENV} and {FILE_ENV} are both set; expected one of the two: unset one")
        return read_password_file(Path(self.password_file))


def read_environment(environ: Mapping[str, str] | None = None) -> Neo4jEnvironment:
    """What ``NEO4J_URI``, ``NEO4J_USERNAME``, ``NEO4J_PASSWORD``, ``NEO4J_PASSWORD_FILE`` and ``NEO4J_DATABASE`` say.

    Args:
        environ: Variables; those of the process if not given.
    """
    given = os.environ if environ is None else environ
    return Neo4jEnvironment(
        uri=given.get(URI_ENV) or None,
        user=given.get(USER_ENV) or DEFAULT_USER,
        database=given.get(DATABASE_ENV) or None,
        password_text=given.get(PASSWORD_ENV),
        password_file=given.get(FILE_ENV) or None,
    )
