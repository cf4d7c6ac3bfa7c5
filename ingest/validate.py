"""Everything that must hold before the first row is written; each problem names file, row and reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ingest.blocks import Layout, read_layout
from ingest.errors import InvalidRun
from ingest.formats import FEATURES, INTERACTIONS, FileFormat, FormatError, read_table
from ingest.rows import EFFECTS, TYPES
from ingest.rundir import RunDirectory

_SHOWN = 20
_READ_ROWS = 100_000
_UID = re.compile(r"(?P<model>.+)@(?P<hash>[0-9a-f]{8})/(?P<dictionary>.+)/(?P<index>\d+)")
_SHARES = {"p_value", "q_value", "p_direct", "q_direct", "p_later", "q_later", "placebo_quantile", "coactivation_prob", "density"}
_NOT_NEGATIVE = {
    "se",
    "abs_strength",
    "floor",
    "floor_direct",
    "floor_later",
    "mean_act",
    "max_act",
    "decoder_norm",
    "n_confirm",
    "n_later",
}

Rule = tuple[str, Callable[[pd.DataFrame], "np.ndarray | pd.Series[bool]"]]


@dataclass
class Problems:
    """What is wrong, the first :data:`_SHOWN` in words and the others counted."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, file: str, row: int | None, reason: str) -> None:
        """Note one problem."""
        self.count += 1
        if len(self.lines) < _SHOWN:
            self.lines.append(f"{file}{'' if row is None else f', row {row}'}: {reason}")

    def report(self) -> list[str]:
        """All lines, with a last one for those not shown."""
        more = self.count - len(self.lines)
        return [*self.lines, f"and {more} more"] if more else self.lines


@dataclass(frozen=True)
class Validated:
    """What the pass over the files found out.

    Attributes:
        features: The feature table, index = fid.
        rows: Rows of interactions.parquet.
        edges: Significant rows.
        methods: Methods of the significant rows, sorted.
        scale: Largest |direct| of the significant rows, 1 if there is none.
        layout: The significant rows by site pair, for the blocks of the ledger.
    """

    features: pd.DataFrame
    rows: int
    edges: int
    methods: tuple[str, ...]
    scale: float
    layout: Layout


def validate(run: RunDirectory) -> Validated:
    """Check both tables of a run.

    Raises:
        InvalidRun: With every problem found (the first 20 in words).
    """
    problems = Problems()
    features = _features(run, problems)
    if problems.count:
        raise InvalidRun(str(run.root), problems.report())
    rows = edges = 0
    methods: set[str] = set()
    scale = 0.0
    last: tuple[int, int, str] | None = None
    for start, frame in _batches(run):
        _rules(frame, start, INTERACTIONS, _interaction_rules(features), problems)
        last = _order(frame, start, last, problems)
        kept = frame[frame["significant"].to_numpy(bool)]
        rows, edges = rows + len(frame), edges + len(kept)
        methods.update(kept["method"].unique())
        scale = max([scale, *kept["direct_strength"].abs()])
    if problems.count:
        raise InvalidRun(str(run.root), problems.report())
    return Validated(features, rows, edges, tuple(sorted(methods)), scale or 1.0, read_layout(run.interactions))


def split_uid(uid: str) -> tuple[str, str, int]:
    """Model with hash, dictionary, and index of a uid.

    Raises:
        ValueError: If the text is no uid.
    """
    match = _UID.fullmatch(uid)
    if match is None:
        raise ValueError(f"uid: got {uid!r}, expected <model>@<8 hex digits>/<release>/<SAE id>/<index>")
    return f"{match['model']}@{match['hash']}", match["dictionary"], int(match["index"])


