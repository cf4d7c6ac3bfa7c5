"""The rules for rows of interactions.parquet, column by column: a rule gives a mask of the rows that break it.

Texts come as codes into their few distinct values, so a rule looks at each value once, however many rows there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.formats import FEATURES, INTERACTIONS
from ingest.rows import EFFECTS, TYPES
from ingest.sites import SiteOrder

#: Columns whose values lie in [0, 1], and those that are never negative, of both files.
SHARES = frozenset(
    {f"{test}_{effect}" for test in ("p", "q") for effect in ("value", "direct", "later", "computed", "specific")}
    | {"placebo_quantile", "coactivation_prob", "density"}
)
NOT_NEGATIVE = frozenset(
    {
        "se",
        "abs_strength",
        "floor",
        "floor_direct",
        "floor_later",
        "floor_computed",
        "mean_act",
        "max_act",
        "decoder_norm",
        "n_confirm",
        "n_later",
    }
)
#: Differences of probabilities.
DIFFERENCES = frozenset({"p_on_change"})
TEXTS = [c.name for c in INTERACTIONS.columns if c.type == "string"]

_METHOD = re.compile(r"[a-z][a-z0-9_]*")


class CheckedRows:
    """Some rows of interactions.parquet, with its texts read as dictionaries."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, name: str) -> np.ndarray:
        """A column of numbers or marks; null is NaN (False for marks)."""
        if name not in self._arrays:
            column = self.batch.column(name)
            if pa.types.is_boolean(column.type) or (pa.types.is_integer(column.type) and column.null_count):
                column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
            self._arrays[name] = column.to_numpy(zero_copy_only=False)
        return self._arrays[name]

    def values(self, name: str) -> list[Any]:
        """The distinct texts of a column."""
        return list(self.batch.column(name).dictionary.to_pylist())

    def each(self, name: str, of_value: Callable[[str], Any], dtype: Any = bool) -> np.ndarray:
        """What a function says of each row's text; of a null what it says of the empty text."""
        column = self.batch.column(name)
        said = np.array([of_value(value) for value in [*self.values(name), ""]], dtype)
        return said[column.indices.fill_null(len(said) - 1).to_numpy(zero_copy_only=False)]

    def null(self, name: str) -> np.ndarray:
        """Which rows have no value (or NaN)."""
        column = self.batch.column(name)
        if pa.types.is_floating(column.type):
            return np.isnan(self[name])
        if not column.null_count:
            return np.zeros(len(self), bool)
        return column.is_null().to_numpy(zero_copy_only=False)

    def row(self, at: int) -> dict[str, str]:
        """A row's values, as a reason shows them."""
        return {name: repr(self.batch.column(name)[at].as_py()) for name in self.batch.schema.names}


@dataclass(frozen=True)
class Rule:
    """What must not be.

    Attributes:
        reason: What is said of a row that breaks it, with its values in braces.
        broken: Gives a mask of the rows that break it.
    """

    reason: str
    broken: Callable[[CheckedRows], np.ndarray]


def rules(features: pd.DataFrame, sites: SiteOrder, present: frozenset[str]) -> list[Rule]:
    """All rules for columns and ends of the interactions between these features.

    Args:
        features: The feature table.
        sites: How their sites follow each other.
        present: Columns that the file has. One that it does not have was not measured; one that it has must be whole.
    """
    return [*_column_rules(present), *_end_rules(features), *_row_rules(sites)]


def _column_rules(present: frozenset[str]) -> list[Rule]:
    found: list[Rule] = []
    for column in INTERACTIONS.columns:
        name, got = column.name, f"{column.name} = {{{column.name}}}"
        if not column.nullable and (name in present or not column.derived_from):
            found.append(Rule(f"{got}; a value is required", partial(_null, name)))
        if column.required_of and name in present:
            found.append(Rule(f"{got}; a value is required of method {{method}}", partial(_null_of, name, column.required_of)))
        if column.type == "float64":
            found.append(Rule(f"{got}; expected a finite number", partial(_infinite, name)))
        if name in SHARES:
            found.append(Rule(f"{got}; expected a value in [0, 1]", partial(_outside, name, 0.0, 1.0)))
        if name in DIFFERENCES:
            found.append(Rule(f"{got}; expected a value in [-1, 1]", partial(_outside, name, -1.0, 1.0)))
        if name in NOT_NEGATIVE:
            found.append(Rule(f"{got}; expected no negative value", partial(_outside, name, 0.0, np.inf)))
    return found


def _null(name: str, rows: CheckedRows) -> np.ndarray:
    return rows.null(name)


def _null_of(name: str, methods: tuple[str, ...], rows: CheckedRows) -> np.ndarray:
    null = rows.null(name)
    return null & rows.each("method", lambda v: v in methods) if null.any() else null


def _infinite(name: str, rows: CheckedRows) -> np.ndarray:
    return np.isinf(rows[name])


def _outside(name: str, low: float, high: float, rows: CheckedRows) -> np.ndarray:
    return (rows[name] < low) | (rows[name] > high)


