"""Mediation: by which part of the blocks chosen edges reach their targets (:mod:`feature_graph.interventions.mediation` says what is what).

On the samples of the main measurement, averaged within documents. As derivatives the parts add up to the Jacobian; under the clamp each
part is taken alone and the ``remainder`` is what they do together. With dictionaries on components the derivatives are split by
:mod:`feature_graph.interventions.site_mediation`: also by what goes through the features of the run's dictionaries between, through their
skip connections, and past them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from feature_graph import stats
from feature_graph.artifacts import ActivationStore, FeatureRef, MediationSet, Pair, Site, layer_of
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interactions.errors import BrokenEffect, MeasureError
from feature_graph.interactions.followup.edges import SiteWork, plan_pairs, sites, sparing_broken, targets_of
from feature_graph.interactions.plan import Plan, Source
from feature_graph.interactions.probes import Probe, clamps_of
from feature_graph.interventions import (
    AnalysedModel,
    Clamps,
    MeasurementContext,
    Mediated,
    MovedTokens,
    mediated_effects,
    site_mediation,
)
from feature_graph.utils import progress as progress_over
from ingest.measures import MEDIATION

Method = Literal["jacobian", "clamping"]
METHODS: tuple[Method, ...] = ("jacobian", "clamping")
#: Rows of a pair, in the order of a block; keeps that of both kinds of parts.
_ROWS = ("total", "residual", "direct", "attention", "pattern", "features", "skip", "error", "mlp", "normalisation", "remainder")
_ORDER = {name: k for k, name in enumerate(_ROWS)}


def measure_mediation(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    pairs: Sequence[Pair],
    cfg: Config,
    *,
    methods: Sequence[Method] = METHODS,
    store: ActivationStore,
    progress: bool = True,
) -> MediationSet:
    """Split chosen effects by residual path, attention, patterns, MLPs and normalisation; or by the dictionaries between.

    Args:
        model: As for :func:`feature_graph.interactions.measure_doses`, as are ``saes``, ``pairs``, ``cfg`` and ``store``.
        methods: ``jacobian`` (the parts add up), ``clamping`` (with a remainder), or both. With dictionaries on components ``jacobian``
            alone, whichever of the two are asked for.
        progress: Whether to show a progress bar.

    Returns:
        One row per pair, method and part, the total first; ``meta`` says which sources were left out and why.

    Raises:
        MeasureError: If a method or a pair cannot be.
    """
    unknown = [m for m in methods if m not in METHODS]
    if unknown or not methods:
        raise MeasureError(f"methods: got {list(methods)}; expected some of {list(METHODS)}")
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg, components=True), store, cfg)
    if context.model.has_components:
        if "jacobian" not in methods:
            raise MeasureError(f"methods: got {list(methods)}; with dictionaries on components only jacobian is split")
        methods = ("jacobian",)
    plan = plan_pairs(context, pairs)

    def make(plan: Plan) -> list[dict[str, Any]]:
        work = (part for site in sites(context, plan) for part in _measure(site, plan, methods, cfg.min_effect))
        total = sum(map(len, plan.sources.values()))
        return [row for part in (progress_over(work, "measuring mediation", total) if progress else work) for row in part]

    rows, plan = sparing_broken(plan, make)
    frame = pd.DataFrame(rows, columns=MEDIATION.names).astype({c.name: c.type for c in MEDIATION.columns if c.type != "string"})
    frame["order"] = frame["component"].map(_ORDER)
    keys = ["src_layer", "src_id", "tgt_layer", "tgt_id", "method", "order"]
    frame = frame.sort_values(keys, ignore_index=True, kind="stable")[MEDIATION.names]
    return MediationSet(frame, {"pairs": len(frame.groupby(["src_id", "tgt_id"])), "left_out": plan.left_out})


def _measure(work: SiteWork, plan: Plan, methods: Sequence[Method], min_effect: float) -> Iterator[list[dict[str, Any]]]:
    """Rows of each source of one site."""
    setting = work.setting
    codec = setting.codecs[work.sources[0].layer]
    for source in work.sources:
        clamps = clamps_of(setting, [Probe(source, codec.w_dec[source.index])], [source.test])
        rows = []
        for method in dict.fromkeys(methods):
            linear = method == "jacobian"
            found = _mediated(work, codec.site, clamps, linear=linear)
            unit = 1.0 if linear else source.high - source.low
            for target in targets_of(plan, source):
                site, j = work.column(target)
                effect = found[site]
                values = {"total": effect.total, **effect.parts} | ({} if linear else {"remainder": effect.remainder})
                tests = {name: _test(value[:, j] / unit, source) for name, value in values.items()}
                rows += _rows(source, target, method, tests, min_effect)
        yield rows


def _mediated(work: SiteWork, source: Site, clamps: Clamps, *, linear: bool) -> list[Mediated]:
    """One entry per site of the path."""
    setting = work.setting
    if not setting.model.has_components:
        return mediated_effects(setting.slices, setting.clean, source.point, clamps, work.path, derivative=linear)
    moved, between = MovedTokens(clamps.documents, clamps.positions, clamps.directions), setting.codecs.values()
    return [site_mediation(setting.slices, setting.clean, source, moved, reading, between) for reading in work.path]


def _test(values: Tensor, source: Source) -> stats.MeanTest:
    array = values.double().cpu().numpy()
    if not np.isfinite(array).all():
        raise BrokenEffect([source.id])
    return stats.mean_test(stats.document_means(array, source.test.documents).values)


def _rows(source: Source, target: FeatureRef, method: str, tests: Mapping[str, stats.MeanTest], min_effect: float) -> list[dict[str, Any]]:
    layers = {"src_layer": layer_of(source.layer), "tgt_layer": target.layer}
    shared = {"src_id": source.id, "tgt_id": target.id, **layers, "method": method}
    shared |= {"n_samples": len(source.test), "n_documents": source.test.n_documents}
    whole = float(tests["total"].mean)
    rows = []
    for name, test in tests.items():
        share = float(test.mean) / whole if abs(whole) > max(min_effect, 1e-7) else np.nan
        values = {"strength": float(test.mean), "se": float(test.se), "ci_low": float(test.ci_low), "ci_high": float(test.ci_high)}
        rows.append(shared | {"component": name, "share": share} | values)
    return rows
