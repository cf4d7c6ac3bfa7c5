"""Write a run as CSV for the importer, in pieces: little memory, whatever its size.

CSV and not Parquet: measured, the importer reads Parquet a quarter slower, and it takes an empty string for no value
(docs/log.md). Not compressed: gzip costs thirty times what writing the rows does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from ingest.blocks import Block, edge_blocks, ledger_key
from ingest.bulk import tables
from ingest.rows import EDGE_FILE_COLUMNS
from ingest.rundir import BLOCK_ROWS, RunDirectory
from ingest.validate import Validated

#: Number of the run: the database is empty, so it is the first.
RUN_NUMBER = 1

#: Called with what is being written, rows done, rows in all.
Progress = Callable[[str, int, int], None]

_BLOCKS_AT_ONCE = 50
_NOTE = "imported, not yet checked: ingest the run again to finish it"
# Measured on runs with every property (docs/log.md): bytes of CSV and of the store, an edge; of the store and the CSV, a feature.
_CSV_EDGE, _STORE_EDGE, _FEATURE = 350, 620, 3_000
_STORE_FIXED = 600 * 2**20  # transaction logs that the importer and the server lay out in advance, indexes


@dataclass(frozen=True)
class ImportFiles:
    """What was written, and what a database must hold after importing it.

    Attributes:
        folder: Where the files lie.
        nodes: (labels, file) of every node file.
        relationships: (type, file) of every relationship file.
        multiline: Files with a line break inside a value.
        node_count: Nodes in all.
        relationship_count: Relationships in all.
        property_count: Values that are not null, of all nodes and relationships.
    """

    folder: Path
    nodes: tuple[tuple[str, str], ...]
    relationships: tuple[tuple[str, str], ...]
    multiline: tuple[str, ...]
    node_count: int
    relationship_count: int
    property_count: int


@dataclass
class _Counts:
    rows: int = 0
    properties: int = 0
    multiline: bool = False


def import_bytes(features: int, edges: int) -> tuple[int, int]:
    """Bytes of the import files and of the store that they become, about."""
    return edges * _CSV_EDGE + features * _FEATURE // 2, edges * _STORE_EDGE + features * _FEATURE + _STORE_FIXED


def write_import_files(run: RunDirectory, seen: Validated, folder: str | Path, progress: Progress | None = None) -> ImportFiles:
    """Write the import files of a validated run into ``folder``, which is made if need be.

    Args:
        run: The run directory.
        seen: What :func:`ingest.validate.validate` found in it.
        folder: Where the files go; files of the same names are replaced.
        progress: Called with ``import files``, edges done and edges in all.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    n, features = RUN_NUMBER, seen.features
    blocks = [(ledger_key(n, run.features_sha256, i), size) for i, size in enumerate(_block_sizes(len(features)))]
    edges = _edges(run, seen, folder / "edges.csv", blocks, progress or (lambda *_: None))
    note = tables.run_table(run.id, n, time.time_ns() // 1_000_000, _NOTE)
    nodes = {
        "features.csv": ("Feature", _write(folder / "features.csv", tables.feature_table(run, features, n))),
        "observations.csv": ("Observation", _write(folder / "observations.csv", tables.observation_table(features, n))),
        "ledger.csv": ("IngestBatch", _write(folder / "ledger.csv", tables.ledger_table(blocks, n))),
        "run.csv": ("Run", _write(folder / "run.csv", note)),
    }
    relationships = {"of.csv": ("OF", _write(folder / "of.csv", tables.of_table(features))), "edges.csv": ("AFFECTS", edges)}
    counts = [count for _, count in (*nodes.values(), *relationships.values())]
    return ImportFiles(
        folder=folder,
        nodes=tuple((label, name) for name, (label, _) in nodes.items()),
        relationships=tuple((kind, name) for name, (kind, _) in relationships.items()),
        multiline=tuple(name for name, (_, count) in (nodes | relationships).items() if count.multiline),
        node_count=sum(count.rows for _, count in nodes.values()),
        relationship_count=sum(count.rows for _, count in relationships.values()),
        property_count=sum(count.properties for count in counts),
    )


def _block_sizes(rows: int) -> Iterator[int]:
    for start in range(0, rows, BLOCK_ROWS):
        yield min(BLOCK_ROWS, rows - start)


def _edges(run: RunDirectory, seen: Validated, path: Path, blocks: list[tuple[str, int]], progress: Progress) -> _Counts:
    """Write the edges and note their blocks in the ledger."""
    count = _Counts()
    first = tables.edge_table(_no_rows(), run.id, RUN_NUMBER)
    progress("import files", 0, seen.edges)
    with csv.CSVWriter(path, first.schema) as writer:
        for many in _grouped(edge_blocks(run.interactions, seen.layout, EDGE_FILE_COLUMNS), _BLOCKS_AT_ONCE):
            blocks += [(ledger_key(RUN_NUMBER, run.interactions_sha256, block.name), len(block.table)) for block in many]
            edges = tables.edge_table(pa.concat_tables([block.table for block in many]).combine_chunks(), run.id, RUN_NUMBER)
            writer.write_table(edges)
            _count(count, edges)
            progress("import files", count.rows, seen.edges)
    return count


def _no_rows() -> pa.Table:
    from ingest.formats import INTERACTIONS

    return INTERACTIONS.schema.empty_table().select(EDGE_FILE_COLUMNS)


def _grouped(items: Iterator[Block], size: int) -> Iterator[list[Block]]:
    group: list[Block] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _write(path: Path, table: pa.Table) -> _Counts:
    csv.write_csv(table, path)
    count = _Counts()
    _count(count, table)
    return count


def _count(count: _Counts, table: pa.Table) -> None:
    count.rows += len(table)
    count.properties += tables.property_count(table)
    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    count.multiline = count.multiline or any(pc.any(pc.match_substring_regex(text, r"[\r\n]")).as_py() for text in texts)
