"""Decoder directions onto the features of a run, from decoders.parquet, if the directory has one.

They belong to the dictionaries and not to the run: the first run that brings one stores it, later ones must bring the same. They are no
part of the run's id, ledger or digest, so they can be added to a run that is there already; :func:`write` can be killed and called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.connection import Database, Transaction
from ingest.errors import IngestMismatch, InvalidRun
from ingest.formats import DECODERS, FormatError, read_meta
from ingest.indexes import await_indexes
from ingest.reading import TableFile
from ingest.rundir import RunDirectory
from ingest.validate import Problems

_READ_ROWS = 2_000
_TRANSACTION_NUMBERS = 400_000  # 3 MB of doubles
_NORM_TOLERANCE = 1e-3

_WRITE = (
    "UNWIND $rows AS row MATCH (f:Feature {uid: row[0]}) WITH f, row[1] AS decoder, f.decoder AS old "
    "FOREACH (_ IN CASE WHEN old IS NULL THEN [1] ELSE [] END | SET f.decoder = decoder, "
    "f.filled = CASE WHEN f.brought_by IS NULL THEN coalesce(f.filled, []) + 'decoder' END) "
    "RETURN count(*) AS found, collect(CASE WHEN old <> decoder THEN f.uid END) AS others"
)
_MATCHING = "UNWIND $rows AS row MATCH (f:Feature {uid: row[0]}) WHERE f.decoder = row[1] RETURN count(*) AS n"


@dataclass(frozen=True)
class Vectors:
    """A checked decoders.parquet.

    Attributes:
        count: Features with a vector.
        width: Numbers a vector, the width of the residual stream.
    """

    count: int
    width: int


def read(run: RunDirectory, features: pd.DataFrame) -> Vectors | None:
    """Check decoders.parquet against the run's features; None if the directory has none.

    Raises:
        InvalidRun: If the file is not in its format, names what is not a feature of the run, or holds a vector that is not a direction.
    """
    path = run.root / DECODERS.name
    if not path.is_file():
        return None
    try:
        read_meta(path, DECODERS)
        problems, widths = Problems(), set[int]()
        count, last = 0, -1
        for table in _tables(run):
            widths |= _check(table, count, last, features, problems)
            count, last = count + len(table), table["fid"][-1].as_py() if len(table) else last
    except (FormatError, OSError, pa.ArrowInvalid) as error:
        raise InvalidRun(str(run.root), [f"{DECODERS.name}: {error}; write it again with `feature-graph vectors {run.root}`"]) from error
    if len(widths) > 1:
        problems.add(DECODERS.name, None, f"vectors of {sorted(widths)} numbers; expected one width, that of the residual stream")
    known = {int(facts["d_in"]) for facts in run.sites if "d_in" in facts and facts.get("reads") != "z"}
    if len(known) == 1 and len(widths) == 1 and not widths <= known:
        problems.add(DECODERS.name, None, f"vectors of {min(widths)} numbers; expected {min(known)}, d_in of the run's sites")
    if problems.count:
        raise InvalidRun(str(run.root), problems.report())
    return Vectors(count, widths.pop() if widths else 0)


def _check(table: pa.Table, start: int, last: int, features: pd.DataFrame, problems: Problems) -> set[int]:
    """Note what is wrong with some rows; the widths seen."""
    fids, vectors = table["fid"].to_numpy(), table["decoder"].combine_chunks()
    uids = features["uid"].to_numpy(object)
    known = (fids >= 0) & (fids < len(uids))
    foreign = ~known | (uids[np.where(known, fids, 0)] != table["uid"].to_numpy()) if len(uids) else np.ones(len(fids), bool)
    for row in np.flatnonzero(foreign):
        problems.add(DECODERS.name, start + int(row), f"fid = {fids[row]}, uid = {table['uid'][int(row)]}: not so in features.parquet")
    for row in np.flatnonzero(np.diff(fids, prepend=last) <= 0):
        problems.add(DECODERS.name, start + int(row), f"fid = {fids[row]} is out of order or appears twice; rows are sorted by fid")
    lengths = np.asarray(vectors.value_lengths().fill_null(0))
    owner = np.repeat(np.arange(len(fids)), lengths)
    squares = np.bincount(owner, np.square(vectors.flatten().fill_null(np.nan).to_numpy().astype(float)), len(fids))
    for row in np.flatnonzero(~(np.abs(np.sqrt(squares) - 1.0) <= _NORM_TOLERANCE)):
        problems.add(DECODERS.name, start + int(row), f"norm of decoder = {np.sqrt(squares[row]):.4g}; expected 1, of finite numbers")
    return set(lengths.tolist())


def write(
    database: Database, run: RunDirectory, n: int, vectors: Vectors | None, progress: Callable[[str, int, int], None] | None = None
) -> int:
    """Store the vectors that are not there yet, then note on the run, which is ready, that they are.

    Args:
        database: Where to.
        run: The run directory.
        n: The run's number.
        vectors: What :func:`read` gave; nothing is done if the directory has none, or if they are noted already.
        progress: Called with what is being written, rows done and rows in all.

    Returns:
        Features gone through.

    Raises:
        IngestMismatch: If a feature is missing, or has another vector since an earlier run.
    """
    noted = database.read("MATCH (r:Run {n: $n}) RETURN r.decoders AS decoders", n=n)[0]["decoders"]
    if vectors is None or noted == vectors.count:
        return 0
    done = 0
    for rows in _batches(run, vectors.width):
        database.write(partial(_write, rows=rows))
        done += len(rows)
        if progress is not None:
            progress("decoder vectors", done, vectors.count)
    database.write(await_indexes)
    database.write(lambda tx: tx.run("MATCH (r:Run {n: $n, status: 'ready'}) SET r.decoders = $count", n=n, count=vectors.count))
    return done


def _write(tx: Transaction, rows: list[list[Any]]) -> None:
    answer = tx.run(_WRITE, rows=rows)[0]
    if answer["others"]:
        raise IngestMismatch(
            f"{len(answer['others'])} features, such as {answer['others'][0]}, have another decoder vector in the database: an earlier run "
            f"brought it under the same name. If {DECODERS.name} is wrong, write it again with `feature-graph vectors`; if the other run's "
            "was, drop that run (`feature-graph runs drop`) and ingest again. Nothing of this batch was written"
        )
    if answer["found"] != len(rows):
        raise IngestMismatch(f"{len(rows)} decoder vectors were sent, {answer['found']} of their features are there; ingest the run again")


def matching(database: Database, run: RunDirectory, vectors: Vectors) -> int:
    """How many rows of decoders.parquet the database holds as they are."""
    return sum(int(database.read(_MATCHING, rows=rows)[0]["n"]) for rows in _batches(run, vectors.width))


def _batches(run: RunDirectory, width: int) -> Iterator[list[list[Any]]]:
    """Rows ``[uid, vector]``, bounded by bytes."""
    size = max(1, _TRANSACTION_NUMBERS // max(1, width))
    for table in _tables(run):
        for start in range(0, len(table), size):
            part = table.slice(start, size)
            yield [list(row) for row in zip(part["uid"].to_pylist(), part["decoder"].to_pylist(), strict=True)]


def _tables(run: RunDirectory) -> Iterator[pa.Table]:
    with TableFile(run.root / DECODERS.name, DECODERS, verified=True) as file:
        for batch in file.batches(DECODERS.names, size=_READ_ROWS):
            yield pa.Table.from_batches([batch])
