"""Forecasts beside what was measured, pair by pair, and what was measured in each document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class ComparedForecasts:
    """Pairs of a steered source and a target.

    A source is steered in a few documents, at most as many as it has tokens: its slots. Sources share documents.

    Attributes:
        pairs: One row per source and target, all in target units per source unit: ``source``, ``target``, ``crossed`` (analysed layers from
            the one to the other; 0 inside a block), ``often`` (P̂ ≥ 0.1), ``on`` (P̂), ``measured``, ``copied`` (what the delta alone does
            there), ``measured_se``, ``computed_se``, ``measured_0``, ``measured_1``, ``copied_0``, ``copied_1`` (halves of the documents),
            and per forecaster its name (total) and its name with `` computed``.
        documents: int64 [pairs, slots], the documents in which the pair's source was steered; −1 beyond the last.
        total: float32 [pairs, slots], the effect in each of them, of which ``measured`` is the mean; 0 beyond the last.
        copied: float32 [pairs, slots], the same of ``copied``.
    """

    pairs: pd.DataFrame
    documents: NDArray[np.int64]
    total: NDArray[np.float32]
    copied: NDArray[np.float32]

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.pairs)

    def rows(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> ComparedForecasts:
        """Some of the pairs."""
        return ComparedForecasts(self.pairs.iloc[kept], self.documents[kept], self.total[kept], self.copied[kept])

    @classmethod
    def joined(cls, parts: Iterable[ComparedForecasts]) -> ComparedForecasts:
        """All pairs of several, which may have different numbers of slots."""
        every = list(parts)
        pairs = pd.concat([part.pairs for part in every], ignore_index=True)
        documents, total, copied = ([getattr(part, name) for part in every] for name in ("documents", "total", "copied"))
        return cls(pairs, _together(documents, -1), _together(total, 0), _together(copied, 0))


def _together(parts: Sequence[NDArray[Any]], empty: int) -> NDArray[Any]:
    slots = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, slots - part.shape[1])), constant_values=empty) for part in parts])
