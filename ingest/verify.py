"""The database against a run's files: does it hold exactly this result, once, and is it consistent?"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import behaviors, digest, displayed, family_nodes, vectors
from ingest.blocks import edge_blocks
from ingest.connection import Database, Row, as_database
from ingest.indexes import missing_constraints, missing_indexes
from ingest.migrations import history
from ingest.rows import DISPLAYED, EDGE_FILE_COLUMNS
from ingest.rundir import RunDirectory, open_run
from ingest.runs import short_id
from ingest.selection import Selection
from ingest.stored import stored
from ingest.validate import Validated, validate

if TYPE_CHECKING:
    import neo4j
    import py2neo

# Of this run, or of none: what other runs and other programs keep in the database is no fault of this one.
_ORPHANS = {
    "features that nothing refers to": "MATCH (f:Feature) WHERE f.brought_by = $n AND NOT EXISTS { (f)--() } RETURN count(f) AS n",
    "observations without their feature": (
        "MATCH (o:Observation) WHERE o.run = $n AND o.key STARTS WITH toString($n) + '/' "
        "AND COUNT { (o)-[:OF]->(:Feature) } <> 1 RETURN count(o) AS n"
    ),
}
_NO_RUN = (
    "MATCH (r:Run) WITH collect(r.n) AS known MATCH ()-[e:AFFECTS]->() "
    "WHERE NOT e.run IN known AND e.method IS NOT NULL AND e.span IS NOT NULL AND e.by IS NOT NULL RETURN count(e) AS n"
)
_TWICE = (
    "MATCH (s)-[e:AFFECTS]->(t) WHERE e.run = $n AND e.method IS NOT NULL "
    "WITH s, t, e.method AS method, count(*) - 1 AS more RETURN coalesce(sum(more), 0) AS n"
)
_OTHER_ID = "MATCH ()-[e:AFFECTS]->() WHERE e.run = $n AND e.method IS NOT NULL AND coalesce(e.run_id, '') <> $run_id RETURN count(e) AS n"
_FIND = (
    "MATCH (r:Run) WHERE (r.id = $id OR r.whole = $id) "
    "RETURN r.id AS id, r.n AS n, r.status AS status, r.selection AS selection, r.rejected AS rejected, "
    "r.digest AS digest, r.digest_version AS version "
    "ORDER BY r.id <> $id, r.n"
)


#: Version of a digest, and which added properties take part.
_DigestKind = tuple[int, tuple[str, ...]]


@dataclass(frozen=True)
class Check:
    """One comparison: what it is called, what the database holds, what it should hold."""

    name: str
    found: Any
    expected: Any

    @property
    def ok(self) -> bool:
        """Whether they are the same."""
        return bool(self.found == self.expected)


@dataclass(frozen=True)
class VerifyReport:
    """What was compared.

    Attributes:
        run: Id of the run that the files make.
        checks: Every comparison.
    """

    run: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return all(check.ok for check in self.checks)


def verify_run(connection: neo4j.Driver | py2neo.Graph | Database, run_dir: str | Path) -> VerifyReport:
    """Compare the database with the files of a run: counts, the digest over every property, constraints, orphans. Nothing is written.

    Where parts of the run were loaded (``--limit`` and the like), each of them is compared with what its selection takes from the files.

    Args:
        connection: An open driver or a py2neo graph.
        run_dir: The run directory.

    Raises:
        InvalidRun: If a file is missing or wrong.
        SchemaMismatch: If the database was made by a newer or an altered program.
    """
    database, run = as_database(connection), open_run(run_dir)
    pending = [step.migration.n for step in history(database) if step.applied is None]
    found = database.read(_FIND, id=run.id)
    if found and pending:
        return VerifyReport(run.id, (Check("migrations still to be applied (`feature-graph db migrate`)", pending, []),))
    if not found:
        validate(run)
        return VerifyReport(run.id, (Check("run", "not in the database", "ready"),))
    checks: list[Check] = []
    for row in found:
        selection = Selection.noted(json.loads(row["selection"] or "{}"))
        part = _of_run(database, open_run(run_dir, selection), row)
        checks += part if len(found) == 1 else [replace(check, name=f"{row['id']}: {check.name}") for check in part]
    checks += [
        Check("constraints missing", missing_constraints(database), []),
        Check("indexes missing or not online", missing_indexes(database), []),
        Check("edges of no run", database.read(_NO_RUN)[0]["n"], 0),
    ]
    return VerifyReport(found[0]["id"], tuple(checks))


def _of_run(database: Database, run: RunDirectory, row: Row) -> list[Check]:
    """Comparisons of one run, whole or a part of it."""
    seen = validate(run, "skip" if row["rejected"] else "refuse")
    n = int(row["n"])
    got = stored(database, n)
    wanted = behaviors.counts(behaviors.read(run, seen.features))
    return [
        Check("run", row["status"], "ready"),
        Check("features observed", got.nodes, len(seen.features)),
        Check("edges", got.edges, seen.edges),
        *_digests(run, seen, got.digest, row),
        Check("edges with the id of another run", database.read(_OTHER_ID, n=n, run_id=short_id(row["id"]))[0]["n"], 0),
        *(Check(name, number, wanted[name]) for name, number in behaviors.stored(database, n).items()),
        *_decoders(database, run, seen, n),
        *_families(database, run, seen, n),
        Check("edges that are there twice", database.read(_TWICE, n=n)[0]["n"], 0),
        *(Check(name, database.read(query, n=n)[0]["n"], 0) for name, query in _ORPHANS.items()),
        Check("features that do not show what it saw", database.read(displayed.WRONG, n=n, names=list(DISPLAYED))[0]["n"], 0),
    ]


def _decoders(database: Database, run: RunDirectory, seen: Validated, n: int) -> list[Check]:
    wanted = vectors.read(run, seen.features)
    if wanted is None:
        return []
    noted = database.read("MATCH (r:Run {n: $n}) RETURN r.decoders AS decoders", n=n)[0]["decoders"]
    return [
        Check("decoder vectors, as the run notes", noted, wanted.count),
        Check("decoder vectors equal to the file's", vectors.matching(database, run, wanted), wanted.count),
    ]


def _families(database: Database, run: RunDirectory, seen: Validated, n: int) -> list[Check]:
    """Copy families; none of a run that an earlier version loaded, until it is loaded again."""
    noted = database.read("MATCH (r:Run {n: $n}) RETURN r.families AS families", n=n)[0]["families"]
    if noted is None:
        return []
    wanted, found = family_nodes.rows(run, seen, n), family_nodes.stored(database, n)
    return [
        Check("copy families, as the run notes", noted, len(wanted)),
        Check("copy families", len(found), len(wanted)),
        Check("copy families that differ from the files'", sum(found.get(uid) != row for uid, row in wanted.items()), 0),
    ]


def _digest_kinds(version: int) -> list[tuple[_DigestKind, _DigestKind]]:
    """What may have been noted when the run was loaded, and what its edges have now that the database was migrated.

    A run from before effects were standardised has none, which its noted digest tells.
    """
    whole, blocks = (digest.VERSION, digest.ADDED), "blocks"  # which the migration to schema version 8 adds to every edge
    if version == digest.VERSION:
        return [(whole, whole)]
    if version == 3:
        return [((3, digest.THIRD), whole)]
    now = (2, (*digest.SECOND, *digest.MIGRATED, blocks))
    if version == 2:
        return [((2, digest.SECOND), now)]
    return [((1, digest.FORMERLY), now), ((1, ()), (2, (*digest.UNSTANDARDISED, *digest.MIGRATED, blocks)))]


def _digests(run: RunDirectory, seen: Validated, found: int, row: Row) -> list[Check]:
    """What the database holds, and what was noted when the run was loaded, against the digests that the files make."""
    uids, observed = digest.words(seen.features["uid"].tolist()), digest.observations_of_table(seen.features)
    kinds = _digest_kinds(row["version"])
    sums = dict.fromkeys({kind for pair in kinds for kind in pair}, observed)
    for block in edge_blocks(run.interactions, seen.layout, EDGE_FILE_COLUMNS):
        sums = {kind: digest.add(one, digest.edges_of_table(block.table, uids, kind[1], kind[0])) for kind, one in sums.items()}
    told = [[digest.hex_of(sums[kind]) for kind in pair] for pair in kinds]
    noted, expected = next((pair for pair in told if pair[0] == row["digest"]), told[0])
    return [
        Check("digest of all properties", digest.hex_of(found), expected),
        Check("digest noted when it was loaded", row["digest"], noted),
    ]
