"""Features and what a run observed of them: written in blocks, as edges are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ingest import digest, displayed, provenance
from ingest.connection import Database, Transaction
from ingest.feature_ids import site_of_feature
from ingest.rows import DISPLAYED, OBSERVATION_PROPERTIES, observation_rows
from ingest.rundir import BLOCK_ROWS, RunDirectory
from ingest.writers import Ledger, Progress, commit

_READ_ROWS = 10_000
#: Features that a statement takes at a time.
_AT_ONCE = 200
_VALUES = ", ".join(f"{name}: row.seen[{i + 1}]" for i, name in enumerate(OBSERVATION_PROPERTIES))
_SHOWN = ", ".join(f"f.{name} = row.seen[{OBSERVATION_PROPERTIES.index(name) + 1}]" for name in DISPLAYED)
_CREATE = (
    f"UNWIND $rows AS row {provenance.MERGE_FEATURE} "
    "FOREACH (_ IN CASE WHEN row.label <> '' AND f.brought_by IS NOT NULL AND $n >= coalesce(f.label_run, 0) THEN [1] ELSE [] END | "
    "SET f.label = row.label, f.label_run = $n) "
    f"FOREACH (_ IN CASE WHEN f.brought_by IS NOT NULL AND $n >= coalesce(f.scores_run, 0) THEN [1] ELSE [] END | {displayed.CLEAR} "
    f"SET {_SHOWN}, f.scores_run = $n) "
    f"CREATE (o:Observation {{key: toString($n) + '/' + f.uid, run: $n, {_VALUES}}})-[:OF]->(f) RETURN count(*) AS written"
)
_READ = (
    "MATCH (o:Observation)-[:OF]->(f:Feature) WHERE o.run = $n AND o.layer IS NOT NULL "
    f"RETURN [f.uid, {', '.join(f'o.{name}' for name in OBSERVATION_PROPERTIES)}] AS row"
)


def write(database: Database, run: RunDirectory, features: pd.DataFrame, ledger: Ledger, progress: Progress) -> None:
    """Write the blocks of features.parquet that the ledger does not have yet, one a transaction."""
    sites = {site.name: site for site in provenance.run_sites(run, features)}
    progress("features", 0, len(features))
    for number, start in enumerate(range(0, len(features), BLOCK_ROWS)):
        part = features.iloc[start : start + BLOCK_ROWS]
        if not ledger.has(number):
            commit(database, ledger, _CREATE, {str(number): len(part)}, list(_rows(part, sites)), _AT_ONCE)
        progress("features", start + len(part), len(features))


def _rows(part: pd.DataFrame, sites: dict[str, provenance.RunSite]) -> Iterator[dict[str, Any]]:
    for record, seen in zip(part.to_dict("records"), observation_rows(part), strict=True):
        yield {"feature": sites[site_of_feature(record["id"])].feature(record), "label": record["label"], "seen": seen}


def read(tx: Transaction, n: int) -> tuple[int, int]:
    """How many features run number ``n`` observed, and the digest of what it saw."""
    count = total = 0
    for rows in chunks(tx.stream(_READ, n=n), _READ_ROWS):
        count, total = count + len(rows), digest.add(total, digest.of_rows(rows))
    return count, total


def chunks(records: Iterator[dict[str, Any]], size: int) -> Iterator[list[list[Any]]]:
    """The rows of a stream of records, so many at a time."""
    rows: list[list[Any]] = []
    for record in records:
        rows.append(record["row"])
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows
