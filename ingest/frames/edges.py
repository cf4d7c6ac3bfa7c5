"""The edges of a run, from a table of them: ends, strength, and whatever else it has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingest.casting import FormatError
from ingest.derive import derived
from ingest.formats import INTERACTIONS
from ingest.frames.columns import UserTable, missing
from ingest.frames.nodes import Nodes

Effect = Literal["direct", "total"]
_WORDS = {"src": "source", "tgt": "target"}
_METHOD = re.compile(r"[a-z][a-z0-9_]*")
_ENDS = ("src_id", "tgt_id", "src_layer", "tgt_layer")
_FOUND_ELSEWHERE = frozenset({*_ENDS, "src_fid", "tgt_fid", "method", "mean_strength", "abs_strength", "significant", "significant_by"})


@dataclass(frozen=True)
class UserEdges:
    """The edges, sorted as in the file.

    Attributes:
        table: Columns of interactions.parquet that are known or follow.
        tests: How it was decided which of them count.
        level: Level that an adjusted p was compared with; None if none was.
        rows: int64 [edges], row of the user's table.
        methods: Their methods.
    """

    table: pa.Table
    tests: str
    level: float | None
    rows: np.ndarray
    methods: list[str]


def ends_of(table: UserTable) -> dict[str, int | None]:
    """Names that the edges have, in the order of their first mention → layer, if the table says it."""
    found: dict[str, int | None] = {}
    for end in ("src", "tgt"):
        names = table.ids(table.name_of(f"{end}_id", _WORDS[end]))
        layers = table.get(f"{end}_layer").to_pylist() if table.found(f"{end}_layer") else [None] * len(names)
        for row, (name, layer) in enumerate(zip(names, layers, strict=True)):
            if found.get(name) is None:
                found[name] = layer
            elif layer is not None and found[name] != layer:
                raise FormatError(f"{table.name}, row {row}: {name!r} is in layer {layer} here and in layer {found[name]} before")
    return found


def edges_of(table: UserTable, nodes: Nodes, method: str, effect: Effect, level: float) -> UserEdges:
    """The edges of a run.

    Args:
        table: The user's edges.
        nodes: The features.
        method: How they were measured; the table's own column ``method`` if empty, else "imported".
        effect: What the strengths are, where the table does not say what passed a test.
        level: Level of significance for p or q of the table.

    Raises:
        FormatError: If a column is missing, a strength is not a finite number, or a pair stands twice.
    """
    frame = pd.DataFrame({f"{end}_fid": [nodes.fid[n] for n in table.ids(str(table.found(f"{end}_id")))] for end in ("src", "tgt")})
    frame["method"] = _methods(table, method)
    twice = frame.duplicated(["src_fid", "tgt_fid", "method"])
    for row in np.flatnonzero(twice):
        pair = " → ".join(str(table.frame[table.found(f"{end}_id")].iloc[row]) for end in ("src", "tgt"))
        by = frame["method"].iloc[row]
        raise FormatError(f"{table.name}, row {row}: {pair} by {by} appears twice; expected one row per pair and method")
    frame["row"] = np.arange(len(frame))
    order = frame.sort_values(["src_fid", "tgt_fid", "method"])["row"].to_numpy()
    columns, tests = _columns(table, effect, level)
    ends = {f"{end}_{key}": pa.array(_of_end(nodes, key, frame[f"{end}_fid"])) for end in ("src", "tgt") for key in ("fid", "id", "layer")}
    columns |= ends | {"method": pa.array(frame["method"].tolist(), pa.string())}
    if "span" not in columns:
        columns["span"] = pa.array(np.maximum(nodes.rank[frame["tgt_fid"]] - nodes.rank[frame["src_fid"]], 1))
    made = pa.table({name: columns[name] for name in INTERACTIONS.names if name in columns})
    compared = level if tests.startswith("adjusted") else None
    return UserEdges(made.take(pa.array(order)), tests, compared, order, sorted(set(frame["method"])))


def _of_end(nodes: Nodes, key: str, fid: pd.Series[Any]) -> np.ndarray:
    return np.asarray(nodes.frame[key].to_numpy()[fid.to_numpy(np.int64)] if len(fid) else np.zeros(0, np.int64 if key != "id" else str))


def _methods(table: UserTable, method: str) -> list[str]:
    column = table.found("method")
    own = [str(v) for v in table.need("method", "method").to_pylist()] if column else []
    names = own if own and not method else [method or "imported"] * len(table)
    for row, name in enumerate(names):
        if not _METHOD.fullmatch(name):
            raise FormatError(
                f"method{f' of {table.name}, row {row}' if own else ''}: got {name!r}; expected a lower-case name, such as attribution"
            )
    return names


def _columns(table: UserTable, effect: Effect, level: float) -> tuple[dict[str, pa.Array], str]:
    """Everything but the ends, in the user's order, and how it was decided what counts."""
    columns = {
        c.name: table.get(c.name) for c in INTERACTIONS.columns if c.name not in _FOUND_ELSEWHERE and table.found(c.name) is not None
    }
    columns = {name: values for name, values in columns.items() if len(values) > values.null_count or name == "later_strength"}
    columns["mean_strength"] = _mean(table)
    _check_finite(table, columns["mean_strength"])
    for name in ("direct_strength", "preactivation_strength"):
        columns[name] = _filled(columns.get(name), columns["mean_strength"])
    by, tests = _passed(table, columns, effect, level)
    columns |= {"significant_by": by, "significant": pc.not_equal(by, "")}
    columns["abs_strength"] = pc.abs(columns["mean_strength"])
    later = columns.get("later_strength", pa.nulls(len(table), pa.float64()))
    types = derived("interaction_type", columns["mean_strength"], columns["direct_strength"], later, by)
    columns["interaction_type"] = _filled(columns.get("interaction_type"), types)
    return columns | _counts(columns, later, len(table)), tests


