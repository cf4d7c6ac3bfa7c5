"""Parquet files of a run, read in pieces and in the types of their format: columns of other types are converted, absent ones filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.casting import FormatError, lossless
from ingest.columns import Column, FileFormat
from ingest.derive import derived

_ROWS = 65_536


class TableFile:
    """An open file; a context manager.

    Args:
        path: The file, whose columns :func:`ingest.formats.read_meta` has checked.
        fmt: Its format.
        texts: Text columns that come as dictionaries: codes into their distinct values.
        verified: Compare the checksums of pages.
    """

    def __init__(self, path: str | Path, fmt: FileFormat, texts: Sequence[str] = (), verified: bool = False) -> None:
        self._path, self._fmt, self._texts = Path(path), fmt, frozenset(texts)
        schema = pq.read_schema(path)
        coded = [name for name in texts if name in schema.names]
        self._file = pq.ParquetFile(path, read_dictionary=coded, page_checksum_verification=verified)
        #: Columns with values; one that follows from others and is null in every row is as one that is not there.
        self.present = frozenset(schema.names) - {c.name for c in fmt.columns if c.derived_from and self._is_null(schema, c.name)}

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return int(self._file.metadata.num_rows)

    @property
    def groups(self) -> int:
        """Row groups of the file."""
        return int(self._file.num_row_groups)

    def batches(self, columns: Sequence[str], group: int | None = None, size: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """Some columns of a row group, or of the whole file, in pieces.

        Raises:
            FormatError: If a value cannot be converted without loss; column, row, value, type found and type expected are named.
        """
        groups = range(self.groups) if group is None else [group]
        start = sum(int(self._file.metadata.row_group(i).num_rows) for i in range(groups[0])) if self.groups else 0
        wanted = [self._fmt.column(name) for name in columns]
        stored = sorted({name for column in wanted for name in self._stored(column)}) or sorted(self.present)[:1]
        for batch in self._file.iter_batches(size, row_groups=list(groups), columns=stored):
            arrays = [self._array(batch, column, start) for column in wanted]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            start += len(batch)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of the whole file."""
        schema = pa.schema([pa.field(name, self._type(self._fmt.column(name))) for name in columns])
        return pa.Table.from_batches([batch.cast(schema) for batch in self.batches(columns)], schema)

    def _is_null(self, schema: pa.Schema, name: str) -> bool:
        """Whether a column is there and has no value in any row, by its type or by what the file says of its row groups."""
        if name not in schema.names or not self.rows:
            return False
        if pa.types.is_null(schema.field(name).type):
            return True
        metadata = self._file.metadata
        at = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == name)
        groups = [metadata.row_group(i) for i in range(self.groups)]
        known = [(group.column(at).statistics, group.num_rows) for group in groups]
        return all(found is not None and found.has_null_count and found.null_count == rows for found, rows in known)

    def _type(self, column: Column) -> pa.DataType:
        return pa.dictionary(pa.int32(), pa.string()) if column.name in self._texts else column.arrow

    def _stored(self, column: Column) -> set[str]:
        """Columns of the file that a column is read from."""
        if column.name in self.present:
            return {column.name}
        return {name for source in column.derived_from for name in self._stored(self._fmt.column(source))}

    def _array(self, batch: pa.RecordBatch, column: Column, start: int) -> pa.Array:
        """A column as the format has it."""
        wanted = self._type(column)
        if column.name not in self.present:
            made = self._absent(batch, column, start)
            return made.dictionary_encode() if column.name in self._texts else made
        found = batch.column(column.name)
        if found.type == wanted:
            return found
        try:
            made = lossless(found, column.arrow, column.name, start)
        except FormatError as error:
            raise FormatError(f"{self._path.name}: {error}") from error
        return made.dictionary_encode() if column.name in self._texts else made

    def _absent(self, batch: pa.RecordBatch, column: Column, start: int) -> pa.Array:
        """A column that the file does not have."""
        if not column.derived_from:
            return column.filled(len(batch))
        sources = [self._array(batch, self._fmt.column(name), start) for name in column.derived_from]
        return derived(column.name, *(a.dictionary_decode() if pa.types.is_dictionary(a.type) else a for a in sources))
