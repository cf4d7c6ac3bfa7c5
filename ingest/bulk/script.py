"""Import files and a shell script for a server that is not ours to stop: on another machine, or in Docker."""

from __future__ import annotations

import shlex
from pathlib import Path

from ingest.bulk.command import import_arguments
from ingest.bulk.files import RUN_NUMBER, ImportFiles, Progress, write_import_files
from ingest.migrations import migrations
from ingest.rundir import RunDirectory, open_run, sha256_file
from ingest.validate import validate

SCRIPT, AFTER, SUMS = "import.sh", "after.cypher", "SHA256SUMS"

_SCRIPT = """\
#!/bin/sh
# Import run {run} ({features} features, {edges} edges) into a Neo4j 5 server of your own.
#
# 1. Copy this folder to the machine of the server. The server must be stopped, and its database {database} must not exist yet: the
#    importer refuses one that does, and nothing here removes one. As the user that the server runs as:
#
#        sh {script}                          # neo4j-admin from PATH, or NEO4J_ADMIN=/path/to/neo4j-admin
#        sh {script} docker VOLUME [IMAGE]    # VOLUME: the volume or folder that is /data of the server; IMAGE: neo4j:5.26.30
#
# 2. Start the server.
#
# 3. From the machine that has the run directory:
#
#        NEO4J_PASSWORD=... feature-graph ingest RUN --uri neo4j+s://SERVER:7687
#
#    It finds every row in the ledger, makes constraints and indexes, writes what is small, compares counts and digest with the files of the
#    run, and sets the run ready: until then queries refuse it. {after} makes the constraints and indexes alone, and counts.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
case "${{1:-}}" in
"")
    folder=$here
    admin() {{ "${{NEO4J_ADMIN:-neo4j-admin}}" "$@"; }}
    ;;
docker)
    volume=${{2:?"give the volume or folder that is /data of the server"}}
    image=${{3:-neo4j:5.26.30}}
    folder=/feature-graph
    admin() {{ docker run --rm --volume "$volume:/data" --volume "$here:/feature-graph:ro" "$image" neo4j-admin "$@"; }}
    ;;
*)
    echo "got $1; expected nothing, or: docker VOLUME [IMAGE]" >&2
    exit 2
    ;;
esac
(cd "$here" && sha256sum --check --quiet {sums}) || {{ echo "a file was damaged on the way: copy the folder again" >&2; exit 1; }}
admin {arguments}
echo "Imported. Now steps 2 and 3 at the top of $0."
"""

_AFTER = """\
// After import.sh: constraints and indexes, then counts compared with what they should be. Run it with cypher-shell or in Neo4j Browser.
{schema}
CALL db.awaitIndexes(3600);
{counts}
"""
_COUNTS = """\
MATCH (x:Observation) WHERE x.run = {n} AND x.layer IS NOT NULL
RETURN 'features' AS what, count(x) AS found, {features} AS expected;
MATCH ()-[x:AFFECTS]->() WHERE x.run = {n} AND x.method IS NOT NULL
RETURN 'edges' AS what, count(x) AS found, {edges} AS expected;"""


def write_script(run_dir: str | Path, folder: str | Path, progress: Progress | None = None) -> Path:
    """Write import files, their checksums, the script and the Cypher for after; gives the script.

    Args:
        run_dir: The run directory, which is checked first.
        folder: An empty or a new folder.
        progress: As of :func:`ingest.bulk.write_import_files`.

    Raises:
        InvalidRun: If a file of the run is missing or wrong. Nothing was written.
        FileExistsError: If the folder holds files.
    """
    run, folder = open_run(run_dir), Path(folder)
    seen = validate(run)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(17, "not empty; expected an empty or a new folder", str(folder))
    files = write_import_files(run, seen, folder, progress)
    names = [name for _, name in (*files.nodes, *files.relationships)]
    (folder / SUMS).write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in names), encoding="utf-8")
    (folder / AFTER).write_text(_after(len(seen.features), seen.edges), encoding="utf-8")
    script = folder / SCRIPT
    script.write_text(_script(run, files, len(seen.features), seen.edges), encoding="utf-8")
    script.chmod(0o755)
    return script


def _script(run: RunDirectory, files: ImportFiles, features: int, edges: int) -> str:
    lines = [_quoted(argument) for argument in import_arguments(files, folder="$folder", report="/tmp/import.report")]
    return _SCRIPT.format(
        run=run.id,
        features=features,
        edges=edges,
        database="neo4j",
        script=SCRIPT,
        after=AFTER,
        sums=SUMS,
        arguments=" \\\n    ".join(lines),
    )


def _quoted(argument: str) -> str:
    """An argument as a shell reads it; ``$folder`` in it is filled in by the shell."""
    return f'"{argument}"' if "$folder" in argument else shlex.quote(argument)


def _after(features: int, edges: int) -> str:
    schema = "\n".join(f"{statement.rstrip(';')};" for migration in migrations() for statement in migration.statements)
    return _AFTER.format(schema=schema, counts=_COUNTS.format(n=RUN_NUMBER, features=features, edges=edges))
