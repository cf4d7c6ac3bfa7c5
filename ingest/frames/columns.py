"""Columns of other people's tables: by which names they are known, and their values in the types of the run's files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.casting import FormatError, convertible, lossless
from ingest.formats import FEATURES, INTERACTIONS, Column
from ingest.rows import EDGE_COLUMNS

logger = logging.getLogger(__name__)

#: Column of interactions.parquet → names under which it is looked for, the first that is there wins. The second row of names is what
#: `runs export` and graph files write.
EDGE_NAMES: dict[str, tuple[str, ...]] = {
    "src_id": ("source", "src", "src_id"),
    "tgt_id": ("target", "tgt", "tgt_id"),
    "mean_strength": ("mean_strength", "strength", "weight"),
    "src_layer": ("source_layer", "src_layer"),
    "tgt_layer": ("target_layer", "tgt_layer"),
    "computed_strength": ("computed_strength", "computed"),
    "confirm_strength": ("confirm_strength", "confirm"),
} | {column: (column, name) for name, column in EDGE_COLUMNS.items()}
#: Column of features.parquet → names under which it is looked for.
FEATURE_NAMES: dict[str, tuple[str, ...]] = {"id": ("id", "feature", "node")}
#: What else exports and graph files hold, and what follows from other columns here.
_KNOWN = frozenset(
    {"src_fid", "tgt_fid", "abs_strength", "run", "sign", "kind", "structural", "strength", "weight", "total"}
    | {"sign_computed", "sign_specific", "family", "members", "last_layer"}
)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class UserTable:
    """A data frame whose columns are asked for by the names of the format.

    Args:
        name: What messages call it.
        frame: The data; its index is not looked at.
        names: Format's name → names in the frame.
        texts: Whether every value came as text, as from CSV, and numbers are to be read from it.
    """

    def __init__(self, name: str, frame: Any, names: Mapping[str, tuple[str, ...]], texts: bool = False) -> None:
        made = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
        if not isinstance(made, pd.DataFrame):
            raise FormatError(f"{name}: got {type(frame).__name__}; expected a data frame")
        self.name, self.frame, self._names, self._texts = name, made.reset_index(drop=True), names, texts
        twice = made.columns[made.columns.duplicated()].tolist()
        if twice:
            raise FormatError(f"{name}: column {twice[0]} is there twice; expected once")

    def __len__(self) -> int:
        return len(self.frame)

    def found(self, column: str) -> str | None:
        """Name that a column has in the frame; None if it is not there."""
        return next((name for name in self._names.get(column, (column,)) if name in self.frame.columns), None)

    def name_of(self, column: str, what: str) -> str:
        """Name in the frame of a column that must be there.

        Raises:
            FormatError: If it is not, with the names that would do.
        """
        name = self.found(column)
        if name is None:
            names = ", ".join(self._names.get(column, (column,)))
            found = ", ".join(map(str, self.frame.columns)) or "no columns"
            raise FormatError(f"{self.name}: no column for the {what}; found {found}; expected one of {names}")
        return name

    def need(self, column: str, what: str) -> pa.Array:
        """A column that must be there, without nulls, as the format has it.

        Raises:
            FormatError: If it is not, with the names that would do.
        """
        self.name_of(column, what)
        values = self.get(column)
        for row in np.flatnonzero(missing(values)):
            raise FormatError(f"{self.name}, row {row}: {self.found(column)} = None; a value is required")
        return values

    def get(self, column: str) -> pa.Array:
        """A column that is there, as the format has it; nulls and NaN are null.

        Raises:
            FormatError: If a value would be another one; column, row, type found and type expected are named.
        """
        name = self.found(column)
        return self.typed(str(name), _format_column(column).arrow)

    def typed(self, name: str, wanted: pa.DataType) -> pa.Array:
        """A column of the frame in a type."""
        values = self.frame[name]
        if self._texts and not pa.types.is_string(wanted):
            values = pd.Series([_number(v, wanted) for v in values], dtype=object)
        if pa.types.is_boolean(wanted):
            values = values.map(lambda v: _TRUTH.get(v.strip().lower(), v or None) if isinstance(v, str) else v)
        try:
            found = _arrow(values)
            if not convertible(found.type, wanted) and found.null_count < len(found):
                raise pa.ArrowTypeError(f"{found.type}")
            return lossless(found, wanted, name)
        except FormatError as error:
            raise FormatError(f"{self.name}: {error}") from error
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError) as error:
            raise FormatError(f"{self.name}: column {name}, {_culprit(values, wanted)}") from error

    def ids(self, name: str) -> list[str]:
        """A column of names: texts, or whole numbers as texts."""
        values = self.frame[name]
        for row in np.flatnonzero(values.isna()):
            raise FormatError(f"{self.name}, row {row}: {name} = None; a value is required")
        wrong = [i for i, v in enumerate(values) if not isinstance(v, str | int | np.integer) or isinstance(v, bool) or v == ""]
        if wrong:
            value = values.iloc[wrong[0]]
            raise FormatError(
                f"{self.name}, row {wrong[0]}: {name} = {value!r} ({type(value).__name__}); expected a name (text or whole number)"
            )
        return [str(v) for v in values]

    def ignored(self, used: Iterable[str]) -> None:
        """Say which columns are not used; those that are known to follow from others are not worth a word."""
        known = {name for column in used for name in self._names.get(column, (column,))} | _KNOWN
        others = [str(name) for name in self.frame.columns if name not in known]
        if others:
            logger.warning("%s: columns that a run has no place for are left out: %s", self.name, ", ".join(others))


def missing(values: pa.Array) -> np.ndarray:
    """Which values are null or NaN."""
    return np.asarray(values.is_null(nan_is_null=True))


def _format_column(name: str) -> Column:
    return next(c for fmt in (INTERACTIONS, FEATURES) for c in fmt.columns if c.name == name)


def _number(value: Any, wanted: pa.DataType) -> Any:
    """A number from a text; what is none stays what it is, to be named."""
    text = str(value).strip()
    if text == "":
        return None
    if pa.types.is_boolean(wanted):
        return value
    for read in (int, float) if pa.types.is_integer(wanted) else (float,):
        try:
            return read(text)
        except ValueError:
            continue
    return value


def _arrow(values: pd.Series[Any]) -> pa.Array:
    array = pa.Array.from_pandas(values)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _culprit(values: pd.Series[Any], wanted: pa.DataType) -> str:
    """The first value that cannot be in a column of the type."""
    kinds: tuple[type, ...] = (str,) if pa.types.is_string(wanted) else (bool, int, float, np.number, np.bool_)
    for row, value in enumerate(values):
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            continue
        halved = isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)
        if not isinstance(value, kinds) or halved:
            return f"row {row}: found {value!r} ({type(value).__name__}), expected {wanted}" + (" of whole characters" if halved else "")
    return f"found {values.dtype}, expected {wanted}"
