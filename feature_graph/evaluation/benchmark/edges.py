"""Reading anybody's edge list, and refusing what cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from feature_graph.evaluation.benchmark.errors import BenchmarkError
from feature_graph.evaluation.benchmark.models import BenchmarkModel, benchmark_model
from feature_graph.evaluation.planted import Pair
from ingest.feature_ids import FeatureId, feature_id

#: Column → what it holds.
COLUMNS = {
    "model": "name of the model, as exported: relu-0, hist-original",
    "source": 'the source feature, "L<layer>_F<index>"',
    "target": "the target feature, likewise, of a later layer in reach",
    "score": "how strong the edge is, with its sign; a pair that is not listed counts as 0",
}
OPTIONAL = {
    "computed": "how strong its computed part is, with its sign: what ranks edges where copies do not count; score is used without it",
    "significant": "whether the method claims the edge; without it there is no rate of false edges",
}
_ADVICE = "docs/benchmark.md lists the columns"
_SHOWN = 3


def read_edges(path: str | Path) -> pd.DataFrame:
    """Read an edge list from Parquet or CSV.

    Raises:
        BenchmarkError: If the file cannot be read, lacks a column, or holds a value that is none.
    """
    path = Path(path)
    if not path.is_file():
        raise BenchmarkError(f"{path}: no such file; expected an edge list in .parquet or .csv")
    if path.suffix not in {".parquet", ".csv"}:
        raise BenchmarkError(f"{path}: got the ending {path.suffix or 'none'}; expected .parquet or .csv")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise BenchmarkError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    return checked_edges(frame, str(path))


def checked_edges(frame: pd.DataFrame, where: str = "edges") -> pd.DataFrame:
    """The columns that count, in their types.

    Raises:
        BenchmarkError: If a column is missing, or holds a value that is none.
    """
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise BenchmarkError(
            f"{where}: got the columns {', '.join(map(str, frame.columns)) or 'none'}; missing {', '.join(missing)}. Expected "
            f"{', '.join(COLUMNS)}, and if you have them {', '.join(OPTIONAL)}; {_ADVICE}"
        )
    frame = frame[[*COLUMNS, *(name for name in OPTIONAL if name in frame)]].copy()
    for name in {"score", "computed"} & set(frame):
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
        if not np.isfinite(values).all():
            raise BenchmarkError(f"{where}: {name}: got {_first(frame[name], ~np.isfinite(values))}; expected finite numbers")
        frame[name] = values
    if "significant" in frame:
        known = frame["significant"].isin([True, False])
        if not known.all():
            raise BenchmarkError(f"{where}: significant: got {_first(frame['significant'], ~known.to_numpy())}; expected true or false")
        frame["significant"] = frame["significant"].astype(bool)
    twice = frame.duplicated(["model", "source", "target"]).to_numpy()
    if twice.any():
        raise BenchmarkError(f"{where}: {int(twice.sum())} pairs stand there twice, such as {_pair(frame[twice])}; expected each pair once")
    return frame


def models_of(frame: pd.DataFrame, where: str = "edges") -> dict[str, BenchmarkModel]:
    """The models that an edge list speaks of.

    Raises:
        BenchmarkError: If a model is not known, or there are no edges at all.
    """
    if frame.empty:
        raise BenchmarkError(f"{where}: got no edges; expected one row per pair. {_ADVICE}")
    return {name: benchmark_model(name) for name in map(str, frame["model"].unique())}


def pairs_of(frame: pd.DataFrame, model: BenchmarkModel) -> list[Pair]:
    """The pairs of a model's rows.

    Raises:
        BenchmarkError: If a feature is not one of the model, or a target is out of reach.
    """
    known = {feature: _parsed(feature, model) for feature in pd.unique(frame[["source", "target"]].to_numpy().ravel())}
    pairs = [(known[s], known[t]) for s, t in zip(frame["source"], frame["target"], strict=True)]
    reach = set(model.cfg.layer_pairs)
    wrong = np.array([(s[0], t[0]) not in reach for s, t in pairs], dtype=bool)
    if wrong.any():
        allowed = ", ".join(f"L{s} → L{t}" for s, t in sorted(reach))
        raise BenchmarkError(
            f"model {model.name}: got {int(wrong.sum())} pairs out of reach, such as {_pair(frame[wrong])}; scored are {allowed}. "
            "Leave the others out"
        )
    return pairs


def _parsed(feature: object, model: BenchmarkModel) -> tuple[int, int]:
    sizes: Mapping[int, int] = {layer: model.size(layer) for layer in sorted(model.saes)}
    found = FeatureId.read(feature)
    if found is None or found.site or found.index >= sizes.get(found.layer, 0):
        known = ", ".join(f"{feature_id(layer, 0)} to {feature_id(layer, size - 1)}" for layer, size in sizes.items())
        raise BenchmarkError(f"model {model.name}: got the feature {feature!r}; its dictionaries hold {known}")
    return found.layer, found.index


def _first(values: pd.Series, wrong: np.ndarray) -> str:
    return ", ".join(repr(v) for v in values[wrong].head(_SHOWN).tolist())


def _pair(frame: pd.DataFrame) -> str:
    row = frame.iloc[0]
    return f"{row['source']} → {row['target']}"
