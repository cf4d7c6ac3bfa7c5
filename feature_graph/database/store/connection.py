"""Open the database: address from the arguments, else from ``NEO4J_URI``, else the embedded server that runs.

Never a password in the clear over a network, and none in an address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import neo4j
from neo4j.exceptions import AuthError, DriverError, Neo4jError

from feature_graph.database import server
from feature_graph.database.connection import Connection
from feature_graph.database.store.database import Store
from feature_graph.database.store.errors import AddressError, LoginRefused, NotEncrypted, NotReachable, StoreError
from ingest import AddressRefused, PasswordUnavailable, UnsupportedServer, check_version, explain
from ingest.address import Address, choose_database, parse_address
from ingest.environment import URI_ENV, read_environment

if TYPE_CHECKING:
    import py2neo

_DATABASE_NOT_FOUND = "Database.DatabaseNotFound"
_NO_DATABASE = "database: got {0!r}, which {1} does not have{2}. Choose one by --database, NEO4J_DATABASE or ?database=NAME in the address"


def connect(
    uri: str | None = None,
    user: str | None = None,
    password: str | None = None,
    *,
    database: str | None = None,
    insecure: bool = False,
) -> Store:
    """Open a database and check that it lets us in. Close it, or use it in a ``with`` block.

    Args:
        uri: Such as ``bolt://127.0.0.1:7687``, or with a database ``bolt://127.0.0.1:7687?database=neo4j``. If not given, ``NEO4J_URI``;
            and if that is not set, the embedded server that runs, with its own user and password.
        user: ``NEO4J_USERNAME``, else ``neo4j``, if not given.
        password: ``NEO4J_PASSWORD``, or the first line of the file ``NEO4J_PASSWORD_FILE``, if not given.
        database: Name of the database; if not given, the address's, else that of ``NEO4J_DATABASE``, else the user's default.
        insecure: Allow an unencrypted connection to another machine.

    Raises:
        NotReachable: If nothing answers there, or no address is given and no embedded server runs.
        LoginRefused: If user or password are wrong, or the environment's password cannot be read.
        NotEncrypted: If the address is another machine's and its scheme is not encrypted.
        StoreError: If the address is none or carries a password, the server has no such database, is no Neo4j, or is older than the
            versions that are supported.
    """
    login = _login(uri, user, password, database, insecure)
    uri, database = login.uri, login.database
    driver = login.open(quiet=True)
    try:
        driver.verify_connectivity()
        with driver.session(database=database) as session:
            summary = session.run("RETURN 1").consume()  # in a transaction of its own: nothing is tried again and again
        check_version(summary.server.agent)
    except UnsupportedServer as error:
        driver.close()
        raise StoreError(f"{uri}: {error}") from error
    except (DriverError, Neo4jError, OSError) as error:
        with driver:
            raise (_no_database(driver, login) if _DATABASE_NOT_FOUND in str(error) else _explained(error, uri, login.username)) from error
    return Store(driver, database)


@contextmanager
def in_words(uri: str) -> Iterator[None]:
    """Turn a driver's error in the block into one that says what happened and what to do.

    Raises:
        StoreError: If the connection was lost, the server stopped, or it refused something.
    """
    try:
        yield
    except (DriverError, Neo4jError) as error:
        raise StoreError(explain(error, uri)) from error


def connect_py2neo(
    uri: str | None = None,
    user: str | None = None,
    password: str | None = None,
    *,
    database: str | None = None,
    insecure: bool = False,
) -> py2neo.Graph:
    """Open a database through py2neo 2021.2; ``ingest.ingest_run`` and ``queries.run`` take what comes back like a driver.

    py2neo alone says of a wrong password that the connection was closed; here it is said as :func:`connect` says it. It has no timeout,
    retries a transaction at most twice, and is no longer maintained: prefer :func:`connect`.

    Args:
        uri: As for :func:`connect`.
        user: As for :func:`connect`.
        password: As for :func:`connect`.
        database: As for :func:`connect`.
        insecure: As for :func:`connect`.

    Raises:
        NotReachable: As :func:`connect`.
        LoginRefused: As :func:`connect`.
        NotEncrypted: As :func:`connect`.
        StoreError: If the address is none or carries a password, or the server has no such database.
    """
    import py2neo
    import py2neo.errors

    login = _login(uri, user, password, database, insecure)
    graph = None
    try:
        graph = py2neo.Graph(login.uri, auth=login.auth, name=login.database)
        graph.auto(readonly=True).run("RETURN 1").evaluate()  # it would say only at the first question that there is no such database
        return graph
    except (py2neo.errors.ConnectionUnavailable, py2neo.errors.ServiceUnavailable, py2neo.errors.ClientError, OSError) as error:
        said = [str(e) for e in _chain(error)]
        if graph is not None:
            graph.service.connector.close()
        if any("nauthorized" in text for text in said):
            raise _refused(login.uri, login.username, "the user or the password is wrong") from error
        if any(_DATABASE_NOT_FOUND in text for text in said):
            raise StoreError(_NO_DATABASE.format(login.database, login.uri, "")) from error
        raise _silent(login.uri, error) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _login(uri: str | None, user: str | None, password: str | None, database: str | None, insecure: bool) -> Connection:
    """From the arguments, the environment, or the embedded server.

    Raises:
        NotReachable: Without an address, and if no embedded server runs.
        LoginRefused: Without a password, or if the environment's cannot be read.
        NotEncrypted: See :func:`check_address`.
        AddressError: If the address or the database cannot be meant.
    """
    theirs = read_environment()
    uri = uri if uri is not None else theirs.uri
    if uri is None:
        found = _embedded()
        name = _graph_database(database or found.database)
        return replace(found, username=user or found.username, password=password or found.password, database=name)
    address = check_address(uri, insecure)
    user = user or theirs.user
    try:
        password = password or theirs.password
    except PasswordUnavailable as error:
        raise LoginRefused(str(error)) from error
    if password is None:
        raise LoginRefused(f"no password for {user} at {address.uri}: set NEO4J_PASSWORD or NEO4J_PASSWORD_FILE, or give it as an argument")
    try:
        name = _graph_database(choose_database(database, address, theirs.database))
    except AddressRefused as error:
        raise AddressError(str(error)) from error
    return Connection(address.uri, user, password, database=name)


def _embedded() -> server.Connection:
    try:
        return server.connection(use_environment=False)
    except server.ServerError as error:
        raise NotReachable(f"{error} Or give an address, or set {URI_ENV}") from error


def _graph_database(name: str | None) -> str | None:
    if name is not None and name.lower() == "system":
        raise AddressError("database: got 'system', which holds users and databases and no graph; expected the name of another one")
    return name


def check_address(uri: str, insecure: bool = False) -> Address:
    """Take an address apart; refuse one that is none, carries a password, or would send one in the clear to another machine.

    Raises:
        AddressError: If it is none, or carries a user name or a password: the message shows neither.
        NotEncrypted: If the host is not this machine and the scheme is not encrypted.
    """
    try:
        address = parse_address(uri)
    except AddressRefused as error:
        raise AddressError(str(error)) from error
    if not address.encrypted and not insecure and not _is_loopback(address.host):
        scheme = address.scheme
        raise NotEncrypted(
            f"{address.uri} is another machine and {scheme}:// is not encrypted, so the password could be read on the way: "
            f"use {scheme}+s:// (or {scheme}+ssc:// for a self-signed certificate), or insist with insecure / --insecure"
        )
    return address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _explained(error: Exception, uri: str, user: str) -> StoreError:
    if isinstance(error, AuthError):
        return _refused(uri, user, error.message or "the user or the password is wrong")
    if isinstance(error, Neo4jError):
        return StoreError(explain(error, uri))
    return _silent(uri, error)


def _no_database(driver: neo4j.Driver, login: Connection) -> StoreError:
    """The sentence for a database that is not there, with those that are, if the user may see them."""
    query = "SHOW DATABASES YIELD name WHERE name <> 'system' RETURN collect(DISTINCT name) AS names"
    try:
        with driver.session(database="system") as session:
            names = ", ".join(session.run(query).single(strict=True)["names"])
    except (DriverError, Neo4jError):
        names = ""
    return StoreError(_NO_DATABASE.format(login.database, login.uri, f"; it has {names}" if names else ""))


def _refused(uri: str, user: str, why: str) -> LoginRefused:
    return LoginRefused(
        f"{uri} refused user {user!r}: {why}. The embedded server's password: `feature-graph db password --show`; "
        "another server's: set NEO4J_PASSWORD or NEO4J_PASSWORD_FILE"
    )


def _silent(uri: str, error: Exception) -> NotReachable:
    return NotReachable(f"no Neo4j answers at {uri}: {error}. Start the embedded one with `feature-graph db start`, or correct NEO4J_URI")
