"""Which run is meant: by its id, the beginning of it, or its name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from queries.connection import Read, reader
from queries.errors import OldSchema, ParameterError, QueryError

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

LOOKUP_SECONDS = 30.0
#: Version of the schema whose properties the questions name.
SCHEMA = 7
#: Whether the database has that schema, in Cypher.
CURRENT = f"EXISTS {{ MATCH (v:SchemaVersion) WHERE v.n >= {SCHEMA} AND v.checksum IS NOT NULL }}"
# Other programs may keep nodes called Run; ours have a number and one of these statuses.
_RUNS = (
    "MATCH (r:Run) WHERE r.n IS NOT NULL AND r.status IN ['loading', 'ready', 'failed', 'dropped'] "
    "AND ($run = '' OR r.id STARTS WITH $run OR r.name = $run) "
    "RETURN r.id AS id, r.n AS n, r.name AS name, r.status AS status, r.methods AS methods, r.decoders AS decoders, "
    f"{CURRENT} AS current ORDER BY r.n DESC"
)


def find_run(connection: neo4j.Driver | py2neo.Graph, run: str | None = None, *, database: str | None = None) -> str:
    """Id of a ready run, from its id, the beginning of it, or its name; the newest ready run if not given.

    Raises:
        ParameterError: If no ready run, or more than one, is called or begins like this.
        QueryError: If there is no ready run at all.
    """
    return str(which_run(reader(connection, database), "run", run)["id"])


def which_run(read: Read, name: str, wanted: str | None, any_status: bool = False) -> dict[str, Any]:
    """``id``, ``n``, ``name``, ``status``, ``methods`` and ``decoders`` of the run that is meant.

    Args:
        read: Reads from the database.
        name: What the parameter is called in a message.
        wanted: Id, beginning of an id, or name; the newest ready run if None.
        any_status: Also take a run that is not ready, with a warning.

    Raises:
        ParameterError: If no ready run, or more than one, is called or begins like this.
        QueryError: If there is no ready run at all.
        OldSchema: If the database's schema is of an earlier version.
    """
    rows = read(_RUNS, {"run": wanted or ""}, LOOKUP_SECONDS).records
    require_current(rows)
    ready = [row for row in rows if row["status"] == "ready"]
    if wanted is None:
        if not ready:
            raise QueryError("there is no ready run in this database; load one with `feature-graph ingest RUN_DIR`")
        logger.info("run: %s, the newest that is ready", ready[0]["id"])
        return ready[0]
    meant = rows if any_status else ready
    meant = [row for row in meant if row["id"] == wanted] or meant
    if len(meant) > 1:
        raise ParameterError(f"{name}: {wanted!r} means {len(meant)} runs: {_listed(meant)}; give more of the id")
    if meant:
        if meant[0]["status"] != "ready":
            logger.warning("%s: run %s is %s; what it holds is not whole", name, meant[0]["id"], meant[0]["status"])
        return meant[0]
    if rows:
        raise ParameterError(
            f"{name}: run {rows[0]['id']} is {rows[0]['status']}, not ready; ingest its directory again to finish it, "
            "or ask what there is of it: `feature-graph query NAME --any-status`, any_status=True in Python"
        )
    known = [row for row in read(_RUNS, {"run": ""}, LOOKUP_SECONDS).records if row["status"] == "ready"]
    raise ParameterError(f"{name}: got {wanted!r}; the ready runs are {_listed(known) or 'none'}")


def require_current(rows: list[dict[str, Any]]) -> None:
    """Refuse runs of a database whose schema is of an earlier version: questions would find nothing in them.

    Raises:
        OldSchema: If it is.
    """
    if rows and not rows[0]["current"]:
        raise OldSchema(
            f"the database has a schema older than version {SCHEMA}, which these questions need: bring it up to date with "
            "`feature-graph db migrate` (the next `feature-graph ingest` does it, too)"
        )


def _listed(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['id']} ({row['name']})" if row["name"] else row["id"] for row in rows)
