"""What a file format says of its columns: names, types, which may be null or absent, and what an absent one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ColumnType = Literal["string", "int32", "int64", "float64", "bool", "list<float32>"]
_ARROW = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list<float32>": pa.list_(pa.float32()),
}


@dataclass(frozen=True)
class Column:
    """One column: its name, its type, what it means, and whether it may be null.

    ``required_of``: methods whose rows must give it although it is nullable; other methods may not measure it.
    ``absent``: its value in every row of a file that does not have the column.
    ``derived_from``: columns that it follows from where a file does not have it (:mod:`ingest.derive`).
    """

    name: str
    type: ColumnType
    meaning: str
    nullable: bool = False
    required_of: tuple[str, ...] = ()
    absent: str | bool | int | None = None
    derived_from: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.DataType:
        """Its type."""
        return _ARROW[self.type]

    @property
    def may_be_absent(self) -> bool:
        """Whether a file may be without it."""
        return self.nullable or self.absent is not None or bool(self.derived_from)

    def filled(self, rows: int) -> pa.Array:
        """The column of a file that does not have it."""
        return pa.nulls(rows, self.arrow) if self.absent is None else pa.repeat(pa.scalar(self.absent, self.arrow), rows)


@dataclass(frozen=True)
class FileFormat:
    """One kind of Parquet file. ``kind`` and ``version`` are written into the file's own metadata."""

    kind: str
    version: int
    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with kind and version as metadata."""
        fields = [pa.field(c.name, _ARROW[c.type], nullable=c.nullable) for c in self.columns]
        return pa.schema(fields, metadata={"kind": self.kind, "version": str(self.version)})

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    @property
    def given(self) -> list[str]:
        """Names of the columns that do not follow from others, in order."""
        return [c.name for c in self.columns if not c.derived_from]

    def column(self, name: str) -> Column:
        """A column by its name."""
        return next(c for c in self.columns if c.name == name)
