"""The digest of a run: a sum of row hashes, free of order, taken from the files and from the graph alike, column by column.

What was added to edges later (:data:`ADDED`) takes part where it is there, so that runs from before keep their digest. Where the meaning
of a property changed, or what a run's edges have could not be told otherwise, the digest got a new version, which stands on the run:
version 1 took the total effect for the strength of an edge that passed by its direct effect alone, and knew neither sign nor structural;
version 2 did not know what the blocks compute, nor specificity; version 3 did not know the distance in blocks.

A row's hash mixes 64 bits of each of its values (the bits of a float, a hash of a text, a mark for null) with splitmix64's finaliser; a
row that is lost, doubled or altered in any bit changes the sum (but for one case in 2^64).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.rows import EDGE_PROPERTIES, OBSERVATION_PROPERTIES, Columns, edge_columns

Words = np.ndarray[Any, np.dtype[np.uint64]]

#: Version of the digests that are made now.
VERSION = 4
#: Of :data:`ADDED`, what version 2 had: without and with standardised effects; and all that could be added to version 1.
UNSTANDARDISED, SECOND, FORMERLY = ("sign", "structural"), ("standardised", "sign", "structural"), ("standardised",)
#: What the migration to schema version 7 adds to runs loaded by earlier versions; that to version 8 adds the distance in blocks.
MIGRATED = ("computed", "sign_computed")
#: Of :data:`ADDED`, what version 3 had.
THIRD = (*SECOND, *MIGRATED, "q_computed", "floor_computed", "specific", "p_specific", "q_specific", "sign_specific")
#: Properties of edges that runs loaded by earlier versions do not have, or not all of them.
ADDED = (*THIRD, "blocks")
_FIRST = tuple(name for name in EDGE_PROPERTIES if name not in ADDED)
_MODULUS = 2**64
_NULL = np.uint64(0x9E3779B97F4A7C15)
_STEPS = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def edges_of_table(table: pa.Table, uids: Words, added: Sequence[str] = ADDED, version: int = VERSION) -> int:
    """Digest of rows of interactions.parquet.

    Args:
        table: The columns :data:`ingest.rows.EDGE_FILE_COLUMNS`.
        uids: (features,) :func:`words` of the uids, by fid.
        added: Which of :data:`ADDED` take part.
        version: Version of the digest, or of the one that the run was loaded with.
    """
    columns = edge_columns(table)
    if version == 1:
        columns = _formerly(columns, table["mean_strength"].to_numpy())
    if version < 3:
        columns = _migrated(columns)
    ends = [uids[table[f"{end}_fid"].to_numpy()] for end in ("src", "tgt")]
    return _of_edges(ends, {name: words(column) for name, column in columns.items()}, added)


def _formerly(columns: Columns, total: np.ndarray) -> Columns:
    """With the strengths of version 1: the later effect where only that passed, else the total one."""
    only_later = columns["by"] == "later"
    strength, beside = np.where(only_later, columns["later"], total), np.where(only_later, total, np.nan)
    return columns | {"strength": strength, "total": beside}


def _migrated(columns: Columns) -> Columns:
    """With the signs that the migration gives to edges whose smallest effect the graph does not know: of computed effects that passed."""
    effects = zip(columns["by"].tolist(), columns["computed"].tolist(), strict=True)
    signs = [int(np.sign(effect)) if "computed" in by and effect == effect else None for by, effect in effects]
    return columns | {"sign_computed": np.array(signs, object)}


def observations_of_table(features: pd.DataFrame) -> int:
    """Digest of rows of features.parquet."""
    return _sum([words(features[name].tolist()) for name in ("uid", *OBSERVATION_PROPERTIES)]) if len(features) else 0


def edges_of_rows(rows: Sequence[Sequence[Any]]) -> int:
    """Digest of edges as the database gives them: ``[source uid, target uid, *EDGE_PROPERTIES]``."""
    if not rows:
        return 0
    source, target, *columns = (words(list(column)) for column in zip(*rows, strict=True))
    return _of_edges([source, target], dict(zip(EDGE_PROPERTIES, columns, strict=True)), ADDED)


def of_rows(rows: Sequence[Sequence[Any]]) -> int:
    """Digest of what was observed as the database gives it: rows ``[uid, *OBSERVATION_PROPERTIES]``."""
    return _sum([words(list(column)) for column in zip(*rows, strict=True)]) if rows else 0


def add(*digests: int) -> int:
    """The digest of several parts together."""
    return sum(digests) % _MODULUS


def hex_of(digest: int) -> str:
    """As it is written: 16 hex digits."""
    return f"{digest:016x}"


def words(values: Iterable[Any]) -> Words:
    """64 bits a value: of a float its bits, of a number itself, of a text its hash; NaN and null are the same mark."""
    column = values if isinstance(values, np.ndarray) else _column(list(values))
    if column.dtype == object:
        return np.fromiter((_word(value) for value in column), np.uint64, len(column))
    if column.dtype.kind == "f":
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        return np.where(np.isnan(column), _NULL, bits)
    return column.astype(np.int64).view(np.uint64)


def _column(values: list[Any]) -> np.ndarray:
    """A list as an array: of floats where all are floats or null, of whole numbers where all are, else of objects."""
    kinds = set(map(type, values))
    if kinds <= {float, type(None)} and float in kinds:
        return np.array(values, np.float64)
    if kinds == {int}:
        return np.array(values, np.int64)
    column = np.empty(len(values), object)
    column[:] = values
    return column


@lru_cache(maxsize=2**18)
def _word(value: Any) -> int:
    if value is None or value != value:
        return int(_NULL)
    if isinstance(value, float):
        return int(np.float64(value).view(np.uint64))
    if isinstance(value, str):
        return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big")
    return int(value) % _MODULUS


def _of_edges(ends: list[Words], columns: dict[str, Words], added: Sequence[str]) -> int:
    rows = _hashes([*ends, *(columns[name] for name in _FIRST)])
    total = int(rows.sum(dtype=np.uint64))
    for name in added:
        there = columns[name] != _NULL
        total += int(_hashes([rows[there], columns[name][there]]).sum(dtype=np.uint64))
    return total % _MODULUS


def _sum(columns: list[Words]) -> int:
    return int(_hashes(columns).sum(dtype=np.uint64))


def _hashes(columns: list[Words]) -> Words:
    """One hash per row."""
    total: Words = np.zeros(len(columns[0]), np.uint64)
    for place, column in enumerate(columns, start=1):
        total = _mix(total + column * np.uint64(2 * place + 1))
    return total


def _mix(values: Words) -> Words:
    for shift, factor in _STEPS:
        values = (values ^ (values >> np.uint64(shift))) * factor
    return values ^ (values >> np.uint64(31))
