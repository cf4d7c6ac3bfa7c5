"""What can go wrong while a run is loaded; every message says what was got, what was expected and what to do."""

from __future__ import annotations

from typing import ClassVar


class IngestError(RuntimeError):
    """A run cannot be loaded."""

    exit_code: ClassVar[int] = 1


class InvalidRun(IngestError, ValueError):
    """The files of a run are not fit to be loaded. Raised before the first write.

    Attributes:
        problems: One line per problem: file, row, reason.
    """

    def __init__(self, root: str, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(f"{root} was not ingested, nothing was written:\n" + "\n".join(f"  {p}" for p in problems))


class LeaseHeld(IngestError):
    """Another process is loading the same run."""


class LeaseLost(IngestError):
    """This process stood still so long that another one took the run over."""


class IngestMismatch(IngestError):
    """What is in the database is not what the files hold."""


class SchemaMismatch(IngestError):
    """The database's schema is newer than this program, or its history was altered."""


class UnsupportedServer(IngestError):
    """The server is no Neo4j, or too old a one."""


class ServerMemory(IngestError):
    """The server has too little memory for a transaction."""


class NotEnoughDisk(IngestError):
    """The server's disk has too little space for the run."""


class AddressRefused(IngestError):
    """The address of a server is none, or carries a password. No message holds one."""

    exit_code: ClassVar[int] = 2


class PasswordUnavailable(IngestError):
    """The environment names a password in two ways, or a file that holds none."""


class SelectionError(IngestError, ValueError):
    """A part of a run was asked for with a number that makes no sense."""

    exit_code: ClassVar[int] = 2
