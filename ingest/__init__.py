"""Write a finished run into Neo4j: file formats, graph schema, loading, cleaning up.

Public modules in addition to this face:

- ``feature_ids``: the one reader and the one writer of ids such as ``L5_F12`` and ``L5.mlp_F12``
- ``site_kinds``: the kinds of sites, what ids call them, and the order in which they read and write; ``sites``: those of a run
- ``formats``: every Parquet file's columns, types, versions and meaning; ``measures``: those of further measures of chosen edges
- ``schema``: the graph's nodes, relationships and properties; ``migrations``: its numbered changes
- ``strength``: an edge's strength and sign, whether it is structural or takes from a copy; ``families``: features that are copies
- ``rundir``: a run directory and which run it is; ``graphml``: GraphML as a stream
- ``frames``: your own edges as a run directory; ``attribution_graphs``: those of circuit-tracer and Neuronpedia
- ``connection``: one interface over both drivers; ``environment``, ``address`` and ``password``: where the server is, and how to log in
- ``bulk``: a run as files for Neo4j's importer
"""

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
    NotEnoughDisk,
    PasswordUnavailable,
    SchemaMismatch,
    ServerMemory,
    UnsupportedServer,
)
from ingest.frames import from_frames
from ingest.load import ingest_run
from ingest.messages import explain
from ingest.reading import TableFile
from ingest.report import IngestReport, Options
from ingest.rundir import run_id
from ingest.runs import IS_RUN
from ingest.selection import Selection
from ingest.text import counted, visible
from ingest.validate import Validated, validate
from ingest.verify import Check, VerifyReport, verify_run
from ingest.versions import check_version

__all__ = [
    "IS_RUN",
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
    "NotEnoughDisk",
    "Options",
    "PasswordUnavailable",
    "Py2neoDatabase",
    "SchemaMismatch",
    "Selection",
    "ServerMemory",
    "TableFile",
    "UnsupportedServer",
    "Validated",
    "VerifyReport",
    "check_version",
    "counted",
    "drop_run",
    "explain",
    "from_frames",
    "ingest_run",
    "run_id",
    "validate",
    "verify_run",
    "visible",
]