def _features(run: RunDirectory, problems: Problems) -> pd.DataFrame:
    try:
        frame = read_table(run.features, FEATURES).to_pandas()
    except FormatError as error:
        raise InvalidRun(str(run.root), [str(error)]) from error
    _rules(frame, 0, FEATURES, _feature_rules(run), problems)
    if not problems.count:
        dictionary = frame["uid"].map(lambda uid: uid.rpartition("/")[0])
        mixed = dictionary.groupby(frame["layer"]).nunique()
        for layer in mixed[mixed > 1].index:
            problems.add(FEATURES.name, None, f"layer {layer} mixes {mixed[layer]} dictionaries; one site has one")
    return frame


def _batches(run: RunDirectory) -> Iterator[tuple[int, pd.DataFrame]]:
    start = 0
    try:
        with pq.ParquetFile(run.interactions) as file:
            for batch in file.iter_batches(_READ_ROWS, columns=INTERACTIONS.names):
                frame = batch.to_pandas()
                yield start, frame
                start += len(frame)
    except OSError as error:
        raise InvalidRun(str(run.root), [f"{INTERACTIONS.name}: damaged: {error}"]) from error


def _rules(frame: pd.DataFrame, start: int, fmt: FileFormat, rules: list[Rule], problems: Problems) -> None:
    for reason, broken in [*_column_rules(fmt), *rules]:
        for row in np.flatnonzero(np.asarray(broken(frame), bool)):
            problems.add(fmt.name, start + int(row), reason.format_map(_Shown(frame.iloc[row])))


class _Shown(dict[str, object]):
    """Values of a row, for the reason's text."""

    def __init__(self, row: pd.Series) -> None:
        super().__init__({str(k): repr(v.item() if isinstance(v, np.generic) else v) for k, v in row.items()})


def _column_rules(fmt: FileFormat) -> list[Rule]:
    rules: list[Rule] = []
    for column in fmt.columns:
        name, got = column.name, f"{column.name} = {{{column.name}}}"
        if not column.nullable:
            rules.append((f"{got}; a value is required", partial(_missing, name)))
        if column.required_of:
            rules.append((f"{got}; a value is required of method {{method}}", partial(_missing_of, name, column.required_of)))
        if column.type == "float64":
            rules.append((f"{got}; expected a finite number", partial(_infinite, name)))
        if name in _SHARES:
            rules.append((f"{got}; expected a value in [0, 1]", partial(_outside, name, 0.0, 1.0)))
        if name in _NOT_NEGATIVE:
            rules.append((f"{got}; expected no negative value", partial(_outside, name, 0.0, np.inf)))
    return rules


def _missing(name: str, frame: pd.DataFrame) -> pd.Series[bool]:
    return frame[name].isna()


def _missing_of(name: str, methods: tuple[str, ...], frame: pd.DataFrame) -> pd.Series[bool]:
    return frame[name].isna() & frame["method"].isin(methods)


def _infinite(name: str, frame: pd.DataFrame) -> np.ndarray:
    return np.isinf(frame[name].to_numpy(float))


def _outside(name: str, low: float, high: float, frame: pd.DataFrame) -> pd.Series[bool]:
    return (frame[name] < low) | (frame[name] > high)


def _feature_rules(run: RunDirectory) -> list[Rule]:
    widths = {int(s["layer"]): int(s["d_sae"]) for s in run.sites if "layer" in s and "d_sae" in s}

    def beyond(frame: pd.DataFrame) -> pd.Series[bool]:
        width = frame["layer"].map(widths) if widths else pd.Series(np.inf, index=frame.index)
        return (frame["index"] < 0) | (frame["index"] >= width.fillna(np.inf))

    def foreign(frame: pd.DataFrame) -> np.ndarray:
        matches = [_UID.fullmatch(uid or "") for uid in frame["uid"]]
        return np.array([m is None or int(m["index"]) != i for m, i in zip(matches, frame["index"], strict=True)], bool)

    return [
        ("fid = {fid}; expected 0, 1, 2 … in order", lambda f: f["fid"] != np.arange(len(f))),
        ("layer = {layer}; expected 0 or more", lambda f: f["layer"] < 0),
        ("index = {index}; outside the dictionary", beyond),
        ("id = {id}; expected L<layer>_F<index>", lambda f: f["id"] != "L" + f["layer"].astype(str) + "_F" + f["index"].astype(str)),
        ("uid = {uid}; expected <model>@<8 hex digits>/<release>/<SAE id>/<index>, with the row's index", foreign),
        ("uid = {uid} appears twice", lambda f: f["uid"].duplicated()),
        ("id = {id} appears twice", lambda f: f["id"].duplicated()),
    ]


