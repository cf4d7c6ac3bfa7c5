"""Open the database: address from the arguments, else from ``NEO4J_URI``; never a password in the clear over a network."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import neo4j
from neo4j.exceptions import AuthError, DriverError, Neo4jError

from feature_graph.store.database import Store
from feature_graph.store.errors import LoginRefused, NotEncrypted, NotReachable, StoreError
from ingest import PasswordUnavailable, UnsupportedServer
from ingest.messages import explain
from ingest.password import password_from_environment
from ingest.versions import check_version

if TYPE_CHECKING:
    import py2neo

_ENCRYPTED = {"bolt+s", "bolt+ssc", "neo4j+s", "neo4j+ssc"}
_PLAIN = {"bolt", "neo4j"}
_CONNECT_SECONDS = 10.0


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
        uri: Such as ``bolt://127.0.0.1:7687``; ``NEO4J_URI`` if not given.
        user: ``NEO4J_USERNAME``, else ``neo4j``, if not given.
        password: ``NEO4J_PASSWORD``, or the first line of the file ``NEO4J_PASSWORD_FILE``, if not given.
        database: Name of the database, if not the user's default.
        insecure: Allow an unencrypted connection to another machine.

    Raises:
        NotReachable: If nothing answers there, or no address is given.
        LoginRefused: If user or password are wrong, or the environment's password cannot be read.
        NotEncrypted: If the address is another machine's and its scheme is not encrypted.
        StoreError: If the server is no Neo4j, or older than the versions that are supported.
    """
    uri, user, password = _credentials(uri, user, password, insecure)
    # Without notifications: the server would warn of every optional property that no node happens to have yet.
    driver = neo4j.GraphDatabase.driver(uri, auth=(user, password), connection_timeout=_CONNECT_SECONDS, notifications_min_severity="OFF")
    try:
        driver.verify_connectivity()
        with driver.session(database=database) as session:
            summary = session.run("RETURN 1").consume()  # in a transaction of its own: nothing is tried again and again
        check_version(summary.server.agent)
    except UnsupportedServer as error:
        driver.close()
        raise StoreError(f"{uri}: {error}") from error
    except (DriverError, Neo4jError, OSError) as error:
        driver.close()
        raise _explained(error, uri, user) from error
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


def connect_py2neo(uri: str | None = None, user: str | None = None, password: str | None = None, *, insecure: bool = False) -> py2neo.Graph:
    """Open a database through py2neo 2021.2; ``ingest.ingest_run`` and ``queries.run`` take what comes back like a driver.

    py2neo alone says of a wrong password that the connection was closed; here it is said as :func:`connect` says it. It has no timeout,
    retries a transaction at most twice, and is no longer maintained: prefer :func:`connect`.

    Args:
        uri: As for :func:`connect`.
        user: As for :func:`connect`.
        password: As for :func:`connect`.
        insecure: As for :func:`connect`.

    Raises:
        NotReachable: If nothing answers there, or no address is given.
        LoginRefused: If user or password are wrong, or the environment's password cannot be read.
        NotEncrypted: If the address is another machine's and its scheme is not encrypted.
    """
    import py2neo
    import py2neo.errors

    uri, user, password = _credentials(uri, user, password, insecure)
    try:
        return py2neo.Graph(uri, auth=(user, password))
    except (py2neo.errors.ConnectionUnavailable, py2neo.errors.ServiceUnavailable, py2neo.errors.ClientError, OSError) as error:
        if any("Unauthorized" in str(e) or "unauthorized" in str(e) for e in _chain(error)):
            raise _refused(uri, user, "the user or the password is wrong") from error
        raise _silent(uri, error) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _credentials(uri: str | None, user: str | None, password: str | None, insecure: bool) -> tuple[str, str, str]:
    """Address, user and password from the arguments or the environment, checked.

    Raises:
        NotReachable: Without an address.
        LoginRefused: Without a password, or if the environment's cannot be read.
        NotEncrypted: See :func:`check_address`.
    """
    uri = uri or os.environ.get("NEO4J_URI")
    user = user or os.environ.get("NEO4J_USERNAME") or "neo4j"
    if not uri:
        raise NotReachable("no database address: start the embedded server with `feature-graph db start`, or set NEO4J_URI")
    password = password or _password_of_environment()
    if password is None:
        raise LoginRefused(f"no password for {user} at {uri}: set NEO4J_PASSWORD or NEO4J_PASSWORD_FILE, or give it as an argument")
    check_address(uri, insecure)
    return uri, user, password


def _password_of_environment() -> str | None:
    try:
        return password_from_environment()
    except PasswordUnavailable as error:
        raise LoginRefused(str(error)) from error


def check_address(uri: str, insecure: bool = False) -> None:
    """Refuse an address that is none, or that would send the password in the clear to another machine.

    Raises:
        StoreError: If the scheme is not one of Neo4j's.
        NotEncrypted: If the host is not this machine and the scheme is not encrypted.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _ENCRYPTED | _PLAIN or not parts.hostname:
        raise StoreError(
            f"address: got {uri!r}; expected one of {', '.join(sorted(_PLAIN | _ENCRYPTED))} and a host: bolt://127.0.0.1:7687"
        )
    if parts.scheme in _PLAIN and not insecure and not _is_loopback(parts.hostname):
        raise NotEncrypted(
            f"{uri} is another machine and {parts.scheme}:// is not encrypted, so the password could be read on the way: "
            f"use {parts.scheme}+s:// (or {parts.scheme}+ssc:// for a self-signed certificate), or insist with insecure / --insecure"
        )


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


def _refused(uri: str, user: str, why: str) -> LoginRefused:
    return LoginRefused(
        f"{uri} refused user {user!r}: {why}. The embedded server's password: `feature-graph db password --show`; "
        "another server's: set NEO4J_PASSWORD or NEO4J_PASSWORD_FILE"
    )


def _silent(uri: str, error: Exception) -> NotReachable:
    return NotReachable(f"no Neo4j answers at {uri}: {error}. Start the embedded one with `feature-graph db start`, or correct NEO4J_URI")
