"""The Run node: claiming it, keeping its lease, setting its status. One process writes a run at a time."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingest.connection import Database, Row, Transaction
from ingest.digest import VERSION
from ingest.errors import IngestError, LeaseHeld, LeaseLost

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which a lease may be taken over.
LEASE_SECONDS = 60

#: Whether a node ``r`` with the label Run is one of this program's; others keep nodes of that label, too.
IS_RUN = "r.n IS NOT NULL AND r.status IN ['loading', 'ready', 'failed', 'dropped']"


def short_id(run: str) -> str:
    """The beginning of a run's id, as it stands on edges beside the run's number."""
    return run[:8]


@dataclass(frozen=True)
class Claim:
    """What claiming a run gave.

    Attributes:
        n: Number of the run.
        owner: This process, as written on the Run node.
        before: Status the run had before: ``new``, ``loading``, ``failed``, ``dropped`` or ``ready`` (then nothing was claimed).
        same_version: Whether what is there of it was written as this version writes it.
    """

    id: str
    n: int
    owner: str
    before: str
    same_version: bool = True


def exists(database: Database, run_id: str) -> bool:
    """Whether the run was loaded, or begun, before, and not dropped since."""
    return bool(database.read("MATCH (r:Run {id: $id}) WHERE r.status <> 'dropped' RETURN r.n AS n", id=run_id))


def claim(database: Database, run_id: str, properties: Row) -> Claim:
    """Create the Run node or take it over, with status ``loading``; a ready run is left as it is.

    Raises:
        LeaseHeld: If another process is loading it and gave a sign of life in the last :data:`LEASE_SECONDS` seconds.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    return database.write(lambda tx: _claim(tx, run_id, owner, properties))


def _claim(tx: Transaction, run_id: str, owner: str, properties: Row) -> Claim:
    # Writing before reading takes the locks: two claims wait for each other, and for a load that is just being finished.
    # A run that came in by the bulk path counts although no number was asked for it.
    tx.run(
        "MATCH (v:SchemaVersion {n: 1}) SET v.runs = coalesce(v.runs, 0) WITH v OPTIONAL MATCH (r:Run) WITH v, max(r.n) AS highest "
        "WHERE highest > v.runs SET v.runs = highest"
    )
    tx.run("MATCH (r:Run {id: $id}) SET r.n = r.n", id=run_id)
    found = tx.run(
        "MATCH (r:Run {id: $id}) RETURN r.n AS n, r.status AS status, r.lease_owner AS owner, r.lease_since AS since, "
        "timestamp() - r.lease_at AS silent, r.digest_version AS version",
        id=run_id,
    )
    before = found[0]["status"] if found else "new"
    if before == "ready":
        return Claim(run_id, found[0]["n"], owner, before)
    if before == "loading" and found[0]["owner"] != owner:  # else the answer to this very claim was lost
        _refuse_if_held(run_id, found[0])
    number = found[0]["n"] if found else tx.run("MATCH (v:SchemaVersion {n: 1}) SET v.runs = v.runs + 1 RETURN v.runs AS n")[0]["n"]
    tx.run(
        "MERGE (r:Run {id: $id}) ON CREATE SET r.n = $n, r.created = timestamp() "
        "SET r += $properties, r.status = 'loading', r.lease_owner = $owner, r.lease_since = timestamp(), r.lease_at = timestamp(), "
        "r.digest_version = $version REMOVE r.error, r.finished, r.digest, r.decoders, r.families",
        id=run_id,
        n=number,
        owner=owner,
        properties=properties,
        version=VERSION,
    )
    return Claim(run_id, number, owner, before, not found or found[0]["version"] == VERSION)


def _refuse_if_held(run_id: str, row: Row) -> None:
    silent = (row["silent"] or 0) / 1000
    if row["owner"] is None:
        return
    since = datetime.fromtimestamp(row["since"] / 1000, UTC).isoformat(timespec="seconds")
    if silent < LEASE_SECONDS:
        raise LeaseHeld(
            f"run {run_id} is being loaded by {row['owner']} since {since} (last sign of life {silent:.0f} s ago); wait for it, "
            f"or end that process and try again {LEASE_SECONDS} s after its last sign"
        )
    logger.warning("run %s: taking over from %s, silent for %.0f s", run_id, row["owner"], silent)


def hold(tx: Transaction, lease: Claim) -> None:
    """Renew the lease inside a transaction that writes; every write of a run goes through this.

    Raises:
        LeaseLost: If the run was taken over.
    """
    query = "MATCH (r:Run {id: $id}) WHERE r.lease_owner = $owner AND r.status = 'loading' SET r.lease_at = timestamp() RETURN r.n AS n"
    if not tx.run(query, id=lease.id, owner=lease.owner):
        raise LeaseLost(f"run {lease.id}: another process took it over; nothing was lost, see which one loads it and let it finish")


def is_ready(tx: Transaction, lease: Claim) -> bool:
    """Whether the run is ready and nobody loads it."""
    found = tx.run("MATCH (r:Run {id: $id}) RETURN r.status AS status", id=lease.id)
    return bool(found) and found[0]["status"] == "ready"


def set_failed(database: Database, lease: Claim, reason: str) -> None:
    """Give the lease back with the reason; what was loaded stays, and the next try goes on from there."""
    database.write(
        lambda tx: tx.run(
            "MATCH (r:Run {id: $id}) WHERE r.lease_owner = $owner SET r.status = 'failed', r.error = $reason "
            "REMOVE r.lease_owner, r.lease_since, r.lease_at",
            id=lease.id,
            owner=lease.owner,
            reason=reason[:500],
        )
    )


def set_ready(tx: Transaction, lease: Claim, nodes: int, edges: int, digest: str) -> None:
    """Make the run visible to queries."""
    tx.run(
        "MATCH (r:Run {id: $id}) SET r.status = 'ready', r.nodes = $nodes, r.edges = $edges, r.digest = $digest, "
        "r.finished = timestamp() "
        "REMOVE r.lease_owner, r.lease_since, r.lease_at",
        id=lease.id,
        nodes=nodes,
        edges=edges,
        digest=digest,
    )


def find_run(database: Database, run: str) -> dict[str, Any]:
    """Properties of a run, by its id, the beginning of it, or its name; where several are meant, by the one that is not dropped.

    Raises:
        IngestError: If there is none, or more than one.
    """
    known = [row["run"] for row in database.read(f"MATCH (r:Run) WHERE {IS_RUN} RETURN properties(r) AS run ORDER BY r.n")]
    meant = [one for one in known if run and (one["id"].startswith(run) or one.get("name") == run)]
    meant = [one for one in meant if one["id"] == run] or meant
    there = [one for one in meant if one["status"] != "dropped"]
    found = there or meant
    if len(found) == 1:
        return dict(found[0])
    if not found:
        raise IngestError(f"run: got {run!r}, no run begins or is called like this; there are {_listed(known) or 'none'}")
    raise IngestError(f"run: got {run!r}, which means {len(found)} runs: {_listed(found)}; give more of the id")


def _listed(runs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['id']} ({one['name']})" if one.get("name") else str(one["id"]) for one in runs)
