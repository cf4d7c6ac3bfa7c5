"""Arrow columns into the types of a format, where nothing is lost; else column, types found and wanted and the first value in the way.

What other programs write by themselves (pandas: int64, large_string, category, boolean; NumPy: int8, float32, object) is often the same
values in another type.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import IngestError

_NARROW = (pa.float32(), pa.list_(pa.float32()))


class FormatError(IngestError, ValueError):
    """A file that is not in its format; the message names the file, what was got and what is expected."""


def convertible(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type can be of the other at all; whether they are is seen when they are read."""
    if pa.types.is_dictionary(found):
        return convertible(found.value_type, wanted)
    if found == wanted or pa.types.is_null(found):
        return True
    if pa.types.is_list(wanted):
        lists = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return lists and convertible(found.value_type, wanted.value_type)
    numbers = pa.types.is_integer(found) or pa.types.is_floating(found)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_large_string(found) or pa.types.is_string_view(found))
    if pa.types.is_boolean(wanted):
        return bool(numbers)
    if pa.types.is_integer(wanted) or pa.types.is_floating(wanted):
        return bool(numbers or pa.types.is_decimal(found))
    return False


def lossless(column: pa.Array, wanted: pa.DataType, name: str, start: int = 0) -> pa.Array:
    """The values in the wanted type.

    Args:
        column: What was found.
        wanted: The type of the format.
        name: Name of the column, for the message; the file is not named.
        start: Number of the first row.

    Raises:
        FormatError: If a value would be another one; the first is named.
    """
    if column.type == wanted:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count == len(column) or (pa.types.is_floating(column.type) and pc.all(pc.is_nan(column)).as_py()):
        return pa.nulls(len(column), wanted) if not pa.types.is_floating(wanted) else column.cast(wanted)
    if not convertible(column.type, wanted):
        raise FormatError(f"column {name}: found {column.type}, expected {wanted}")
    try:
        made = _cast(column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        made = None
    if made is None:
        row = _first(column, lambda value: _cast(value, wanted) is None)
        value = column[row].as_py() if len(column) else None
        raise FormatError(f"column {name}, row {start + row}: found {value!r} ({column.type}), expected {wanted} without loss")
    return made


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    """The cast, which pyarrow checks; None where it does not look: other numbers than 0 and 1 are no truth values."""
    if pa.types.is_boolean(wanted) and not (pa.types.is_null(column.type) or pa.types.is_boolean(column.type)):
        truth = pc.or_(pc.equal(column, 0), pc.equal(column, 1))
        return column.cast(wanted) if pc.all(truth, min_count=0).as_py() else None
    if pa.types.is_floating(column.type) and not pa.types.is_floating(wanted):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)  # pandas writes a missing whole number as NaN
    made = column.cast(wanted, safe=not pa.types.is_decimal(column.type))
    if pa.types.is_decimal(column.type) or wanted in _NARROW:
        return made if made.cast(column.type, safe=False).equals(column) else None  # pyarrow rounds these silently
    return made


def _first(column: pa.Array, broken: Callable[[pa.Array], bool]) -> int:
    """The first row whose value cannot be converted, by halving."""

    def fails(values: pa.Array) -> bool:
        try:
            return broken(values)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return True

    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(column[low:middle]) else (middle, high)
    return low
