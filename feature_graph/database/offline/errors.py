"""What can go wrong offline; every message says what to do."""

from __future__ import annotations

from feature_graph.database.server import ServerError


class OfflineError(ServerError):
    """The database cannot be filled, dumped or loaded; it is what it was."""


class BulkRefused(OfflineError):
    """A condition of the bulk path does not hold; nothing was touched."""


class DumpError(OfflineError):
    """A dump cannot be written or read."""
