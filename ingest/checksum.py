"""The checksum of a run's edges that the server computes itself: nothing is streamed, and every property takes part.

Each edge becomes a whole number below the prime 2^31 − 1: its properties (floats in units of 2^-44, texts by a number each), the indices
of its two ends, each times a weight of its own, and the sum squared, so that values that changed places between two edges are seen too.
Numbers are added up exactly; the same is computed with numpy from the files. Changes below 2^-44 (6e-14) are not seen here: the digest
of :mod:`ingest.digest`, which `verify` compares, sees every bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pyarrow as pa

from ingest.connection import Transaction
from ingest.rows import EDGE_PROPERTIES, EFFECTS, TYPES, edge_columns
from ingest.schema import RELATIONSHIPS

_PRIME = 2**31 - 1
_UNIT = 2.0**44
_NULL = 1_234_567
_TYPES = {p.name: p.type for r in RELATIONSHIPS if r.type == "AFFECTS" for p in r.properties}
_OPTIONAL = {p.name for r in RELATIONSHIPS if r.type == "AFFECTS" for p in r.properties if p.optional}
_NAMES = ("source", "target", *EDGE_PROPERTIES)
#: Weights below 2^20, so that a sum over all properties stays below 2^63.
_WEIGHTS = {name: (place * 400_009 + 77_773) % 1_000_003 for place, name in enumerate(_NAMES, start=1)}


@dataclass(frozen=True)
class EdgeCheck:
    """What is known of a set of edges without reading them one by one."""

    edges: int
    checksum: int

    def __add__(self, other: EdgeCheck) -> EdgeCheck:
        return EdgeCheck(self.edges + other.edges, self.checksum + other.checksum)


def of_table(table: pa.Table, indices: np.ndarray) -> EdgeCheck:
    """From rows of interactions.parquet.

    Args:
        table: The columns :data:`ingest.rows.EDGE_FILE_COLUMNS`.
        indices: (features,) index of a feature in its dictionary, by fid.
    """
    columns = edge_columns(table)
    total = np.zeros(len(table), np.int64)
    for name, end in (("source", "src_fid"), ("target", "tgt_fid")):
        total += indices[table[end].to_numpy()].astype(np.int64) * _WEIGHTS[name]
    for name in EDGE_PROPERTIES:
        total += _numbers(columns[name], _TYPES[name]) * _WEIGHTS[name]
    rest = np.fmod(total, _PRIME)
    return EdgeCheck(len(table), int(np.fmod(rest * rest, _PRIME).sum()))


def of_run(tx: Transaction, n: int, methods: Sequence[str]) -> EdgeCheck:
    """From the edges of run number ``n``, computed by the server; an edge with a text of no kind known here is not counted.

    Args:
        tx: An open transaction.
        n: Number of the run.
        methods: Methods that its edges have.
    """
    texts = {"method": methods, "type": sorted(TYPES), "by": _combinations()}
    row = tx.run(_QUERY, n=n, texts={name: {text: _text(text) for text in known} for name, known in texts.items()})[0]
    return EdgeCheck(row["edges"], row["checksum"])


def _combinations() -> list[str]:
    return ["+".join(some) for size in range(1, len(EFFECTS) + 1) for some in permutations(sorted(EFFECTS), size)]


def _text(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % _PRIME


def _numbers(column: np.ndarray, type_: str) -> np.ndarray:
    if type_ == "FLOAT":
        units = np.clip(np.nan_to_num(column.astype(float), nan=0.0) * _UNIT, -(2.0**62), 2.0**62).astype(np.int64)
        return np.where(np.isnan(column), _NULL, np.fmod(units, _PRIME))
    if type_ in {"INTEGER", "BOOLEAN"}:
        if column.dtype == object:
            column = np.array([_NULL if value is None else int(value) for value in column])
        return np.fmod(column.astype(np.int64), _PRIME)
    known = {text: _text(text) for text in set(column.tolist())}
    return np.array([known[text] for text in column], np.int64)


def _term(name: str) -> str:
    value, type_ = f"e.{name}", _TYPES[name]
    if type_ == "FLOAT":
        bounded = f"CASE WHEN abs({value}) < 262144.0 THEN toInteger({value} * {_UNIT}) ELSE toInteger(sign({value})) * {2**62} END"
        number = f"({bounded}) % {_PRIME}"
        if name in _OPTIONAL:
            number = f"CASE WHEN {value} IS NULL THEN {_NULL} ELSE {number} END"
    elif type_ == "INTEGER":
        number = f"coalesce({value}, {_NULL}) % {_PRIME}" if name in _OPTIONAL else f"{value} % {_PRIME}"
    elif type_ == "BOOLEAN":
        number = f"coalesce(toInteger({value}), {_NULL})"
    else:
        number = f"$texts.{name}[{value}]"
    return f"({number}) * {_WEIGHTS[name]}"


_QUERY = (
    "MATCH (s)-[r:AFFECTS]->(t) WHERE r.run = $n AND r.method IS NOT NULL WITH s.index AS s, t.index AS t, properties(r) AS e "
    f"WITH (s * {_WEIGHTS['source']} + t * {_WEIGHTS['target']} + {' + '.join(map(_term, EDGE_PROPERTIES))}) % {_PRIME} AS number "
    f"RETURN count(number) AS edges, coalesce(sum(number * number % {_PRIME}), 0) AS checksum"
)
