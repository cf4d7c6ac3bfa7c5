"""Talking to a server: does it answer, is the password right, and one Cypher statement for the shell."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from feature_graph.database.connection import Connection
from feature_graph.database.server.errors import ServerError
from ingest import AddressRefused, PasswordUnavailable
from ingest.address import choose_database, parse_address
from ingest.environment import URI_ENV, read_environment
from queries import Answer, notices

if TYPE_CHECKING:
    from neo4j import Driver
    from neo4j.graph import Node, Relationship

HANDSHAKE = b"\x60\x60\xb0\x17" + bytes([0, 4, 4, 5]) + bytes(12)  # Bolt 5.0 to 5.4, nothing else


def connection_from_environment(environ: Mapping[str, str] | None = None) -> Connection | None:
    """The user's own server, if ``NEO4J_URI`` names one.

    Raises:
        ServerError: ``NEO4J_URI`` is not an address, or carries a password; or there is no password, by ``NEO4J_PASSWORD`` or
            ``NEO4J_PASSWORD_FILE``; or one that cannot be read.
    """
    theirs = read_environment(environ)
    if theirs.uri is None:
        return None
    try:
        address, password = parse_address(theirs.uri), theirs.password
    except AddressRefused as error:
        raise ServerError(f"{URI_ENV}: {error}") from error
    except PasswordUnavailable as error:
        raise ServerError(str(error)) from error
    if not password:
        raise ServerError(
            f"{URI_ENV} is set to {address.uri}, but NEO4J_PASSWORD is not, nor NEO4J_PASSWORD_FILE. "
            f"Set one of the two, or unset {URI_ENV} to use the embedded server."
        )
    return Connection(address.uri, theirs.user, password, f"${URI_ENV}", choose_database(None, address, theirs.database))


def answers(uri: str, timeout: float = 2.0) -> bool:
    """Whether a Bolt server answers the handshake at ``uri``."""
    parts = urlsplit(uri)
    try:
        with socket.create_connection((parts.hostname, parts.port or 7687), timeout) as bolt:
            bolt.sendall(HANDSHAKE)
            reply = bolt.recv(4)
    except OSError:
        return False
    return len(reply) == 4 and reply != bytes(4)


@contextmanager
def driver(connection: Connection) -> Iterator[Driver]:
    """A driver that was checked to be let in.

    Raises:
        ServerError: Nobody answers, or the password is refused.
    """
    from neo4j.exceptions import AuthError, DriverError

    where = f"{connection.uri} ({connection.origin})" if connection.origin else connection.uri
    with connection.open() as opened:
        try:
            opened.verify_connectivity()
        except AuthError as error:
            raise ServerError(f"Neo4j at {where} refused user {connection.username!r} with the password given. {error.message}") from error
        except (DriverError, OSError) as error:
            raise ServerError(f"No Neo4j answers at {where}: {error}") from error
        yield opened


def run_cypher(opened: Driver, statement: str, database: str | None = None) -> Answer:
    """Run one statement as it stands, in a transaction of its own; what Neo4j remarks on it (an unknown label …) is logged as a warning.

    Args:
        opened: An open driver.
        statement: Cypher.
        database: Name of the database; None is the user's default.

    Returns:
        The rows, with nodes and relationships as the driver gives them (:func:`value_text` shows one), and what was changed.

    Raises:
        ServerError: Neo4j refused it; the message is Neo4j's.
    """
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        # implicit transaction: CALL … IN TRANSACTIONS works
        with notices.heard(), opened.session(database=database, **notices.CUSTOM) as session:
            result = session.run(statement)
            columns = list(result.keys())
            rows = [list(record.values()) for record in result]
            summary = result.consume()
            notices.say(summary)
    except Neo4jError as error:
        raise ServerError(error.message or str(error)) from error
    except DriverError as error:
        raise ServerError(str(error)) from error
    changes = {k: v for k, v in vars(summary.counters).items() if isinstance(v, int) and not isinstance(v, bool) and v}
    return Answer(columns, rows, changes, float((summary.result_available_after or 0) + (summary.result_consumed_after or 0)))


def value_text(value: Any) -> str:
    """A value as the shell shows it: nodes as ``(:Label {…})``, relationships as ``[:TYPE {…}]``."""
    from neo4j.graph import Node, Path, Relationship

    if isinstance(value, Node):
        return f"({''.join(':' + label for label in sorted(value.labels))} {dict(value)})"
    if isinstance(value, Relationship):
        return f"[:{value.type} {dict(value)}]"
    if isinstance(value, Path):
        steps = zip(value.relationships, value.nodes, value.nodes[1:], strict=False)
        return value_text(value.nodes[0]) + "".join(_step_text(edge, before) + value_text(after) for edge, before, after in steps)
    return value if isinstance(value, str) else repr(value)


def _step_text(edge: Relationship, before: Node) -> str:
    forward = edge.start_node == before
    return f"-{value_text(edge)}->" if forward else f"<-{value_text(edge)}-"
