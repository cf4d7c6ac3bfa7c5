"""The copy families of a run in the graph: (:Feature)-[:MEMBER_OF]->(:Family).

They follow from the run's edges (:mod:`ingest.families`) and are no part of its id, ledger or digest, so they are added to a ready run,
also to one that an earlier version loaded; :func:`write` can be killed and called again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.connection import Database, Transaction
from ingest.families import FAMILY_COLUMNS, CopyFamily, families_of, is_copy
from ingest.formats import INTERACTIONS
from ingest.reading import TableFile
from ingest.rundir import RunDirectory
from ingest.runs import short_id
from ingest.validate import Validated

_READ = ("src_fid", "tgt_fid", "method", "span", "mean_strength", "copy_strength")
_READ_ROWS, _AT_ONCE = 50_000, 500

# The lock on the run: dropping it waits until they are there, and then deletes them, too.
_WRITE = (
    "MATCH (r:Run {n: $n, status: 'ready'}) SET r.n = r.n WITH r UNWIND $rows AS row "
    "MERGE (x:Family {uid: row.uid}) SET x += row.values, x.run = $n, x.run_id = $run_id "
    "WITH x, row UNWIND range(0, size(row.members) - 1) AS place "
    "MATCH (o:Observation {run: $n, id: row.members[place]})-[:OF]->(f:Feature) "
    "MERGE (f)-[m:MEMBER_OF]->(x) SET m.run = $n, m.place = place, m.id = o.id"
)
_STORED = (
    "MATCH (x:Family) WHERE x.run = $n AND x.uid STARTS WITH toString($n) + '/' "
    "RETURN x.uid AS uid, x {.id, .method, .first_layer, .last_layer, .lifetime, .size, .copy_share} AS values, "
    "COLLECT { MATCH (f:Feature)-[m:MEMBER_OF]->(x) RETURN m.id ORDER BY m.place } AS members"
)

Row = dict[str, Any]


def families_by_method(run: RunDirectory, seen: Validated) -> dict[str, list[CopyFamily]]:
    """The families among the edges of a run that are loaded, by method."""
    copies = _copies(run, seen)
    for end in ("src", "tgt"):
        for name in ("id", "layer"):
            copies[f"{end}_{name}"] = seen.features[name].to_numpy()[copies[f"{end}_fid"].to_numpy(np.int64)]
    return {str(method): families_of(part[list(FAMILY_COLUMNS)]) for method, part in copies.groupby("method")}


def _copies(run: RunDirectory, seen: Validated) -> pd.DataFrame:
    """Rows of interactions.parquet that are loaded and are copies: the columns that are needed of them."""
    found: list[pd.DataFrame] = []
    with TableFile(run.interactions, INTERACTIONS) as file:
        for group in range(file.groups):
            kept, start = seen.layout.mask.group(group), 0
            for batch in file.batches(_READ, group, _READ_ROWS):
                total, copy = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("mean_strength", "copy_strength"))
                chosen = kept[start : start + len(batch)] & is_copy(total, copy)
                start += len(batch)
                found.append(batch.filter(pa.array(chosen)).to_pandas())
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(_READ))


def rows(run: RunDirectory, seen: Validated, n: int) -> dict[str, Row]:
    """Key → ``values`` and ``members`` of every family that run number ``n`` has in the graph."""
    return {
        f"{n}/{method}/{family.id}": {
            "values": {
                "id": family.id,
                "method": method,
                "first_layer": family.first_layer,
                "last_layer": family.last_layer,
                "lifetime": family.lifetime,
                "size": len(family.members),
                "copy_share": family.copy_share,
            },
            "members": list(family.members),
        }
        for method, families in families_by_method(run, seen).items()
        for family in families
    }


def stored(database: Database, n: int) -> dict[str, Row]:
    """The same of a run in the database."""
    return {row["uid"]: {"values": row["values"], "members": row["members"]} for row in database.read(_STORED, n=n)}


def write(database: Database, run: RunDirectory, n: int, seen: Validated) -> int:
    """Store the families of a ready run, then note on it how many there are; nothing is done if that is noted already.

    Returns:
        Families written.
    """
    if database.read("MATCH (r:Run {n: $n}) RETURN r.families AS families", n=n)[0]["families"] is not None:
        return 0
    wanted = [{"uid": uid, **row} for uid, row in rows(run, seen, n).items()]
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        database.write(partial(_write, rows=part, n=n, run_id=short_id(run.id)))
    database.write(lambda tx: tx.run("MATCH (r:Run {n: $n, status: 'ready'}) SET r.families = $count", n=n, count=len(wanted)))
    return len(wanted)


def _write(tx: Transaction, rows: list[Row], n: int, run_id: str) -> None:
    tx.run(_WRITE, rows=rows, n=n, run_id=run_id)
