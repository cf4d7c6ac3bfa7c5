"""Everything that must hold before the first row is written; each problem names file, row, column and reason.

One pass over features.parquet, one over interactions.parquet in pieces: memory does not grow with the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.agreement import TOLERANCE, agreements
from ingest.blocks import Mask, RowLayout, layout_of
from ingest.checks import NOT_NEGATIVE, SHARES, TEXTS, CheckedRows, Order, rules
from ingest.errors import InvalidRun
from ingest.feature_ids import FeatureId, sites_of, split_site_name
from ingest.formats import FEATURES, INTERACTIONS, FormatError, read_table
from ingest.problems import Problems
from ingest.reading import TableFile
from ingest.rundir import RunDirectory
from ingest.selecting import select
from ingest.sites import site_order, site_widths

__all__ = ["Problems", "Validated", "split_uid", "validate"]

#: What happens with rows of interactions.parquet that are wrong.
BadRows = Literal["refuse", "skip"]

_READ_ROWS = 50_000
_UID = re.compile(r"(?P<model>.+)@(?P<hash>[0-9a-f]{8})/(?P<dictionary>.+)/(?P<index>\d+)")

#: Share of tokens above which a feature is dense.
_DENSE = 0.2
_REQUIRED = "; a value is required"

FeatureRule = tuple[str, Callable[[pd.DataFrame], "np.ndarray | pd.Series[bool]"]]


@dataclass(frozen=True)
class Validated:
    """What the pass over the files found out.

    Attributes:
        features: The feature table, index = fid.
        rows: CheckedRows of interactions.parquet.
        edges: CheckedRows that are to be loaded: significant, right, and selected.
        methods: Methods of these, sorted.
        scale: Largest |direct| of these, 1 if there is none.
        layout: Which they are, for the blocks of the ledger.
        rejected: CheckedRows that are left out because they are wrong.
    """

    features: pd.DataFrame
    rows: int
    edges: int
    methods: tuple[str, ...]
    scale: float
    layout: RowLayout
    rejected: int = 0


def validate(run: RunDirectory, bad_rows: BadRows = "refuse", rejected: str | Path | None = None) -> Validated:
    """Check both tables of a run.

    Args:
        run: The run directory, with the selection that is wanted of it.
        bad_rows: ``refuse`` the run where a row of interactions.parquet is wrong, or ``skip`` such rows. A wrong row of features.parquet
            is always refused.
        rejected: File for the rows that are skipped, with their number and the reason (Parquet); none is written if there are none.

    Raises:
        InvalidRun: With the first problems of each kind in words, and how many there are.
    """
    features, problems = _features(run), Problems()
    try:
        right, wrong = _interactions(run, features, problems, None if rejected is None or bad_rows == "refuse" else Path(rejected))
        if problems.count and bad_rows == "refuse":
            raise InvalidRun(str(run.root), [*problems.report(), *_advice(problems)])
        layout = layout_of(run.interactions, select(run.interactions, right, run.selection))
    except FormatError as error:
        raise InvalidRun(str(run.root), [str(error)]) from error
    except (OSError, pa.ArrowException) as error:
        raise InvalidRun(str(run.root), [f"{INTERACTIONS.name}: damaged: {error}"]) from error
    return Validated(features, right.rows, layout.edges, layout.methods, layout.scale or 1.0, layout, wrong)


def _advice(problems: Problems) -> list[str]:
    return [f"{problems.count} problems in all; `--bad-rows skip` loads the rows that are right, and writes the others to a file"]


def split_uid(uid: str) -> tuple[str, str, int]:
    """Model with hash, dictionary, and index of a uid.

    Raises:
        ValueError: If the text is not a uid.
    """
    match = _UID.fullmatch(uid)
    if match is None:
        raise ValueError(f"uid: got {uid!r}, expected <model>@<8 hex digits>/<release>/<SAE id>/<index>")
    return f"{match['model']}@{match['hash']}", match["dictionary"], int(match["index"])


def _interactions(run: RunDirectory, features: pd.DataFrame, problems: Problems, rejected: Path | None) -> tuple[Mask, int]:
    """Which rows are right and significant, and how many are wrong."""
    order, sites = Order(len(features)), site_order(run, features)
    mask, wrong = Mask(), 0
    with ExitStack() as stack:
        file = stack.enter_context(TableFile(run.interactions, INTERACTIONS, TEXTS, verified=True))
        known, agreed = rules(features, sites, file.present), agreements(sites, run.level)
        rejects = stack.enter_context(_Rejects(rejected))
        for group in range(file.groups):
            mask.begin_group()
            for batch in file.batches(INTERACTIONS.names, group, _READ_ROWS):
                rows = CheckedRows(batch)
                broken = {rule.reason: rule.broken(rows) for rule in known} | order.broken(rows)
                bad = np.logical_or.reduce(list(broken.values()))
                contradicted = {rule.reason: rule.broken(rows) & ~bad for rule in agreed}  # of values that are right by themselves
                broken, bad = broken | contradicted, np.logical_or.reduce([bad, *contradicted.values()])
                if bad.any():
                    _note(rows, mask.rows, broken, problems)
                    rejects.write(rows, mask.rows, broken, bad)
                    wrong += int(bad.sum())
                mask.add(rows["significant"] & ~bad)
    return mask, wrong


def _note(rows: CheckedRows, start: int, broken: dict[str, np.ndarray], problems: Problems) -> None:
    for reason, mask in broken.items():
        at = np.flatnonzero(mask)
        shown = max(0, problems.room(INTERACTIONS.name, reason))
        for row in at[:shown]:
            problems.add(INTERACTIONS.name, start + int(row), reason.format_map(rows.row(int(row))), reason)
        if len(at) > shown:
            problems.add(INTERACTIONS.name, None, reason, reason, more=len(at) - shown - 1)


class _Rejects:
    """Writes wrong rows with their number and the first reason; makes the file with the first of them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, rows: CheckedRows, start: int, broken: dict[str, np.ndarray], bad: np.ndarray) -> None:
        if self._path is None:
            return
        at = np.flatnonzero(bad)
        reasons = [next(reason for reason, mask in broken.items() if mask[row]).format_map(rows.row(int(row))) for row in at]
        table = pa.Table.from_batches([rows.batch]).take(at)
        table = pa.table({"row": pa.array(start + at), "reason": reasons} | {name: _plain(table[name]) for name in table.column_names})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _features(run: RunDirectory) -> pd.DataFrame:
    problems = Problems()
    try:
        frame = read_table(run.features, FEATURES).to_pandas()
    except FormatError as error:
        raise InvalidRun(str(run.root), [str(error)]) from error
    lacking = pd.Series(False, index=frame.index)
    for reason, broken in _feature_rules(run):
        bad = np.asarray(broken(frame), bool) & ~lacking
        for row in np.flatnonzero(bad):
            problems.add(FEATURES.name, int(row), reason.format_map(_values(frame.iloc[row])), reason)
        lacking |= bad if reason.endswith(_REQUIRED) else False
    if not problems.count and len(frame):
        for column, name in ((frame["uid"].str.rpartition("/")[0], "dictionaries"), (frame["hook"], "hooks")):
            mixed = column.groupby(sites_of(frame["id"])).nunique()
            for site in mixed[mixed > 1].index:
                problems.add(FEATURES.name, None, f"{_place(site)} mixes {mixed[site]} {name}; one site has one")
    if problems.count:
        raise InvalidRun(str(run.root), problems.report())
    return frame


