"""Which database a command talks to: the five options that say so, in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from feature_graph.database.server import Connection
    from feature_graph.database.store import Store

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="Name of the database. Default: the one in the address, else NEO4J_DATABASE, else the user's default."),
]


@dataclass(frozen=True)
class DatabaseAddress:
    """The database that a command was told to use; each field is an option of the command (see :func:`with_database`)."""

    home: Annotated[Path | None, typer.Option("--home", help="Database home; see `feature-graph db start --help`.")] = None
    uri: Annotated[str | None, typer.Option("--uri", help="Address of a server of your own, such as bolt://127.0.0.1:7687.")] = None
    user: Annotated[
        str | None,
        typer.Option("--user", help="User on that server; the password comes from NEO4J_PASSWORD or NEO4J_PASSWORD_FILE, or is asked for."),
    ] = None
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow an unencrypted connection to another machine.")] = False
    database: DatabaseOption = None

    @property
    def elsewhere(self) -> bool:
        """Whether a server of the user's own is meant, and not the embedded one."""
        from ingest.environment import read_environment

        return self.uri is not None or (self.home is None and read_environment().uri is not None)

    @contextmanager
    def open(self) -> Iterator[Store]:
        """The database meant here: the address given, else ``NEO4J_URI``, else the embedded server of the home.

        Raises:
            ServerError: If the embedded server is meant and does not run.
            StoreError: If the database does not let us in, or the connection is lost in the block.
            PasswordUnavailable: If the environment's password cannot be read, or there is none and no terminal to ask for it at.
        """
        from feature_graph.database import server, store

        where = server.connection(self.home) if self.uri is None else self._given(self.uri)
        database = self.database or where.database
        login = (where.uri, where.username, where.password)
        with store.connect(*login, database=database, insecure=self.insecure) as opened, store.in_words(where.uri):
            yield opened

    def _given(self, uri: str) -> Connection:
        """The server at the address given, with the environment's password or one that is typed."""
        from feature_graph.database import server, store
        from ingest.address import choose_database
        from ingest.environment import read_environment
        from ingest.password import obtain_password

        address, theirs = store.check_address(uri, self.insecure), read_environment()
        who, database = self.user or theirs.user, choose_database(self.database, address, theirs.database)
        password = obtain_password(theirs.password, f"{who} at {address.uri}", functools.partial(typer.prompt, hide_input=True, err=True))
        return server.Connection(address.uri, who, password, database=database)


def with_database(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`DatabaseAddress`, and what they say as its argument ``address``."""
    signature = inspect.signature(command, eval_str=True)
    options = inspect.signature(DatabaseAddress, eval_str=True).parameters.values()
    others = [parameter for name, parameter in signature.parameters.items() if name != "address"]
    names = [field.name for field in fields(DatabaseAddress)]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        address = DatabaseAddress(**{name: given.pop(name) for name in names})
        command(**given, address=address)

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*others, *options)]
    run.__signature__ = signature.replace(parameters=keyword)  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword} | {"return": None}
    return run
