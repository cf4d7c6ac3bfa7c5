"""From a block of probes to rows of a table; a block is the unit of resuming."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import key_of_site
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.errors import BrokenEffect
from feature_graph.interactions.plan import Plan, Source
from feature_graph.interactions.probes import Measured, Probe, clamps_of, confirm, measure, path_of
from feature_graph.interactions.specificity import specific_effects
from feature_graph.interventions import Reading, Setting, achieved_levels, read_clean, spill

log = logging.getLogger(__name__)
#: What is told of the features that are held between, in columns ``held_…``; fields of :class:`feature_graph.interactions.probes.Bypass`.
HELD = ("features", "rank", "full", "condition", "error")


def source_rows(setting: Setting, plan: Plan, sources: Sequence[Source], method: str) -> pd.DataFrame:
    """Measure some sources of one site: one row per pair asked for, before floors and corrections.

    A source under whose clamp the model gives NaN or infinity has no rows; the others of the block are measured without it.
    """
    try:
        return _source_rows(setting, plan, sources, method) if sources else pd.DataFrame()
    except BrokenEffect as broken:
        log.warning("%s. Left out", broken)
        return source_rows(setting, plan, [s for s in sources if s.id not in broken.names], method)


def _source_rows(setting: Setting, plan: Plan, sources: Sequence[Source], method: str) -> pd.DataFrame:
    layer = sources[0].layer
    codec, path = setting.codecs[layer], path_of(plan, setting.codecs, layer)
    index = torch.tensor([s.index for s in sources], device=codec.device)
    probes = [Probe(s, codec.w_dec[s.index]) for s in sources]
    found = measure(setting, probes, path, derivative=method == "jacobian", smallest=plan.smallest)
    beside = measure(setting, probes, path, derivative=True) if method == "both" else None
    confirmed = confirm(setting, probes, path, derivative=method == "jacobian")
    specific = specific_effects(setting, sources, path, plan.random) if plan.random is not None else None
    reached, others = achieved(setting, probes), spilled(codec, index)
    frames = []
    for k, source in enumerate(sources):
        for site, reading in enumerate(path):
            target = key_of_site(reading.codec.site, layer)
            if target not in plan.asked[layer, source.index]:
                continue
            at = _columns(reading, plan.asked[layer, source.index][target])
            frame = _frame(source, target, plan.asked[layer, source.index][target], found[k][site], at)
            frame["confirm_strength"], frame["n_confirm"] = confirmed[k][site].total[at], source.confirm.n_documents
            frame["confirm_computed"] = confirmed[k][site].computed[at]
            frame["smallest"] = plan.smallest.on(target, plan.asked[layer, source.index][target], source.high - source.low)
            frame["specific_strength"] = specific[k][site].strength[at] if specific else np.nan
            frame["p_specific"] = specific[k][site].p[at] if specific else np.nan
            frame["strength_jacobian"] = beside[k][site].total.mean[at] if beside else np.nan
            frame["direct_jacobian"] = beside[k][site].direct.mean[at] if beside else np.nan
            frame["achieved"], frame["spill"] = reached[k], others[k]
            frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table["method"] = "jacobian" if method == "jacobian" else "clamping"
    return table


def _columns(reading: Reading, wanted: np.ndarray) -> np.ndarray:
    features = reading.features
    return wanted if features is None else np.searchsorted(features.cpu().numpy(), wanted)


def _frame(source: Source, target: int, indices: np.ndarray, found: Measured, at: np.ndarray) -> pd.DataFrame:
    total, computed, direct, later = found.total, found.computed, found.direct, found.later
    nothing, bypass = np.full(len(at), np.nan), found.bypass
    return pd.DataFrame(
        {
            "src_layer": source.layer,
            "src_index": source.index,
            "tgt_layer": target,
            "tgt_index": indices,
            "mean_strength": total.mean[at],
            "direct_strength": direct.mean[at],
            "direct_sum": bypass.direct_sum[at] if bypass else nothing,
            **{f"held_{name}": getattr(bypass, name) if bypass else np.nan for name in HELD},
            "later_strength": later.mean[at] if later else nothing,
            "copy_strength": found.copy[at],
            "computed_strength": computed.mean[at],
            "se_computed": computed.se[at],
            "preactivation_strength": found.preactivation[at],
            "p_on_change": found.on[at],
            "se": total.se[at],
            "ci_low": total.ci_low[at],
            "ci_high": total.ci_high[at],
            "p_value": total.p[at],
            "p_computed": computed.p[at],
            "p_direct": direct.p[at],
            "p_later": later.p[at] if later else np.ones(len(at)),
            "n_samples": len(source.test),
            "n_documents": source.test.n_documents,
            "n_later": found.n_later,
            "clamp_low": source.low,
            "clamp_high": source.high,
        }
    )


def achieved(setting: Setting, probes: Sequence[Probe]) -> np.ndarray:
    """(re-encoded high − re-encoded low) / (high − low) of each source, mean over its samples; float64 [n]."""
    parts = [p.source.test for p in probes]
    counts = [len(part) for part in parts]
    codec = setting.codecs[probes[0].source.layer]
    if codec.site.kind == "transcoder":
        return np.ones(len(probes))  # it does not read what it writes: its activation is what it is set to
    features = torch.tensor([p.source.index for p in probes]).repeat_interleave(torch.tensor(counts)).to(codec.device)
    clamps = clamps_of(setting, probes, parts)
    levels = achieved_levels(
        codec, read_clean(setting.slices, setting.clean, codec.site, clamps.documents, clamps.positions), clamps, features
    )
    change = (levels[:, 0] - levels[:, 1]).double().cpu().numpy()
    unit = np.repeat([p.source.high - p.source.low for p in probes], counts)
    return np.array([part.mean() for part in np.split(change / unit, np.cumsum(counts)[:-1])])


def spilled(codec: SiteCodec, index: torch.Tensor) -> NDArray[np.float64]:
    """Change of the other features of the site per unit of each source; none for a transcoder, which does not read what it writes."""
    if codec.site.kind == "transcoder":
        return np.zeros(len(index))
    return np.asarray(spill(codec, index).double().cpu().numpy())


def placebo_rows(setting: Setting, plan: Plan, probes: Sequence[Probe], method: str) -> pd.DataFrame:
    """Measure some placebos of one site on every target of the site: one row per placebo and target; none of those that overflow."""
    try:
        return _placebo_rows(setting, plan, probes, method) if probes else pd.DataFrame()
    except BrokenEffect as broken:
        log.warning("%s. Left out", broken)
        return placebo_rows(setting, plan, [p for p in probes if p.id not in broken.names], method)


def _placebo_rows(setting: Setting, plan: Plan, probes: Sequence[Probe], method: str) -> pd.DataFrame:
    layer = probes[0].source.layer
    path = path_of(plan, setting.codecs, layer)
    found = measure(setting, probes, path, derivative=method == "jacobian")
    frames = []
    for probe, sites in zip(probes, found, strict=True):
        for reading, result in zip(path, sites, strict=True):
            if reading.features is None or not len(reading.features):
                continue
            nothing = np.zeros(len(reading.features))
            columns = {
                "number": probe.number,
                "src_layer": layer,
                "tgt_layer": key_of_site(reading.codec.site, layer),
                "tgt_index": reading.features.cpu().numpy(),
                "total": result.total.mean,
                "direct": result.direct.mean,
                "later": result.later.mean if result.later else nothing,
                "computed": result.computed.mean,
            }
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
