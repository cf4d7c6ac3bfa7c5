"""Results of steering as JSON files: scalars as they are, tables by column, NaN as null."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from feature_graph.steering.errors import SteeringError
from feature_graph.utils import read_object, write_json


def frame_values(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Column → plain values."""
    return {str(name): [plain_value(v) for v in frame[name].tolist()] for name in frame}


def plain_value(value: Any) -> Any:
    """The value, None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """The table of :func:`frame_values`; null in a column of numbers is NaN."""
    frame = pd.DataFrame(columns)
    for name in frame:
        if frame[name].dtype == object and not any(isinstance(v, str) for v in frame[name]):
            frame[name] = frame[name].astype("float64")
    return frame


def save_result(path: str | Path, kind: str, version: int, values: dict[str, Any]) -> Path:
    """Write a result; folders are made."""
    write_json(path, {"kind": kind, "version": version, **values})
    return Path(path)


def load_result(path: str | Path, kind: str, version: int) -> dict[str, Any]:
    """What :func:`save_result` wrote.

    Raises:
        SteeringError: If the file is not JSON, or of another kind or version.
    """
    values = read_object(path, SteeringError)
    found = values.pop("kind", None), values.pop("version", None)
    if found != (kind, version):
        raise SteeringError(f"{path}: got kind {found[0]!r}, version {found[1]!r}; expected {kind!r}, version {version}")
    return values
