"""The command line of the importer for a set of files."""

from __future__ import annotations

from ingest.bulk.files import ImportFiles


def import_arguments(files: ImportFiles, database: str = "neo4j", folder: str | None = None, report: str | None = None) -> list[str]:
    """Arguments of ``neo4j-admin`` that import ``files`` into a database that does not exist yet.

    Args:
        files: The files.
        database: Name of the database.
        folder: Where the server finds the files; where they were written, if not given.
        report: File for the importer's report of faults; next to the files, if not given.

    The first fault ends the import: nothing is skipped. ``--overwrite-destination`` is never given.
    """
    where = str(files.folder) if folder is None else folder
    multiline = [f"--multiline-fields={','.join(f'{where}/{name}' for name in files.multiline)}", "--multiline-fields-format=v2"]
    return [
        "database",
        "import",
        "full",
        database,
        "--input-type=csv",
        "--id-type=integer",
        "--bad-tolerance=0",
        "--max-off-heap-memory=50%",
        f"--report-file={report or where + '/import.report'}",
        *(multiline if files.multiline else []),
        *[f"--nodes={label}={where}/{name}" for label, name in files.nodes],
        *[f"--relationships={kind}={where}/{name}" for kind, name in files.relationships],
    ]
