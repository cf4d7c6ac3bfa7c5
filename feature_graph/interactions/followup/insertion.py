"""Insertion, a second estimand: what raising a source to its high level does where the source is off.

The main strength is measured where the source is active, in the contexts that it belongs to. Here samples are counted positions of
test documents drawn at random among those where it is off, distinct documents first; the clamp goes from low to the same high level.
An edge whose two strengths agree does not depend on its context; one that vanishes on insertion needs what else is there.

The null hypothesis is |strength| ≤ ``min_effect``; with placebos there is also a floor, taken anew: random directions inserted at these
very samples. One family: all pairs asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from feature_graph import stats
from feature_graph.activations import document_priority, draw_samples
from feature_graph.artifacts import TEST, ActivationStore, FeatureRef, InsertionSet, Pair
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interactions.errors import BrokenEffect
from feature_graph.interactions.followup.edges import (
    SiteWork,
    columns_of,
    measured,
    plan_pairs,
    reach_warning,
    sites,
    sparing_broken,
    targets_of,
)
from feature_graph.interactions.plan import Plan, Source
from feature_graph.interactions.probes import Floats, Measured, Probe, placebos
from feature_graph.interventions import AnalysedModel, MeasurementContext
from feature_graph.utils import derived_seed
from feature_graph.utils import progress as progress_over
from ingest.measures import INSERTIONS

log = logging.getLogger(__name__)


def measure_insertions(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    pairs: Sequence[Pair],
    cfg: Config,
    *,
    progress: bool = True,
    store: ActivationStore,
) -> InsertionSet:
    """Measure chosen edges where their source is off, to compare with where it is on.

    Args:
        model: As for :func:`feature_graph.interactions.measure_doses`, as are ``saes``, ``pairs``, ``cfg`` and ``store``.
        progress: Whether to show a progress bar.

    Returns:
        One row per pair, sorted by q; ``meta`` says which sources were left out and why.

    Raises:
        feature_graph.interactions.MeasureError: If a pair names a feature that does not exist or runs backwards.
    """
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg), store, cfg)
    active = plan_pairs(context, pairs)

    def make(plan: Plan) -> list[dict[str, Any]]:
        on_plan = replace(active, sources={layer: _same(active.sources[layer], found) for layer, found in plan.sources.items()})
        total = 2 * sum(map(len, plan.sources.values()))
        steps = chain(_effects(context, plan, floors=True), _effects(context, on_plan, floors=False))
        found = list(progress_over(steps, "measuring insertions", total) if progress else steps)
        on = {key: effect for effects in found[total // 2 :] for key, effect in effects.items()}
        return [_row(key, effect, on[key]) for effects in found[: total // 2] for key, effect in effects.items()]

    rows, inactive = sparing_broken(_where_off(context, active), make)
    frame = _finish(pd.DataFrame(rows, columns=[n for n in INSERTIONS.names if n not in ("q_value", "significant")]), cfg)
    meta = {
        "level": cfg.significance_level,
        "correction": cfg.correction_method,
        "family": len(frame),
        "significant": int(frame["significant"].sum()),
        "left_out": inactive.left_out,
        "warnings": reach_warning(frame["n_documents"].tolist(), len(frame), cfg),
    }
    return InsertionSet(frame, meta)


def _same(sources: Sequence[Source], wanted: Sequence[Source]) -> list[Source]:
    indices = {s.index for s in wanted}
    return [s for s in sources if s.index in indices]


def _where_off(context: MeasurementContext, plan: Plan) -> Plan:
    """The plan with samples where each source is off; their recorded value is 0."""
    store, cfg = context.store, context.cfg
    columns = columns_of(store, {FeatureRef(s.layer, s.index) for found in plan.sources.values() for s in found})
    priority = document_priority(context.store, context.cfg)
    counted = store.rows_of(TEST)
    sources: dict[int, list[Source]] = {}
    left_out = dict(plan.left_out)
    for source in (s for found in plan.sources.values() for s in found):
        rows = np.setdiff1d(counted, columns[FeatureRef(source.layer, source.index)].indices)
        documents, positions = np.divmod(rows, store.context_length)
        order = np.random.default_rng(derived_seed(cfg.seed, "insertions", source.id)).random(len(rows))
        zero, all_rows = np.zeros(len(rows), dtype=np.float32), np.arange(len(rows))
        drawn = draw_samples(documents, positions, zero, all_rows, priority, order, cfg.n_intervention_samples)
        if drawn.n_documents < cfg.min_documents:
            left_out[source.id] = f"off in fewer than {cfg.min_documents} test documents"
        else:
            sources.setdefault(source.layer, []).append(replace(source, test=drawn))
    return replace(plan, sources=sources, left_out=left_out)


@dataclass(frozen=True)
class _Effect:
    """The total effect of one pair, as a slope.

    Attributes:
        source: With the samples used.
        test: Over documents; fields are numbers.
        on: Change of P(target active).
        floor: The smallest effect that counts; with placebos at least theirs at the same samples.
    """

    source: Source
    test: stats.MeanTest
    on: float
    floor: float


_Effects = dict[tuple[FeatureRef, FeatureRef], _Effect]


def _effects(context: MeasurementContext, plan: Plan, *, floors: bool) -> Iterator[_Effects]:
    """Effects of each source on its targets, one dict per source."""
    for work in sites(context, plan):
        limits = _floors(context, work) if floors else [np.full(len(r.features), 0.0) for r in work.path if r.features is not None]
        codec = work.setting.codecs[work.sources[0].layer]
        probes = [Probe(s, codec.w_dec[s.index]) for s in work.sources]
        for source, found in zip(work.sources, measured(work, probes, plan.smallest), strict=True):
            effects: _Effects = {}
            for target in targets_of(plan, source):
                site, j = work.column(target)
                smallest = float(plan.smallest.on(target.layer, np.array([target.index]), source.high - source.low)[0])
                effect = _Effect(source, _one(found[site].total, j), float(found[site].on[j]), max(float(limits[site][j]), smallest))
                effects[FeatureRef(source.layer, source.index), target] = effect
            yield effects


def _floors(context: MeasurementContext, work: SiteWork) -> list[Floats]:
    """Floor of each target, [targets] a site of the path."""
    cfg = context.cfg
    found = _spared(work, placebos(work.sources, cfg.n_placebo, context.slices.d_model, cfg.seed))
    targets = [0 if r.features is None else len(r.features) for r in work.path]
    strengths = [np.array([one[k].total.mean for one in found]).reshape(len(found), n) for k, n in enumerate(targets)]
    return [stats.placebo_floor(each, cfg.placebo_quantile, 0.0) for each in strengths]


def _spared(work: SiteWork, probes: Sequence[Probe]) -> list[list[Measured]]:
    """Effects of the placebos, without those that make the model overflow."""
    try:
        return list(measured(work, probes))
    except BrokenEffect as broken:
        log.warning("%s. Left out", broken)
        return _spared(work, [p for p in probes if p.id not in broken.names])


def _one(test: stats.MeanTest, j: int) -> stats.MeanTest:
    return stats.MeanTest(test.mean[j], test.se[j], test.p[j], test.ci_low[j], test.ci_high[j], test.n)


def _row(key: tuple[FeatureRef, FeatureRef], off: _Effect, on: _Effect) -> dict[str, Any]:
    test, (source, target) = off.test, key
    return {
        "src_id": source.id,
        "tgt_id": target.id,
        "src_layer": source.layer,
        "tgt_layer": target.layer,
        "strength": test.mean,
        "se": test.se,
        "ci_low": test.ci_low,
        "ci_high": test.ci_high,
        "p_value": test.p if abs(test.mean) >= off.floor else 1.0,
        "floor": off.floor,
        "active_strength": on.test.mean,
        "active_se": on.test.se,
        "difference": test.mean - on.test.mean,
        "p_difference": stats.welch_p(test, on.test),
        "p_on_change": off.on,
        "clamp_low": off.source.low,
        "clamp_high": off.source.high,
        "n_samples": len(off.source.test),
        "n_documents": test.n,
        "n_active_documents": on.test.n,
    }


def _finish(frame: pd.DataFrame, cfg: Config) -> pd.DataFrame:
    frame = frame.astype({c.name: c.type for c in INSERTIONS.columns if c.type in ("int32", "float64") and c.name in frame})
    frame["q_value"] = stats.adjust(frame["p_value"].to_numpy(), cfg.correction_method)
    frame["significant"] = (frame["q_value"] < cfg.significance_level).astype(bool)
    return frame.sort_values(["q_value", "p_value", "src_id", "tgt_id"], ignore_index=True, kind="stable")[INSERTIONS.names]
