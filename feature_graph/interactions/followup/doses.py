"""Dose curves: how a target follows its source over levels from low to twice the high level.

An edge's strength is one number, the slope between two levels. The curve shows whether it is a line: the same samples, the same
clamp, levels at quantiles of the source's active values and at multiples of its high level. Above the high level the model is
pushed to where its text does not go; such levels are marked as multiples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from feature_graph.artifacts import SELECT, ActivationStore, DoseSet, FeatureRef, Pair
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.followup.edges import (
    SiteWork,
    columns_of,
    measured,
    plan_pairs,
    sites,
    sparing_broken,
    targets_of,
)
from feature_graph.interactions.plan import Plan, Source
from feature_graph.interactions.probes import Measured, Probe
from feature_graph.interventions import AnalysedModel, MeasurementContext
from feature_graph.utils import progress as progress_over
from ingest.measures import DOSES

QUANTILES = (0.1, 0.25, 0.5, 0.75)
MULTIPLES = (1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Dose:
    """A level of the source (activation units) and what it is."""

    name: str
    level: float


def measure_doses(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    pairs: Sequence[Pair],
    cfg: Config,
    *,
    store: ActivationStore,
    quantiles: Sequence[float] = QUANTILES,
    multiples: Sequence[float] = MULTIPLES,
    progress: bool = True,
) -> DoseSet:
    """Measure the response of chosen targets to several levels of their sources.

    Args:
        model: As for :func:`feature_graph.interactions.measure_interactions`.
        saes: Layer → SAELens SAE.
        pairs: Sources and targets.
        cfg: The configuration.
        store: Recorded activations, for levels and samples.
        quantiles: Levels as quantiles of the source's active values on the select documents.
        multiples: Levels as multiples of its high level.
        progress: Whether to show a progress bar.

    Returns:
        One row per pair and level, the low one (response 0) first; ``meta`` says which sources were left out and why.

    Raises:
        MeasureError: If a level is not a quantile or no positive multiple, or a pair cannot be.
    """
    if not all(0 < q < 1 for q in quantiles) or not all(m > 0 for m in multiples) or not (*quantiles, *multiples):
        raise MeasureError(
            f"levels: got quantiles {list(quantiles)}, multiples {list(multiples)}; expected 0 < q < 1, and multiples above 0"
        )
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg), store, cfg)
    plan = plan_pairs(context, pairs)
    curves = _doses(context, plan, quantiles, multiples)

    def make(plan: Plan) -> list[dict[str, Any]]:
        work = _measure(context, plan, curves)
        total = sum(map(len, plan.sources.values()))
        return [row for part in (progress_over(work, "measuring doses", total) if progress else work) for row in part]

    rows, plan = sparing_broken(plan, make)
    frame = pd.DataFrame(rows, columns=DOSES.names).astype({c.name: c.type for c in DOSES.columns if c.type != "string"})
    frame = frame.sort_values(["src_layer", "src_id", "tgt_layer", "tgt_id", "level"], ignore_index=True, kind="stable")
    return DoseSet(frame, {"pairs": len(frame.groupby(["src_id", "tgt_id"])), "left_out": plan.left_out})


def _doses(context: MeasurementContext, plan: Plan, quantiles: Sequence[float], multiples: Sequence[float]) -> dict[FeatureRef, list[Dose]]:
    """Levels of each source above its low one, ascending; of equal ones the first."""
    sources = {FeatureRef(s.layer, s.index): s for found in plan.sources.values() for s in found}
    columns = columns_of(context.store, set(sources))
    curves = {}
    for ref, source in sources.items():
        values = columns[ref].data[context.store.splits[columns[ref].indices // context.store.context_length] == SELECT]
        doses = [Dose(f"q{q:g}", float(np.quantile(values.astype(np.float64), q))) for q in quantiles]
        doses += [Dose("high" if m == 1 else f"{m:g} x high", m * source.high) for m in multiples]
        by_level = {dose.level: dose for dose in reversed(doses) if dose.level > source.low}
        curves[ref] = [by_level[level] for level in sorted(by_level)]
    return curves


def _measure(context: MeasurementContext, plan: Plan, curves: Mapping[FeatureRef, Sequence[Dose]]) -> Iterator[list[dict[str, Any]]]:
    for work in sites(context, plan):
        for source in work.sources:
            doses = curves[FeatureRef(source.layer, source.index)]
            direction = work.setting.codecs[source.layer].w_dec[source.index]
            points = list(measured(work, [Probe(replace(source, high=dose.level), direction) for dose in doses]))
            yield [row for target in targets_of(plan, source) for row in _curve(work, source, target, doses, points)]


def _curve(
    work: SiteWork, source: Source, target: FeatureRef, doses: Sequence[Dose], points: Sequence[list[Measured]]
) -> list[dict[str, Any]]:
    site, j = work.column(target)
    tests = [found[site].total for found in points]
    units = [dose.level - source.low for dose in doses]
    levels = np.array([source.low, *(d.level for d in doses)])
    responses = np.array([0.0, *(test.mean[j] * unit for test, unit in zip(tests, units, strict=True))])
    shared: dict[str, Any] = {"src_id": source.id, "tgt_id": target.id, "src_layer": source.layer, "tgt_layer": target.layer}
    shared |= {"n_samples": len(source.test), "n_documents": source.test.n_documents} | _shape(levels, responses)
    rows = [shared | {"dose": "low", "level": source.low, "response": 0.0}]
    for dose, test, unit, response in zip(doses, tests, units, responses[1:], strict=True):
        interval = {"se": test.se[j] * unit, "ci_low": test.ci_low[j] * unit, "ci_high": test.ci_high[j] * unit}
        rows.append(shared | {"dose": dose.name, "level": dose.level, "response": response} | interval)
    return rows


def _shape(levels: np.ndarray[Any, Any], responses: np.ndarray[Any, Any]) -> dict[str, float]:
    """R² of the least-squares line, and the slopes at both ends; a curve without any variance has no R²."""
    centred, spread = responses - responses.mean(), levels - levels.mean()
    variance = float(centred @ centred)
    explained = float(spread @ centred) ** 2 / float(spread @ spread)
    slopes = np.diff(responses) / np.diff(levels)
    r_squared = explained / variance if variance > 0 else np.nan
    return {"r_squared": r_squared, "slope_low": float(slopes[0]), "slope_high": float(slopes[-1])}
