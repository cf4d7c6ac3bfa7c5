"""From the columns of the files to the properties of the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.strength import DERIVED, derived_columns

#: Property of AFFECTS → column of interactions.parquet. Others follow from several columns: :data:`ingest.strength.DERIVED`.
EDGE_COLUMNS = {
    "method": "method",
    "span": "span",
    "blocks": "blocks",
    "type": "interaction_type",
    "by": "significant_by",
    "direct": "direct_strength",
    "later": "later_strength",
    "copy": "copy_strength",
    "specific": "specific_strength",
    "se": "se",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "p": "p_value",
    "q": "q_value",
    "q_direct": "q_direct",
    "q_later": "q_later",
    "q_computed": "q_computed",
    "p_specific": "p_specific",
    "q_specific": "q_specific",
    "n": "n_samples",
    "placebo": "placebo_quantile",
    "replicated": "replicated",
    "jacobian": "strength_jacobian",
    "standardised": "standardised_effect",
}
EDGE_PROPERTIES = (*EDGE_COLUMNS, *DERIVED)
_NEEDED = [column for _, columns in DERIVED.values() for column in columns]
EDGE_FILE_COLUMNS = list(dict.fromkeys(["src_fid", "tgt_fid", *EDGE_COLUMNS.values(), *_NEEDED]))

#: What an interaction can be, and the effects that can make it an edge.
TYPES = frozenset({"excitatory", "inhibitory", "pass_through", "attenuates_copy", "erases_copy"})
EFFECTS = frozenset({"total", "direct", "later", "computed"})

#: Properties of Observation that come from features.parquet, under the same names.
OBSERVATION_PROPERTIES = ("id", "fid", "layer", "label", "density", "mean_act", "max_act", "dead", "dense", "importance")
#: Those of them that a Feature shows, too: of the newest run that observed it.
DISPLAYED = ("density", "mean_act", "max_act", "dead", "dense", "importance")

Columns = dict[str, np.ndarray]


def edge_columns(table: pa.Table) -> Columns:
    """One array per property of :data:`EDGE_PROPERTIES`: floats with NaN for null, whole numbers, truth values, or objects."""
    columns = {name: table[column] for name, column in EDGE_COLUMNS.items()} | derived_columns(table)
    return {name: _array(column) for name, column in columns.items()}


def edge_groups(table: pa.Table, ends: Sequence[str]) -> list[list[Any]]:
    """Rows by source, as one transaction takes them: ``[source, [[target, *EDGE_PROPERTIES], …]]``.

    Args:
        table: The columns :data:`EDGE_FILE_COLUMNS`; rows of one source stand together.
        ends: What names a feature in the database, by fid.
    """
    columns = edge_columns(table)
    sources, targets = (table[f"{end}_fid"].to_numpy() for end in ("src", "tgt"))
    rows = list(zip([ends[fid] for fid in targets.tolist()], *(_values(columns[name]) for name in EDGE_PROPERTIES), strict=True))
    starts = np.flatnonzero(np.diff(sources, prepend=-1)).tolist()
    return [[ends[sources[start]], rows[start:stop]] for start, stop in pairwise([*starts, len(rows)])]


def observation_rows(features: pd.DataFrame) -> list[list[Any]]:
    """Rows ``[uid, *OBSERVATION_PROPERTIES]``."""
    columns = [[None if _is_nan(v) else v for v in features[name].tolist()] for name in ("uid", *OBSERVATION_PROPERTIES)]
    return [list(row) for row in zip(*columns, strict=True)]


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type) or (column.null_count and pa.types.is_boolean(column.type)):
        return column.to_numpy().astype(object)
    if column.null_count and pa.types.is_integer(column.type):
        return np.array(column.to_pylist(), object)
    return column.to_numpy()


def _values(column: np.ndarray) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f" and np.isnan(column).any():
        return [None if value != value else value for value in values]
    return values


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
