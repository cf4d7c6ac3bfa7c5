"""How to reach a database; the library's one door to it, through which every driver is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.connection import open_driver

if TYPE_CHECKING:
    from neo4j import Driver


@dataclass(frozen=True)
class Connection:
    """How to reach a database."""

    uri: str
    username: str
    password: str = field(repr=False)
    origin: str = ""
    """Where these facts come from, for people."""
    database: str | None = None
    """Name of the database; None is the user's default."""

    @property
    def auth(self) -> tuple[str, str]:
        """Username and password, as the driver wants them."""
        return self.username, self.password

    def open(self, *, user_agent: str | None = None, quiet: bool = False) -> Driver:
        """A driver, unchecked; see :func:`ingest.connection.open_driver`. Close it, or use it in a ``with`` block."""
        return open_driver(self.uri, self.auth, user_agent=user_agent, quiet=quiet)
