"""Measured interactions: a sequence of :class:`Interaction`, kept as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, overload

import pandas as pd
import pyarrow as pa

from feature_graph.utils import whole_file
from ingest.feature_ids import site_of_feature, split_site_name
from ingest.formats import INTERACTIONS, read_meta, read_table, write_table


@dataclass(frozen=True)
class Interaction:
    """One measured (source, target, method). Every field is explained in ``ingest.formats.INTERACTIONS``."""

    src_fid: int
    tgt_fid: int
    src_id: str
    tgt_id: str
    src_layer: int
    tgt_layer: int
    method: str
    interaction_type: str
    span: int
    blocks: int
    mean_strength: float
    abs_strength: float
    direct_strength: float
    direct_sum: float
    held_features: float
    held_rank: float
    later_strength: float
    copy_strength: float
    computed_strength: float
    specific_strength: float
    preactivation_strength: float
    p_on_change: float
    standardised_effect: float
    strength_jacobian: float
    direct_jacobian: float
    se: float
    se_computed: float
    ci_low: float
    ci_high: float
    p_value: float
    q_value: float
    p_direct: float
    q_direct: float
    p_later: float
    q_later: float
    p_computed: float
    q_computed: float
    p_specific: float
    q_specific: float
    significant: bool
    significant_by: str
    floor: float
    floor_direct: float
    floor_later: float
    floor_computed: float
    placebo_quantile: float
    n_samples: int
    n_documents: int
    n_later: int
    confirm_strength: float
    confirm_computed: float
    n_confirm: int
    replicated: bool | None
    clamp_low: float
    clamp_high: float
    achieved: float
    spill: float
    pmi: float
    coactivation_prob: float
    decoder_alignment: float
    arm: str


_FIELDS = [f.name for f in fields(Interaction)]


@dataclass(frozen=True)
class InteractionSet(Sequence[Interaction]):
    """All measured interactions of a run, sorted by source fid, target fid and method.

    Attributes:
        frame: One row per result, columns of ``ingest.formats.INTERACTIONS``; missing values are NaN (or None for ``replicated``).
        meta: Family sizes, correction, level, counts of what was left out and why, placebo summary.
        describe: Short ids → rows of ``ingest.formats.FEATURES`` for them, ``fid`` counted among them; None when read from a file, where
            ``features.parquet`` says it.
    """

    frame: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)
    describe: Callable[[Sequence[str]], pd.DataFrame] | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    @overload
    def __getitem__(self, index: int) -> Interaction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Interaction]: ...
    def __getitem__(self, index: int | slice) -> Interaction | list[Interaction]:
        if isinstance(index, slice):
            return _rows(self.frame.iloc[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"interaction {index} of {len(self)}")
        position = index % len(self)
        return _rows(self.frame.iloc[position : position + 1])[0]

    def __iter__(self) -> Iterator[Interaction]:
        return iter(_rows(self.frame))

    def save(self, path: str | Path) -> None:
        """Write ``interactions.parquet``; without the distance in blocks where each layer has one site, whose number says it."""
        with whole_file(path) as part:
            write_table(part, INTERACTIONS, pa.Table.from_pandas(self._stored(), preserve_index=False), self.meta)

    def _stored(self) -> pd.DataFrame:
        ids = pd.concat([self.frame["src_id"], self.frame["tgt_id"]]).unique()
        wanted = stored_columns(map(site_of_feature, ids))
        return self.frame[[name for name in self.frame.columns if name in wanted]]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read ``interactions.parquet``.

        Raises:
            ingest.formats.FormatError: If the file is missing or not in its format.
        """
        return cls(read_table(path, INTERACTIONS).to_pandas(), read_meta(path, INTERACTIONS))


def stored_columns(sites: Iterable[str]) -> list[str]:
    """Columns of ``interactions.parquet`` between these sites: the distance in blocks only where a layer's number does not say a site."""
    several = any(site for _, site in map(split_site_name, sites))
    return [name for name in INTERACTIONS.names if several or name != "blocks"]


def _rows(frame: pd.DataFrame) -> list[Interaction]:
    columns = [frame[name].tolist() for name in _FIELDS]
    return [Interaction(*values) for values in zip(*columns, strict=True)]
