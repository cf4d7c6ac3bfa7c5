"""Write a finished run into Neo4j: file formats, graph schema, loading, cleaning up."""

from ingest.connection import DriverDatabase, Py2neoDatabase
from ingest.drop import DropReport, drop_run
from ingest.errors import IngestError, IngestMismatch, InvalidRun, LeaseHeld, LeaseLost, SchemaMismatch, UnsupportedServer
from ingest.load import IngestReport, edge_digest, ingest_run
from ingest.rundir import run_id
from ingest.verify import Check, VerifyReport, verify_run

__all__ = [
    "Check",
    "DriverDatabase",
    "DropReport",
    "IngestError",
    "IngestMismatch",
    "IngestReport",
    "InvalidRun",
    "LeaseHeld",
    "LeaseLost",
    "Py2neoDatabase",
    "SchemaMismatch",
    "UnsupportedServer",
    "VerifyReport",
    "drop_run",
    "edge_digest",
    "ingest_run",
    "run_id",
    "verify_run",
]