def _interaction_rules(features: pd.DataFrame) -> list[Rule]:
    n = len(features)
    ids, layers = features["id"].to_numpy(object), features["layer"].to_numpy()

    def unlike(end: str) -> Callable[[pd.DataFrame], np.ndarray]:
        def broken(frame: pd.DataFrame) -> np.ndarray:
            fid = frame[f"{end}_fid"].to_numpy()
            known = (fid >= 0) & (fid < n)
            at = np.where(known, fid, 0)
            if not n:
                return np.zeros(len(frame), bool)
            return known & ((ids[at] != frame[f"{end}_id"].to_numpy(object)) | (layers[at] != frame[f"{end}_layer"].to_numpy()))

        return broken

    def unknown_effect(frame: pd.DataFrame) -> np.ndarray:
        return np.array([bool(by) and not set(by.split("+")) <= EFFECTS for by in frame["significant_by"]], bool)

    return [
        (f"src_fid = {{src_fid}}; {FEATURES.name} has 0 to {n - 1}", lambda f: (f["src_fid"] < 0) | (f["src_fid"] >= n)),
        (f"tgt_fid = {{tgt_fid}}; {FEATURES.name} has 0 to {n - 1}", lambda f: (f["tgt_fid"] < 0) | (f["tgt_fid"] >= n)),
        ("src_id = {src_id}, src_layer = {src_layer}: not what features.parquet says of fid {src_fid}", unlike("src")),
        ("tgt_id = {tgt_id}, tgt_layer = {tgt_layer}: not what features.parquet says of fid {tgt_fid}", unlike("tgt")),
        (
            "source layer {src_layer} is not before target layer {tgt_layer}; edges go forward only",
            lambda f: f["src_layer"] >= f["tgt_layer"],
        ),
        ("method = {method}; expected a lower-case name", lambda f: ~f["method"].astype(str).str.fullmatch(r"[a-z][a-z0-9_]*")),
        (f"interaction_type = {{interaction_type}}; expected one of {sorted(TYPES)}", lambda f: ~f["interaction_type"].isin(TYPES)),
        ("significant_by = {significant_by}; expected total, direct, later joined by +", unknown_effect),
        (
            "significant = {significant}, significant_by = {significant_by}: they contradict each other",
            lambda f: f["significant"].astype(bool) != (f["significant_by"] != ""),
        ),
        (
            "significant by the later effect, which is empty",
            lambda f: f["significant_by"].astype(str).str.contains("later") & f["later_strength"].isna(),
        ),
        ("span = {span}; expected 1 or more", lambda f: f["span"] < 1),
        ("n_samples = {n_samples}; expected 1 or more", lambda f: f["n_samples"] < 1),
        ("ci_low = {ci_low} is above ci_high = {ci_high}", lambda f: f["ci_low"] > f["ci_high"]),
    ]


def _order(frame: pd.DataFrame, start: int, last: tuple[int, int, str] | None, problems: Problems) -> tuple[int, int, str] | None:
    keys = list(zip(frame["src_fid"], frame["tgt_fid"], frame["method"], strict=True))
    for row, key in enumerate(keys):
        if last is not None and key <= last:
            what = "appears twice" if key == last else "is out of order; rows are sorted by src_fid, tgt_fid, method"
            problems.add(INTERACTIONS.name, start + row, f"({key[0]}, {key[1]}, {key[2]}) {what}")
        last = key
    return last
