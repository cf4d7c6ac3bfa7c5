"""Pairs chosen to be measured: a sequence of :class:`Candidate`, kept as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_graph.artifacts.activations import ActivationStore
from feature_graph.artifacts.site_keys import BySite, blocks_between, read_key, without_empty_sites
from feature_graph.artifacts.sites import feature_id
from feature_graph.utils import whole_file
from ingest.formats import CANDIDATES, CANDIDATES_BY_SITE, read_meta, read_table, write_table


@dataclass(frozen=True)
class FeatureRef:
    """One feature: its layer and its index in the dictionary.

    Attributes:
        layer: Of its site.
        index: In the dictionary.
        site: Which site of the layer, as ids name it (``tc``); empty for the residual stream.
    """

    layer: int
    index: int
    site: str = ""

    @property
    def id(self) -> str:
        """``L<layer>_F<index>``, or ``L<layer>.<site>_F<index>``."""
        return feature_id(self.layer, self.index, self.site)


@dataclass(frozen=True)
class Candidate:
    """One (source, target) pair; the fields are those of ``ingest.formats.CANDIDATES``."""

    src: FeatureRef
    tgt: FeatureRef
    pmi: float
    coactivation_prob: float
    joint_count: int
    decoder_alignment: float
    arm: str

    @property
    def blocks(self) -> int:
        """Distance in blocks; 0 inside a block."""
        return self.tgt.layer - self.src.layer

    @property
    def src_id(self) -> str:
        """Short id of the source."""
        return self.src.id

    @property
    def tgt_id(self) -> str:
        """Short id of the target."""
        return self.tgt.id


@dataclass(frozen=True)
class StageCount:
    """How many pairs a stage got and kept."""

    stage: str
    before: int
    after: int


@dataclass(frozen=True)
class CandidateSet(Sequence[Candidate]):
    """Candidates sorted by PMI, descending.

    Attributes:
        frame: One row per pair, columns of ``ingest.formats.CANDIDATES``, and of ``CANDIDATES_BY_SITE`` where layers have several sites.
            ``blocks`` follows from the layers, whether it is given or not.
        store: Activations of the run; measuring draws its samples from it. None after :meth:`load` without one.
        stages: What each pruning stage kept.
        importance: Layer → float64 [d_sae], frequency × causal effect; NaN where not measured.
        facts: Other findings of the selection, such as how well the gradient estimate agrees with ablation.
    """

    frame: pd.DataFrame
    store: ActivationStore | None = None
    stages: tuple[StageCount, ...] = ()
    importance: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        blocks = blocks_between(self.frame)
        if "blocks" not in self.frame or not np.array_equal(self.frame["blocks"], blocks):
            object.__setattr__(self, "frame", ordered_columns(self.frame.assign(blocks=blocks)))

    @classmethod
    def empty(cls, store: ActivationStore | None = None, facts: dict[str, Any] | None = None) -> Self:
        """No pairs, in the format's columns: where nothing is chosen because everything is measured."""
        return cls(CANDIDATES.schema.empty_table().to_pandas(), store, facts=facts or {})

    def __len__(self) -> int:
        return len(self.frame)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"candidate {index} of {len(self)}")
        row = self.frame.iloc[index]
        return Candidate(
            _ref(row, "src"),
            _ref(row, "tgt"),
            float(row["pmi"]),
            float(row["coactivation_prob"]),
            int(row["joint_count"]),
            float(row["decoder_alignment"]),
            str(row["arm"]),
        )

    def save(self, path: str | Path) -> None:
        """Write ``candidates.parquet``; importance and stage counts go into its metadata."""
        ranked = {str(n): {str(i): float(v[i]) for i in np.flatnonzero(np.isfinite(v))} for n, v in self.importance.items()}
        widths = {str(n): len(v) for n, v in self.importance.items()}
        meta = {"stages": [asdict(s) for s in self.stages], "importance": ranked, "widths": widths, "facts": self.facts}
        with whole_file(path) as part:
            write_table(part, CANDIDATES_BY_SITE, pa.Table.from_pandas(self.frame, preserve_index=False), meta)

    @classmethod
    def load(cls, path: str | Path, store: ActivationStore | None = None) -> Self:
        """Read ``candidates.parquet``.

        Raises:
            ingest.formats.FormatError: If the file is missing or not in its format.
        """
        meta = read_meta(path, CANDIDATES)
        frame = without_empty_sites(read_table(path, CANDIDATES_BY_SITE).to_pandas())
        importance: BySite[NDArray[np.float64]] = BySite()
        for layer, values in meta.get("importance", {}).items():
            array = np.full(meta["widths"][layer], np.nan)
            array[[int(i) for i in values]] = list(values.values())
            importance[read_key(layer)] = array
        stages = tuple(StageCount(**s) for s in meta.get("stages", []))
        return cls(frame, store, stages, importance, meta.get("facts", {}))


def ordered_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of pairs with its columns in the order of the format; others come last."""
    known = [name for name in CANDIDATES_BY_SITE.names if name in frame]
    return frame[known + [name for name in frame if name not in known]]


def _ref(row: pd.Series[Any], side: str) -> FeatureRef:
    site = str(row.get(f"{side}_site", "")).partition(".")[2]
    return FeatureRef(int(row[f"{side}_layer"]), int(row[f"{side}_index"]), site)
