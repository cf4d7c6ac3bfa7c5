"""The base of what can go wrong with Neo4j, whether it is the embedded server or another."""

from __future__ import annotations

from typing import ClassVar


class GraphDatabaseError(RuntimeError):
    """A database, or its server, that cannot do what was asked; the message says what to do."""

    exit_code: ClassVar[int] = 1