def _end_rules(features: pd.DataFrame) -> list[Rule]:
    n = len(features)
    fid_of = pd.Index(features["id"])
    layers = features["layer"].to_numpy()

    def unknown(end: str, rows: CheckedRows) -> np.ndarray:
        return ~_known(rows[f"{end}_fid"], n)

    def unlike(end: str, rows: CheckedRows) -> np.ndarray:
        fid = rows[f"{end}_fid"]
        known = _known(fid, n)
        if not known.any():
            return known
        column = rows.batch.column(f"{end}_id")
        meant = fid_of.get_indexer([*rows.values(f"{end}_id"), ""])
        said = meant[column.indices.fill_null(len(meant) - 1).to_numpy(zero_copy_only=False)]
        return known & ((said != fid) | (layers[np.where(known, fid, 0)] != rows[f"{end}_layer"]))

    found = []
    for end in ("src", "tgt"):
        found.append(Rule(f"{end}_fid = {{{end}_fid}}; {FEATURES.name} has 0 to {n - 1}", partial(unknown, end)))
        reason = f"{end}_id = {{{end}_id}}, {end}_layer = {{{end}_layer}}: not what features.parquet says of fid {{{end}_fid}}"
        found.append(Rule(reason, partial(unlike, end)))
    return found


def _known(fid: np.ndarray, n: int) -> np.ndarray:
    return (fid >= 0) & (fid < n)


def _row_rules(sites: SiteOrder) -> list[Rule]:
    return [
        Rule(
            "source layer {src_layer} is not before target layer {tgt_layer}; edges go forward only: to a later layer, or from {src_id} to "
            "{tgt_id} in one layer where the order of its sites is given (docs/artifacts.md)",
            lambda r: (r["src_layer"] >= r["tgt_layer"]) & ~sites.within_layer(r["src_fid"], r["tgt_fid"]),
        ),
        Rule("method = {method}; expected a lower-case name", lambda r: r.each("method", lambda v: not _METHOD.fullmatch(v))),
        Rule(
            f"interaction_type = {{interaction_type}}; expected one of {sorted(TYPES)}",
            lambda r: r.each("interaction_type", lambda v: v not in TYPES),
        ),
        Rule(
            "significant_by = {significant_by}; expected total, direct, later, computed joined by +",
            lambda r: r.each("significant_by", lambda v: bool(v) and not _effects(v)),
        ),
        Rule(
            "significant = {significant}, significant_by = {significant_by}: they contradict each other",
            lambda r: r["significant"] != r.each("significant_by", bool),
        ),
        Rule(
            "significant by the later effect, which is empty",
            lambda r: r.each("significant_by", lambda v: "later" in v) & r.null("later_strength"),
        ),
        Rule("span = {span}; expected 1 or more, or 0 within a layer", lambda r: r["span"] < (r["src_layer"] != r["tgt_layer"])),
        Rule("n_samples = {n_samples}; expected 1 or more", lambda r: r["n_samples"] < 1),
        Rule("ci_low = {ci_low} is above ci_high = {ci_high}", lambda r: r["ci_low"] > r["ci_high"]),
    ]


def _effects(value: str) -> bool:
    """Whether a text names effects, each once."""
    names = value.split("+")
    return set(names) <= EFFECTS and len(set(names)) == len(names)


class Order:
    """Rows must be sorted by source fid, target fid and method, each once; looks at one piece after the other.

    Args:
        n: Features.
    """

    TWICE = "({src_fid}, {tgt_fid}, {method}) appears twice"
    BEHIND = "({src_fid}, {tgt_fid}, {method}) is out of order; rows are sorted by src_fid, tgt_fid, method"

    def __init__(self, n: int) -> None:
        self._n, self._bits = n, max(1, n.bit_length())
        self._methods: list[str] = []
        self._last: tuple[int, str] | None = None

    def broken(self, rows: CheckedRows) -> dict[str, np.ndarray]:
        """Masks by reason: rows whose key is one seen before, or lies before one. CheckedRows with an end unknown take no part."""
        source, target = rows["src_fid"], rows["tgt_fid"]
        known = _known(source, self._n) & _known(target, self._n)
        names = sorted({*rows.values("method"), *([self._last[1]] if self._last else [])} - {None})
        rank = {name: place for place, name in enumerate(names)}
        method = rows.each("method", lambda v: rank.get(v, 0), np.int64)
        pairs = (source.astype(np.int64) << self._bits) | target
        keys = np.where(known, pairs * max(1, len(names)) + method, -1)
        before = self._last[0] * max(1, len(names)) + rank[self._last[1]] if self._last else -1
        highest = np.maximum.accumulate(np.concatenate([[before], keys]))
        if highest[-1] >= 0:
            pair, place = divmod(int(highest[-1]), max(1, len(names)))
            self._last = (pair, names[place])
        return {self.TWICE: known & (keys == highest[:-1]), self.BEHIND: known & (keys < highest[:-1])}
