"""The file formats of a run: every Parquet file's columns, types, versions and meaning.

This is the contract between the program that computes a run and the one that loads it. Another program's results can be ingested if
they are written in this form. docs/artifacts.md is made from this package.
"""

from ingest.casting import FormatError
from ingest.columns import Column, FileFormat
from ingest.formats.read import read_meta, read_table
from ingest.formats.tables import CANDIDATES, CANDIDATES_BY_SITE, DECODERS, FEATURES, FORMATS, INTERACTIONS, INTERVENING
from ingest.formats.write import TableWriter, write_table

__all__ = [
    "CANDIDATES",
    "CANDIDATES_BY_SITE",
    "DECODERS",
    "FEATURES",
    "FORMATS",
    "INTERACTIONS",
    "INTERVENING",
    "Column",
    "FileFormat",
    "FormatError",
    "TableWriter",
    "read_meta",
    "read_table",
    "write_table",
]
