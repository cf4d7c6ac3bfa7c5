"""Results of steering as JSON files: scalars as they are, tables by column, NaN as null."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

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


class SavedResult:
    """A dataclass of scalars and tables that is kept as a JSON file.

    A subclass says what its files are called (``KIND``), their ``VERSION``, and which of its fields are tables (``TABLES``).
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int]
    TABLES: ClassVar[tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, tables last."""
        scalars = [name for name in _annotated(type(self)) if name not in self.TABLES]
        return {k: plain_value(getattr(self, k)) for k in scalars} | {k: frame_values(getattr(self, k)) for k in self.TABLES}

    def save(self, path: str | Path) -> Path:
        """Write JSON; folders are made."""
        write_json(path, {"kind": self.KIND, "version": self.VERSION, **self.to_dict()})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            SteeringError: If the file is not JSON, or of another kind or version.
        """
        values = read_object(path, SteeringError)
        found = values.pop("kind", None), values.pop("version", None)
        if found != (cls.KIND, cls.VERSION):
            raise SteeringError(f"{path}: got kind {found[0]!r}, version {found[1]!r}; expected {cls.KIND!r}, version {cls.VERSION}")
        numbers = [name for name, kind in _annotated(cls).items() if kind == "float"]
        unknown = {k: math.nan for k in numbers if values[k] is None}
        return cls(**(values | unknown | {k: as_frame(values[k]) for k in cls.TABLES}))


def _annotated(cls: type) -> dict[str, str]:
    """Field → its type as written."""
    return {field.name: str(field.type) for field in fields(cls)}
