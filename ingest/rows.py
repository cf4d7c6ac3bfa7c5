"""From the columns of the files to the properties of the graph, and the digest over them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

#: Property of AFFECTS → column of interactions.parquet. ``strength`` and ``total`` are derived (see :func:`edge_rows`).
EDGE_COLUMNS = {
    "method": "method",
    "span": "span",
    "type": "interaction_type",
    "by": "significant_by",
    "direct": "direct_strength",
    "later": "later_strength",
    "copy": "copy_strength",
    "se": "se",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "p": "p_value",
    "q": "q_value",
    "q_direct": "q_direct",
    "q_later": "q_later",
    "n": "n_samples",
    "placebo": "placebo_quantile",
    "replicated": "replicated",
    "jacobian": "strength_jacobian",
}
EDGE_PROPERTIES = (*EDGE_COLUMNS, "strength", "total")
EDGE_FILE_COLUMNS = ["src_fid", "tgt_fid", "mean_strength", *EDGE_COLUMNS.values()]

#: Properties of Observation that come from features.parquet, under the same names.
OBSERVATION_PROPERTIES = ("id", "fid", "layer", "label", "density", "mean_act", "max_act", "dead", "dense", "importance")

_MODULUS = 2**64


def edge_rows(table: pa.Table, uids: Sequence[str]) -> list[list[Any]]:
    """Rows ``[source uid, target uid, *EDGE_PROPERTIES]``.

    The strength of an edge is its total effect; where only the later effect passed the test it is the later effect, and the total
    stands beside it.
    """
    columns = {name: _plain(table[name].to_pylist()) for name in EDGE_FILE_COLUMNS}
    only_later = [by == "later" for by in columns["significant_by"]]
    total = columns["mean_strength"]
    strength = [later if only else mean for only, later, mean in zip(only_later, columns["later_strength"], total, strict=True)]
    kept_total = [mean if only else None for only, mean in zip(only_later, total, strict=True)]
    ends = ([uids[fid] for fid in columns["src_fid"]], [uids[fid] for fid in columns["tgt_fid"]])
    values = [columns[column] for column in EDGE_COLUMNS.values()]
    return [list(row) for row in zip(*ends, *values, strength, kept_total, strict=True)]


def observation_rows(features: pd.DataFrame) -> list[list[Any]]:
    """Rows ``[uid, *OBSERVATION_PROPERTIES]``."""
    columns = [_plain(features[name].tolist()) for name in ("uid", *OBSERVATION_PROPERTIES)]
    return [list(row) for row in zip(*columns, strict=True)]


def digest(rows: Iterable[Sequence[Any]], start: int = 0) -> int:
    """Sum of the rows' hashes modulo 2^64: free of order, so that it can be taken from the files and from the graph alike."""
    total = start
    for row in rows:
        total += int.from_bytes(hashlib.blake2b(repr(tuple(row)).encode(), digest_size=8).digest(), "big")
    return total % _MODULUS


def _plain(values: list[Any]) -> list[Any]:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values]
