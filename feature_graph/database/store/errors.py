"""What can go wrong with the database; every message says what to do."""

from __future__ import annotations

from typing import ClassVar

from feature_graph.database.errors import GraphDatabaseError


class StoreError(GraphDatabaseError):
    """The database cannot do what was asked."""


class NotReachable(StoreError):
    """Nothing answers at the address."""


class LoginRefused(StoreError):
    """The database refused the user or the password."""


class AddressError(StoreError):
    """The address given is none, carries a password, or names a database that holds no graph."""

    exit_code: ClassVar[int] = 2


class NotEncrypted(AddressError):
    """A password would cross a network in the clear."""


class GdsUnavailable(StoreError):
    """The server does not have the Graph Data Science library."""


class NotEnoughMemory(StoreError):
    """The server's heap would not hold what was asked."""
