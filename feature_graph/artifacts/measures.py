"""Further measures of chosen edges, each one table: gates, dose curves, insertions, mediation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import pandas as pd
import pyarrow as pa

from feature_graph.artifacts.candidates import FeatureRef
from feature_graph.utils import whole_file
from ingest.formats import FileFormat, read_meta, read_table, write_table
from ingest.measures import DOSES, GATES, INSERTIONS, MEDIATION


class Triple(NamedTuple):
    """Two sources and a target, for a 2 × 2 clamp."""

    a: FeatureRef
    b: FeatureRef
    target: FeatureRef


class Pair(NamedTuple):
    """One source and one target."""

    source: FeatureRef
    target: FeatureRef


@dataclass(frozen=True)
class _MeasureSet:
    """A table and what is to be said of it.

    Attributes:
        frame: Columns of the class's ``format``; missing values are NaN.
        meta: Level, correction, family size, and what was left out and why.
    """

    format: ClassVar[FileFormat]
    frame: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    def save(self, path: str | Path) -> None:
        """Write the table as a Parquet file in its format."""
        with whole_file(path) as part:
            write_table(part, self.format, pa.Table.from_pandas(self.frame, preserve_index=False), self.meta)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the file.

        Raises:
            ingest.formats.FormatError: If the file is missing or not in its format.
        """
        return cls(read_table(path, cls.format).to_pandas(), read_meta(path, cls.format))


@dataclass(frozen=True)
class GateSet(_MeasureSet):
    """Interaction contrasts of 2 × 2 clamps; columns of ``ingest.measures.GATES``."""

    format: ClassVar[FileFormat] = GATES


@dataclass(frozen=True)
class DoseSet(_MeasureSet):
    """Dose curves; columns of ``ingest.measures.DOSES``."""

    format: ClassVar[FileFormat] = DOSES


@dataclass(frozen=True)
class InsertionSet(_MeasureSet):
    """Effects of inserting a source where it is off; columns of ``ingest.measures.INSERTIONS``."""

    format: ClassVar[FileFormat] = INSERTIONS


@dataclass(frozen=True)
class MediationSet(_MeasureSet):
    """What part of an effect passes by which component; columns of ``ingest.measures.MEDIATION``."""

    format: ClassVar[FileFormat] = MEDIATION
