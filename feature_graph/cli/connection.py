"""Which database a command talks to: the five options that say so, in one place."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from feature_graph.database.store import Store

DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="Name of the database; default that in the address, else NEO4J_DATABASE, else the user's.")
]


@dataclass(frozen=True)
class DatabaseAddress:
    """The database that a command was told to use; each field is an option of the command (see :func:`with_database`)."""

    home: Annotated[Path | None, typer.Option("--home", help="Database home; see `feature-graph db --help`.")] = None
    uri: Annotated[str | None, typer.Option("--uri", help="Address of a server of your own, such as bolt://127.0.0.1:7687.")] = None
    user: Annotated[
        str | None,
        typer.Option("--user", help="User there; the password comes from NEO4J_PASSWORD or NEO4J_PASSWORD_FILE or is asked for."),
    ] = None
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow an unencrypted connection to another machine.")] = False
    database: DatabaseOption = None

    @property
    def elsewhere(self) -> bool:
        """Whether a server of the user's own is meant, and not the embedded one."""
        return self.uri is not None or (self.home is None and bool(os.environ.get("NEO4J_URI")))

    @contextmanager
    def open(self) -> Iterator[Store]:
        """The database meant here: the address given, else ``NEO4J_URI``, else the embedded server of the home.

        Raises:
            ServerError: If the embedded server is meant and does not run.
            StoreError: If the database does not let us in, or the connection is lost in the block.
            PasswordUnavailable: If the environment's password cannot be read.
        """
        from feature_graph.database import server, store
        from ingest.password import password_from_environment

        if self.uri is not None:
            shown = store.check_address(self.uri, self.insecure).uri
            name = self.user or os.environ.get("NEO4J_USERNAME") or "neo4j"
            uri, database = self.uri, self.database
            password = password_from_environment() or typer.prompt(f"password of {name} at {shown}", hide_input=True, err=True)
        else:
            where = server.connection(self.home)
            uri, shown, name, password, database = where.uri, where.uri, where.username, where.password, self.database or where.database
        with store.connect(uri, name, password, database=database, insecure=self.insecure) as opened, store.in_words(shown):
            yield opened


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
