"""Writing a file in its format, whole or piece by piece; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.casting import FormatError, lossless
from ingest.columns import Column, FileFormat


def write_table(path: str | Path, fmt: FileFormat, table: pa.Table, meta: dict[str, Any] | None = None) -> None:
    """Write ``table`` (its columns in any order) in the given format, with ``meta`` as JSON in the file's metadata.

    Columns that the format allows to be absent may be absent.

    Raises:
        FormatError: If a column is missing, of another type, or null where it may not be.
    """
    with TableWriter(path, fmt, meta, table.column_names) as writer:
        writer.write(table)


class TableWriter:
    """Writes a table in the given format piece by piece; a context manager. One piece is one row group.

    Args:
        path: The file.
        fmt: Its format.
        meta: Kept as JSON in the file's metadata.
        columns: Names of the columns that every piece has; all of the format if None.

    Raises:
        FormatError: If a column is missing, or not one of the format.
    """

    def __init__(self, path: str | Path, fmt: FileFormat, meta: dict[str, Any] | None = None, columns: list[str] | None = None) -> None:
        self._path, self._fmt = path, fmt
        names = fmt.names if columns is None else columns
        lacking = sorted(c.name for c in fmt.columns if c.name not in names and not c.may_be_absent)
        surplus = sorted(set(names) - set(fmt.names))
        if lacking or surplus:
            raise FormatError(f"{path}: columns of {fmt.kind} version {fmt.version}: missing {lacking}, unknown {surplus}")
        self._columns = [c for c in fmt.columns if c.name in names]
        metadata = dict(fmt.schema.metadata or {}) | {b"meta": json.dumps(meta or {}, allow_nan=False).encode()}
        self._schema = pa.schema([fmt.schema.field(c.name) for c in self._columns], metadata=metadata)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Write rows; columns may be in any order.

        Raises:
            FormatError: If a column is missing, of another type, or null where it may not be.
        """
        lacking = [c.name for c in self._columns if c.name not in table.column_names]
        if lacking:
            raise FormatError(f"{self._path}: columns of {self._fmt.kind} version {self._fmt.version}: missing {lacking}")
        self._writer.write_table(self._checked(table))

    def _checked(self, table: pa.Table) -> pa.Table:
        """The table in the format's order and types."""
        try:
            made = pa.table([lossless(_joined(table[c.name]), c.arrow, c.name) for c in self._columns], schema=self._schema)
        except (FormatError, ValueError) as error:
            raise FormatError(f"{self._path}: {self._fmt.kind} version {self._fmt.version}: {error}") from error
        for column in self._columns:
            nulls = made.column(column.name).null_count
            if nulls and not column.nullable:
                raise FormatError(f"{self._path}: column {column.name} has {nulls} nulls; none are allowed")
            if nulls and column.required_of:
                self._check_methods(made, column)
        return made

    def _check_methods(self, table: pa.Table, column: Column) -> None:
        methods = table.filter(pc.is_null(table[column.name]))["method"].unique().to_pylist()
        wrong = ", ".join(sorted(set(methods) & set(column.required_of)))
        if wrong:
            raise FormatError(f"{self._path}: column {column.name} has nulls in rows of method {wrong}; none are allowed there")


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
