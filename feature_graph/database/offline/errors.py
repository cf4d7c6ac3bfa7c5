"""What can go wrong offline; every message says what to do."""

from __future__ import annotations

from feature_graph.database.server import ServerError


class StoppedDatabaseError(ServerError):
    """The database cannot be filled, dumped or loaded; it is unchanged."""


class BulkRefused(StoppedDatabaseError):
    """A condition of the bulk path does not hold; nothing was touched."""


class DumpError(StoppedDatabaseError):
    """A dump cannot be written or read."""
