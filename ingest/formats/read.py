"""Reading a file after checking that it is in its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.casting import FormatError, convertible
from ingest.columns import Column, FileFormat
from ingest.reading import TableFile


def read_meta(path: str | Path, fmt: FileFormat) -> dict[str, Any]:
    """Check kind, version and columns of a file and give back its ``meta``.

    Raises:
        FormatError: If the file is missing, no Parquet, of another kind or version, or lacks a column or has one of another type that
            cannot be converted without loss.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such file; expected {fmt.kind} version {fmt.version} ({fmt.name})")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: not a readable Parquet file: {error}") from error
    metadata = schema.metadata or {}
    kind, version = metadata.get(b"kind", b"").decode(), metadata.get(b"version", b"").decode()
    if (kind, version) != (fmt.kind, str(fmt.version)):
        raise FormatError(f"{path}: got kind {kind or 'none'} version {version or 'none'}; expected {fmt.kind} version {fmt.version}")
    wrong = [text for column in fmt.columns if (text := _wrong(schema, column))]
    if wrong:
        raise FormatError(f"{path}: {'; '.join(wrong)}; see docs/artifacts.md, or let ingest.from_frames write the file")
    return dict(json.loads(metadata.get(b"meta", b"{}")))


def _wrong(schema: pa.Schema, column: Column) -> str:
    """What is wrong with a column of a file; empty if nothing is."""
    if column.name not in schema.names:
        return "" if column.may_be_absent else f"column {column.name} is missing, expected {column.type}"
    found = schema.field(column.name).type
    return "" if convertible(found, column.arrow) else f"column {column.name}: found {found}, expected {column.type}"


def read_table(path: str | Path, fmt: FileFormat) -> pa.Table:
    """Read a file after checking that it is in its format; a column that it may be without is filled.

    Raises:
        FormatError: As :func:`read_meta`, or if the data after the header cannot be read or converted without loss.
    """
    read_meta(path, fmt)
    try:
        with TableFile(path, fmt, verified=True) as file:
            return file.table(fmt.names)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: damaged: {error}") from error
