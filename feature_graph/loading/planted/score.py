"""How well a run found what was planted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feature_graph.loading.planted.model import PlantedModel
from feature_graph.loading.planted.wiring import Pair

Row = dict[str, Any]


@dataclass(frozen=True)
class PlantedScore:
    """Measured against planted.

    Attributes:
        recall: Share of planted linear edges found; those of sources that were left out count as missed.
        precision: Share of found edges that are true (linear or not).
        fdr: 1 − precision; 0 if nothing was found.
        sign_accuracy: Share of found linear edges whose leading effect has the true sign.
        total_error: Largest |measured − true| / |true| of the total effect over found edges that have one.
        direct_error: The same for the direct effect.
        later_error: The same for the later effect.
        zero_error: Largest |measured| where a found linear edge has a true total or direct effect of 0.
        decoys_rejected: Share of the measured decoys that were not found.
        missed: Planted linear edges that were not found.
        false: Found edges that were not planted.
    """

    recall: float
    precision: float
    fdr: float
    sign_accuracy: float
    total_error: float
    direct_error: float
    later_error: float
    zero_error: float
    decoys_rejected: float
    missed: list[Pair]
    false: list[Pair]


def score(interactions: pd.DataFrame, planted: PlantedModel, method: str = "clamping") -> PlantedScore:
    """Compare measured interactions with the planted truth.

    Args:
        interactions: ``InteractionSet.frame``.
        planted: The model that was measured.
        method: Rows of this method are compared.
    """
    records: list[Any] = interactions[interactions["method"] == method].to_dict("records")
    rows = {_pair(row): row for row in records}
    found = {pair for pair, row in rows.items() if row["significant"]}
    true = set(planted.edges) | set(planted.nonlinear)
    hits, false = sorted(found & set(planted.edges)), sorted(found - true)
    errors = {name: _error(rows, planted, hits, name) for name in ("total", "direct", "later")}
    decoys = [pair for pair in planted.decoys if pair in rows]
    precision = 1 - len(false) / len(found) if found else 1.0
    return PlantedScore(
        recall=len(hits) / max(len(planted.edges), 1),
        precision=precision,
        fdr=1 - precision,
        sign_accuracy=float(np.mean([_sign_agrees(rows[pair], planted, pair) for pair in hits])) if hits else 1.0,
        total_error=errors["total"],
        direct_error=errors["direct"],
        later_error=errors["later"],
        zero_error=max((_stray(rows[pair], planted, pair) for pair in hits), default=0.0),
        decoys_rejected=float(np.mean([pair not in found for pair in decoys])) if decoys else 1.0,
        missed=sorted(set(planted.edges) - found),
        false=false,
    )


_COLUMN = {"total": "mean_strength", "direct": "direct_strength", "later": "later_strength"}


def _pair(row: Row) -> Pair:
    source, target = (tuple(int(part[1:]) for part in str(row[name]).split("_")) for name in ("src_id", "tgt_id"))
    return (source[0], source[1]), (target[0], target[1])


def _error(rows: dict[Pair, Row], planted: PlantedModel, hits: list[Pair], name: str) -> float:
    errors = [
        abs(rows[pair][_COLUMN[name]] - getattr(planted.edges[pair], name)) / abs(getattr(planted.edges[pair], name))
        for pair in hits
        if abs(getattr(planted.edges[pair], name)) > 1e-9
    ]
    return float(max(errors, default=0.0))


def _stray(row: Row, planted: PlantedModel, pair: Pair) -> float:
    effect = planted.edges[pair]
    return max((abs(row[_COLUMN[name]]) for name in ("total", "direct") if abs(getattr(effect, name)) <= 1e-9), default=0.0)


def _sign_agrees(row: Row, planted: PlantedModel, pair: Pair) -> bool:
    effect = planted.edges[pair]
    name = max(("total", "direct", "later"), key=lambda n: abs(getattr(effect, n)))
    return bool(np.sign(row[_COLUMN[name]]) == np.sign(getattr(effect, name)))
