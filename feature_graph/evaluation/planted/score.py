"""How well a run found what was planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from feature_graph.artifacts import key_of, read_feature_id, site_kind
from feature_graph.evaluation.planted.wiring import Pair, TrueEffect
from ingest.feature_ids import FeatureId

Row = dict[str, Any]
EFFECTS = {"total": "mean_strength", "direct": "direct_strength", "later": "later_strength", "computed": "computed_strength"}
FLOORS = {"total": "floor", "direct": "floor_direct", "later": "floor_later", "computed": "floor_computed"}
#: True effects up to this are none.
NOTHING = 1e-9


class HasTruth(Protocol):
    """What a planted model says of its pairs; see :class:`PlantedModel`."""

    @property
    def edges(self) -> Mapping[Pair, TrueEffect]:
        """Pairs that are to be found."""

    @property
    def nonlinear(self) -> Sequence[Pair]:
        """Pairs with a true effect that no slope describes."""

    @property
    def decoys(self) -> Sequence[Pair]:
        """Pairs that are active together without a causal path."""

    @property
    def faint(self) -> Sequence[Pair]:
        """Pairs with a wire too weak to count."""


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
        n_planted: Planted linear edges.
        n_found: Edges found.
        n_false: Of these, how many have no true effect.
        n_true: Measured pairs with a true effect, planted or not (overlap and normalisation make more).
        n_true_found: Of these, how many were found; the others lie under their placebo floor.
        n_above_floor: Measured pairs whose true effect reaches the floor that they were compared with.
        n_above_floor_found: Of these, how many were found.
        n_intervals: Planted edges with a true total effect that is not the same in every document.
        n_covered: Of these, how many intervals hold the true effect.
        n_decoys: Decoys that were measured and have no true effect.
        n_decoys_found: Of these, how many were found.
        n_faint_found: Planted wires under ``min_effect`` that were found all the same.
        errors: Effect → |measured − true| / |true| of every found planted edge that has one.
        discoveries: Effect → (passed its own test, of these without a true effect of that kind).
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
    n_planted: int
    n_found: int
    n_false: int
    n_true: int
    n_true_found: int
    n_above_floor: int
    n_above_floor_found: int
    n_intervals: int
    n_covered: int
    n_decoys: int
    n_decoys_found: int
    n_faint_found: int
    errors: dict[str, list[float]]
    discoveries: dict[str, tuple[int, int]]


def score(
    interactions: pd.DataFrame,
    planted: HasTruth,
    method: str = "clamping",
    *,
    truth: Mapping[Pair, TrueEffect] | None = None,
    min_effect: float = 0.0,
) -> PlantedScore:
    """Compare measured interactions with the planted truth.

    Args:
        interactions: ``InteractionSet.frame``.
        planted: The model that was measured.
        method: Rows of this method are compared.
        truth: True effects of every pair, from :func:`simulated_effects`. None: those of the planted edges by linear algebra, and
            every other pair but the nonlinear ones has none.
        min_effect: A true effect must be at least as large to count as one.
    """
    records: list[Any] = interactions[interactions["method"] == method].to_dict("records")
    rows = {pair_of(row): row for row in records}
    judge = _Judge(planted, truth, min_effect)
    found = {pair for pair, row in rows.items() if row["significant"]}
    planned = {pair for pair in planted.edges if judge.is_edge(pair)}
    hits, false = sorted(found & planned), sorted(pair for pair in found if not judge.is_edge(pair))
    errors = {name: _errors(rows, judge, hits, name) for name in EFFECTS}
    true = [pair for pair in rows if judge.is_edge(pair)]
    strong = [pair for pair in true if judge.above_floor(pair, rows[pair])]
    intervals = [pair for pair in planned if pair in rows and judge.has(pair, "total") and _varies(rows[pair])]
    decoys = [pair for pair in planted.decoys if pair in rows and not judge.is_edge(pair)]
    decoys_found = sum(pair in found for pair in decoys)
    fdr = len(false) / len(found) if found else 0.0
    return PlantedScore(
        recall=len(hits) / max(len(planned), 1),
        precision=1 - fdr,
        fdr=fdr,
        sign_accuracy=float(np.mean([_sign_agrees(rows[pair], judge.effect(pair)) for pair in hits])) if hits else 1.0,
        total_error=max(errors["total"], default=0.0),
        direct_error=max(errors["direct"], default=0.0),
        later_error=max(errors["later"], default=0.0),
        zero_error=max((_stray(rows[pair], judge.effect(pair)) for pair in hits), default=0.0),
        decoys_rejected=1 - decoys_found / len(decoys) if decoys else 1.0,
        missed=sorted(planned - found),
        false=false,
        n_planted=len(planned),
        n_found=len(found),
        n_false=len(false),
        n_true=len(true),
        n_true_found=sum(pair in found for pair in true),
        n_above_floor=len(strong),
        n_above_floor_found=sum(pair in found for pair in strong),
        n_intervals=len(intervals),
        n_covered=sum(rows[pair]["ci_low"] <= judge.effect(pair).total <= rows[pair]["ci_high"] for pair in intervals),
        n_decoys=len(decoys),
        n_decoys_found=decoys_found,
        n_faint_found=len(found & set(planted.faint)),
        errors=errors,
        discoveries={name: judge.discoveries(rows, name) for name in EFFECTS},
    )


@dataclass(frozen=True)
class _Judge:
    """What is true of a pair."""

    planted: HasTruth
    truth: Mapping[Pair, TrueEffect] | None
    min_effect: float

    def effect(self, pair: Pair) -> TrueEffect:
        known = self.planted.edges if self.truth is None else self.truth
        return known.get(pair, TrueEffect(0.0, 0.0, 0.0))

    def is_edge(self, pair: Pair) -> bool:
        return any(self.has(pair, name) for name in EFFECTS)

    def has(self, pair: Pair, name: str) -> bool:
        if self.truth is None and pair in set(self.planted.nonlinear):
            return True
        return abs(getattr(self.effect(pair), name)) >= max(self.min_effect, NOTHING)

    def above_floor(self, pair: Pair, row: Row) -> bool:
        return any(self.has(pair, name) and abs(getattr(self.effect(pair), name)) >= row[FLOORS[name]] for name in EFFECTS)

    def discoveries(self, rows: Mapping[Pair, Row], name: str) -> tuple[int, int]:
        passed = [pair for pair, row in rows.items() if name in row["significant_by"].split("+")]
        return len(passed), sum(not self.has(pair, name) for pair in passed)


def pair_of(row: Row) -> Pair:
    """(source, target) of a row, from their short ids; a dictionary on a component is called as the engine calls it."""
    source, target = (read_feature_id(str(row[name])) for name in ("src_id", "tgt_id"))
    return (_site(source), source.index), (_site(target), target.index)


def _site(feature: FeatureId) -> int:
    return key_of(*site_kind(feature.site_name)) if feature.site else feature.layer


def _errors(rows: dict[Pair, Row], judge: _Judge, hits: list[Pair], name: str) -> list[float]:
    true = {pair: getattr(judge.effect(pair), name) for pair in hits if judge.has(pair, name)}
    return [float(abs(rows[pair][EFFECTS[name]] - value) / abs(value)) for pair, value in true.items()]


def _varies(row: Row) -> bool:
    """Whether documents differ by more than float32 rounds: an interval around a constant has no width that means anything."""
    return bool(row["se"] > 1e-6 * abs(row["mean_strength"]))


def _stray(row: Row, effect: TrueEffect) -> float:
    return max((abs(row[EFFECTS[name]]) for name in ("total", "direct") if abs(getattr(effect, name)) <= NOTHING), default=0.0)


def _sign_agrees(row: Row, effect: TrueEffect) -> bool:
    name = max(EFFECTS, key=lambda n: abs(getattr(effect, n)))
    return bool(np.sign(row[EFFECTS[name]]) == np.sign(getattr(effect, name)))