def _mean(table: UserTable) -> pa.Array:
    """The total effect: ``total`` of an export where an edge is one by its later effect only, else the strength."""
    strength = table.need("mean_strength", "strength")
    if table.found("mean_strength") == "mean_strength" or "total" not in table.frame:
        return strength
    return _filled(table.typed("total", pa.float64()), strength)


def _check_finite(table: UserTable, strength: pa.Array) -> None:
    for row in np.flatnonzero(~np.isfinite(strength.to_numpy(zero_copy_only=False))):
        raise FormatError(f"{table.name}, row {row}: {table.found('mean_strength')} = {strength[int(row)]}; expected a finite number")


def _filled(values: pa.Array | None, other: pa.Array) -> pa.Array:
    """Values, where there is none another's."""
    return other if values is None else pc.if_else(pa.array(missing(values)), other, values)


def _counts(columns: dict[str, pa.Array], later: pa.Array, n: int) -> dict[str, pa.Array]:
    """Numbers of samples: one where nothing else is said."""
    samples = columns.get("n_samples", pa.repeat(pa.scalar(1, pa.int32()), n))
    known = {"n_samples": _filled(samples, pa.repeat(pa.scalar(1, pa.int32()), n))}
    if "n_later" not in columns:
        known["n_later"] = pc.if_else(pa.array(missing(later)), pa.scalar(0, pa.int32()), known["n_samples"])
    return known


def _passed(table: UserTable, columns: dict[str, pa.Array], effect: Effect, level: float) -> tuple[pa.Array, str]:
    """``significant_by`` of every edge, and how it was decided. An edge of strength 0 is none."""
    if table.found("significant_by"):
        return pc.fill_null(table.get("significant_by"), ""), "as the table says (significant_by)"
    if table.found("significant"):
        return _mark(pc.fill_null(table.get("significant"), False), effect), "as the table says (significant)"
    for name, words in (("q_value", "adjusted p"), ("p_value", "p, not adjusted,")):
        if name in columns:
            below = pc.fill_null(pc.less(columns[name], level), False)
            return _mark(below, effect), f"{words} below {level:g}"
    return _mark(pc.not_equal(columns["mean_strength"], 0.0), effect), "none: every edge that is given counts"


def _mark(passed: pa.Array, effect: Effect) -> pa.Array:
    return pc.if_else(passed, effect, "")
