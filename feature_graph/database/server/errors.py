"""What can go wrong with the embedded server; every message says what to do."""

from __future__ import annotations

from feature_graph.database.errors import GraphDatabaseError


class ServerError(GraphDatabaseError):
    """The embedded Neo4j cannot do what was asked."""


class JarsUnavailable(ServerError):
    """The jars of the server are not in the cache and could not be fetched."""


class HomeError(ServerError):
    """The database home cannot be used: not ours, not writable, damaged, or its disk too full."""


class StartFailed(ServerError):
    """The server process ended, or gave no answer in time; the message carries the end of its log."""


class PortTaken(StartFailed):
    """Another program took a port of the server while it was starting."""


class NotRunning(ServerError):
    """Something needs a running server, and this home has none."""
