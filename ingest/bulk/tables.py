"""From the columns of a run's files to the columns of the importer: Arrow tables in, Arrow tables out, no loop over rows.

A column's heading says its property and its type, as ``neo4j-admin database import`` reads it; ``:ID``, ``:START_ID``, ``:END_ID`` and
``:LABEL`` are its own. Values are the ones that the online path writes (:mod:`ingest.rows`); a null is an absent property.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingest.digest import VERSION
from ingest.feature_ids import site_of_feature
from ingest.provenance import run_sites
from ingest.rows import DISPLAYED, EDGE_COLUMNS, OBSERVATION_PROPERTIES
from ingest.rundir import RunDirectory
from ingest.runs import short_id
from ingest.schema import NODES, RELATIONSHIPS
from ingest.strength import derived_columns

_TYPES = {"STRING": "string", "INTEGER": "long", "FLOAT": "double", "BOOLEAN": "boolean"}
_NODES = {node.label: {p.name: p.type for p in node.properties} for node in NODES}
_AFFECTS = next({p.name: p.type for p in r.properties} for r in RELATIONSHIPS if r.type == "AFFECTS")

ID, START, END, LABEL = ":ID({})", ":START_ID({})", ":END_ID({})", ":LABEL"


def feature_table(run: RunDirectory, features: pd.DataFrame, n: int) -> pa.Table:
    """Feature nodes, by fid; display label and values are this run's. In addition to ``Feature``, each carries the label of its layer."""
    sites = {site.name: site for site in run_sites(run, features)}
    rows = [sites[site_of_feature(row["id"])].feature(row) for row in features.to_dict("records")]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    labels = features["label"].tolist()
    columns["label"] = [label or None for label in labels]
    columns["label_run"] = [n if label else None for label in labels]
    columns["brought_by"] = np.full(len(features), n)
    columns |= {name: pa.Array.from_pandas(features[name]) for name in DISPLAYED} | {"scores_run": np.full(len(features), n)}
    own = {ID.format("Feature"): features["fid"].to_numpy(), LABEL: [f"Layer{layer}" for layer in features["layer"]]}
    return _with_headings(own, columns, _NODES["Feature"])


def observation_table(features: pd.DataFrame, n: int) -> pa.Table:
    """Observation nodes, by fid."""
    columns: dict[str, Any] = {"key": [f"{n}/{uid}" for uid in features["uid"]], "run": np.full(len(features), n)}
    columns |= {name: pa.Array.from_pandas(features[name]) for name in OBSERVATION_PROPERTIES}
    return _with_headings({ID.format("Observation"): features["fid"].to_numpy()}, columns, _NODES["Observation"])


def of_table(features: pd.DataFrame) -> pa.Table:
    """OF relationships: each observation to its feature."""
    fid = features["fid"].to_numpy()
    return pa.table({START.format("Observation"): fid, END.format("Feature"): fid})


def edge_table(rows: pa.Table, run: str, n: int) -> pa.Table:
    """AFFECTS relationships of a run from rows of interactions.parquet."""
    columns: dict[str, Any] = {"run": pa.array(np.full(len(rows), n)), "run_id": pa.array([short_id(run)] * len(rows), pa.string())}
    columns |= {name: rows[column] for name, column in EDGE_COLUMNS.items()} | derived_columns(rows)
    ends = {START.format("Feature"): rows["src_fid"], END.format("Feature"): rows["tgt_fid"]}
    return _with_headings(ends, columns, _AFFECTS)


def ledger_table(blocks: list[tuple[str, int]], n: int) -> pa.Table:
    """IngestBatch nodes from (key, rows) of every block."""
    columns = {"key": [key for key, _ in blocks], "run": np.full(len(blocks), n), "rows": [rows for _, rows in blocks]}
    return _with_headings({}, columns, _NODES["IngestBatch"])


def run_table(run_id: str, n: int, created: int, note: str) -> pa.Table:
    """The Run node: not ready, as after a load that was cut off, so that the online path finishes it."""
    columns = {"id": [run_id], "n": [n], "status": ["failed"], "created": [created], "error": [note], "digest_version": [VERSION]}
    return _with_headings({}, columns, _NODES["Run"])


def property_count(table: pa.Table) -> int:
    """Properties that the importer will store: values that are not null, outside its own columns."""
    return sum(len(table) - table[name].null_count for name in table.column_names if not name.startswith(":"))


def _with_headings(own: dict[str, Any], columns: dict[str, Any], types: dict[str, Any]) -> pa.Table:
    named = {f"{name}:{_TYPES[types[name]]}": _plain(values, _TYPES[types[name]]) for name, values in columns.items()}
    return pa.table(own | named)


def _plain(values: Any, kind: str) -> pa.Array | pa.ChunkedArray:
    """Values in their type; a NaN is not a value."""
    wanted = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}[kind]
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
    array = array.cast(wanted)
    if kind != "double":
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
