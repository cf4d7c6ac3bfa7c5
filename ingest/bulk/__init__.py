"""Bulk loading: a run as files for ``neo4j-admin database import full``, for a database that is empty."""

from ingest.bulk.command import import_arguments
from ingest.bulk.files import RUN_NUMBER, ImportFiles, import_bytes, write_import_files
from ingest.bulk.script import write_script

__all__ = ["RUN_NUMBER", "ImportFiles", "import_arguments", "import_bytes", "write_import_files", "write_script"]
