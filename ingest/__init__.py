"""Write a finished run into Neo4j: file formats, graph schema, loading, cleaning up."""

from ingest.casting import FormatError
from ingest.connection import DriverDatabase, Py2neoDatabase
from ingest.drop import DropReport, drop_run
from ingest.errors import (
    AddressRefused,
    IngestError,
    IngestMismatch,
    InvalidRun,
    LeaseHeld,
    LeaseLost,
    NoRoom,
    PasswordUnavailable,
    SchemaMismatch,
    ServerMemory,
    UnsupportedServer,
)
from ingest.frames import from_frames
from ingest.load import IngestReport, Options, edge_digest, ingest_run
from ingest.rundir import run_id
from ingest.selection import Selection
from ingest.verify import Check, VerifyReport, verify_run

__all__ = [
    "AddressRefused",
    "Check",
    "DriverDatabase",
    "DropReport",
    "FormatError",
    "IngestError",
    "IngestMismatch",
    "IngestReport",
    "InvalidRun",
    "LeaseHeld",
    "LeaseLost",
    "NoRoom",
    "Options",
    "PasswordUnavailable",
    "Py2neoDatabase",
    "SchemaMismatch",
    "Selection",
    "ServerMemory",
    "UnsupportedServer",
    "VerifyReport",
    "drop_run",
    "edge_digest",
    "from_frames",
    "ingest_run",
    "run_id",
    "verify_run",
]