def _values(row: pd.Series[Any]) -> dict[str, str]:
    """A row's values, as a reason shows them."""
    return {str(k): "None" if pd.isna(v) else repr(v.item() if isinstance(v, np.generic) else v) for k, v in row.items()}


def _place(site: str) -> str:
    layer, name = split_site_name(site)
    return f"layer {layer}" + (f", site {name}," if name else "")


def _feature_rules(run: RunDirectory) -> Iterator[FeatureRule]:
    for column in FEATURES.columns:
        name, got = column.name, f"{column.name} = {{{column.name}}}"
        if not column.nullable:
            yield f"{got}{_REQUIRED}", partial(lambda name, f: f[name].isna(), name)
        if column.type == "float64":
            yield f"{got}; expected a finite number", partial(lambda name, f: np.isinf(f[name].to_numpy(float)), name)
        if name in SHARES:
            yield f"{got}; expected a value in [0, 1]", partial(_outside, name, 1.0)
        if name in NOT_NEGATIVE:
            yield f"{got}; expected no negative value", partial(_outside, name, np.inf)
    yield from _identity_rules(run)


def _outside(name: str, high: float, frame: pd.DataFrame) -> pd.Series[bool]:
    return (frame[name] < 0) | (frame[name] > high)


def _identity_rules(run: RunDirectory) -> list[FeatureRule]:
    widths = site_widths(run)

    def beyond(frame: pd.DataFrame) -> pd.Series[bool]:
        width = sites_of(frame["id"].astype("str")).map(widths) if widths else pd.Series(np.inf, index=frame.index)
        return (frame["index"] < 0) | (frame["index"] >= width.fillna(np.inf))

    def foreign(frame: pd.DataFrame) -> np.ndarray:
        matches = [_UID.fullmatch("" if pd.isna(uid) else uid) for uid in frame["uid"]]
        return np.array([m is None or int(m["index"]) != i for m, i in zip(matches, frame["index"], strict=True)], bool)

    def misnamed(frame: pd.DataFrame) -> np.ndarray:
        rows = zip(map(FeatureId.read, frame["id"]), frame["layer"], frame["index"], strict=True)
        return np.array([found is None or (found.layer, found.index) != (layer, index) for found, layer, index in rows], bool)

    return [
        ("fid = {fid}; expected 0, 1, 2 … in order", lambda f: f["fid"] != np.arange(len(f))),
        ("layer = {layer}; expected 0 or more", lambda f: f["layer"] < 0),
        ("index = {index}; outside the dictionary", beyond),
        ("id = {id}; expected L<layer>_F<index> or L<layer>.<site>_F<index>, with the row's layer and index", misnamed),
        ("uid = {uid}; expected <model>@<8 hex digits>/<release>/<SAE id>/<index>, with the row's index", foreign),
        ("uid = {uid} appears twice", lambda f: f["uid"].duplicated()),
        ("id = {id} appears twice", lambda f: f["id"].duplicated()),
        ("mean_act = {mean_act} is above max_act = {max_act}", lambda f: f["mean_act"] > f["max_act"] * (1 + TOLERANCE)),
        ("dead = True, yet density = {density}, max_act = {max_act}", lambda f: f["dead"] & ((f["density"] > 0) | (f["max_act"] > 0))),
        ("dense = {dense}, density = {density}; dense is a density above a fifth", _wrongly_dense),
    ]


def _wrongly_dense(frame: pd.DataFrame) -> np.ndarray:
    """Marks that the density contradicts; where either is not known, nothing does."""
    known = frame["dense"].notna() & frame["density"].notna()
    said = frame["dense"].fillna(False).astype(bool)
    edge = (frame["density"] - _DENSE).abs() <= TOLERANCE
    return np.asarray(known & ~edge & (said != (frame["density"] > _DENSE)), bool)
