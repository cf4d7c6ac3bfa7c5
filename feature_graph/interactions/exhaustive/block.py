"""One block of sources (or placebos) of a site against every feature of the window; what is worth keeping comes back as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.activations import SampleRows
from feature_graph.artifacts import key_of_site
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.blocks import achieved, spilled
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.exhaustive.floors import SiteFloors
from feature_graph.interactions.probes import ROUNDING, Probe, clamps_of
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interventions import (
    Arrived,
    Clamps,
    Groups,
    Moments,
    Screened,
    Setting,
    document_effects,
    later_mask,
    screen_effects,
    screen_site_effects,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EFFECTS = ("total", "direct", "later", "computed")


@dataclass(frozen=True)
class SiteContext:
    """What every block of one source site shares.

    Attributes:
        setting: Clean run, model, dictionaries.
        source: Dictionary of the source site.
        path: Dictionaries of the later sites of the window, in order.
    """

    setting: Setting
    source: SiteCodec
    path: tuple[SiteCodec, ...]

    def screen(self, clamps: Clamps, groups: Groups, horizon: int, *, direct: bool) -> list[Screened]:
        """Effects of some clamps on every feature of the path."""
        setting, source = self.setting, self.source.site
        slices, clean, counted = setting.slices, setting.clean, setting.counted
        if setting.model.has_components:
            return screen_site_effects(slices, clean, source, clamps, groups, self.path, horizon, counted, direct=direct)
        return screen_effects(slices, clean, source.point, clamps, groups, self.path, horizon, counted, direct=direct)


def by_document(rows: SampleRows) -> SampleRows:
    """The same samples, those of a document together."""
    order = np.lexsort((rows.positions, rows.documents))
    return SampleRows(rows.documents[order], rows.positions[order], rows.values[order])


def groups_of(parts: Sequence[SampleRows]) -> Groups:
    """How the samples of a block, one part per source, make documents and sources."""
    source = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    documents = np.concatenate([part.documents for part in parts]) if parts else np.zeros(0, dtype=np.int64)
    return Groups.padded(source, documents, len(parts))


def screen_probes(site: SiteContext, probes: Sequence[Probe]) -> list[Screened]:
    """Effects of some probes on every feature of the path, on their test samples."""
    parts = [by_document(p.source.test) for p in probes]
    found = site.screen(clamps_of(site.setting, probes, parts), groups_of(parts), site.setting.horizon, direct=True)
    for screened in found:
        effects = [getattr(screened, name) for name in EFFECTS]
        if not all(bool(torch.isfinite(m.mean).all()) for m in effects if m is not None):
            raise MeasureError("an effect is NaN or infinite: the model overflows under the clamp; check its weights and precision")
    return found


def units_of(probes: Sequence[Probe]) -> Floats:
    """High minus low of each probe, float64 [K, 1]."""
    return np.array([[p.source.high - p.source.low] for p in probes])


def site_floors(site: SiteContext, placebos: Sequence[Probe], cfg: Config, size: int) -> list[SiteFloors]:
    """Floors of every site of the path; without placebos they are ``min_effect``."""
    strengths: list[dict[str, list[NDArray[np.float32]]]] = [{name: [] for name in EFFECTS} for _ in site.path]
    for block in (placebos[k : k + size] for k in range(0, len(placebos), size)):
        for held, screened in zip(strengths, screen_probes(site, block), strict=True):
            for name in EFFECTS:
                moments = getattr(screened, name)
                if moments is not None:
                    held[name].append((numpy(moments.mean) / units_of(block)).astype(np.float32))
    floors = []
    for codec, held in zip(site.path, strengths, strict=True):
        nothing = np.zeros((0, codec.d_sae), dtype=np.float32)
        floors.append(SiteFloors.of({name: np.concatenate([nothing, *held[name]]) for name in EFFECTS}, cfg))
    return floors


def numpy(tensor: Tensor) -> NDArray[np.float32]:
    """On the CPU, as an array."""
    return tensor.cpu().numpy()


@dataclass(frozen=True)
class Bar:
    """What an effect must exceed to be kept.

    Attributes:
        floors: Of the placebos, one per site of the path.
        smallest: The smallest effect that counts.
        level: Largest raw p of a pair.
    """

    floors: Sequence[SiteFloors]
    smallest: SmallestEffect
    level: float

    def delta(self, codec: SiteCodec, probes: Sequence[Probe]) -> Floats:
        """Smallest effect that counts of each probe on each feature of a site, float64 [K, d_sae]."""
        every, key = np.arange(codec.d_sae), key_of_site(codec.site, probes[0].source.layer)
        return np.stack([self.smallest.on(key, every, p.source.high - p.source.low) for p in probes])


def source_rows(site: SiteContext, probes: Sequence[Probe], bar: Bar, *, confirm: bool) -> pd.DataFrame:
    """Pairs of some sources whose effects together have a p at or below the level, sorted by source and target.

    Returns:
        ``src_index``, ``tgt_layer``, ``tgt_index``, strengths, p, standard errors and what else was measured; float32 but for p.
    """
    found = screen_probes(site, probes)
    again = _confirmed(site, probes) if confirm else None
    frames = []
    for k, (codec, screened, floor) in enumerate(zip(site.path, found, bar.floors, strict=True)):
        frame = _kept(probes, codec, screened, floor, bar)
        at = (frame["row"].to_numpy(), frame["tgt_index"].to_numpy())
        for column, effect in (("confirm_strength", "total"), ("confirm_computed", "computed")):
            frame[column] = again[k][effect][at] if again is not None else np.nan
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values(["row", "tgt_layer", "tgt_index"], ignore_index=True).drop(columns="row")


def _kept(probes: Sequence[Probe], codec: SiteCodec, screened: Screened, floor: SiteFloors, bar: Bar) -> pd.DataFrame:
    unit, delta = units_of(probes), bar.delta(codec, probes)
    strengths: dict[str, Floats] = {}
    p: dict[str, Floats] = {}
    for name in EFFECTS:
        moments = getattr(screened, name)
        if moments is not None and not (name == "direct" and screened.direct is screened.total):
            strengths[name] = numpy(moments.mean) / unit
            strengths[name][screened.rows[name].groups.n_documents == 0] = np.nan  # no later position
            above = (np.abs(strengths[name]) > delta) & (np.abs(strengths[name]) >= floor.of_effect[name])
            p[name] = _p_values(codec, moments, screened.rows[name], above, (delta + _rounding(name, strengths)) * unit)
            p[name][np.isnan(strengths[name])] = np.nan
    row, target = _chosen(p, bar.level)
    key = int(key_of_site(codec.site, probes[0].source.layer))
    frame = pd.DataFrame({"row": row, "src_index": np.array([x.source.index for x in probes])[row], "tgt_layer": key})
    frame["tgt_index"], frame["smallest"] = target, delta[row, target]
    se = _errors(screened.total, screened.rows["total"].groups)
    frame["mean_strength"], frame["se"] = strengths["total"][row, target], (se / unit)[row, target]
    frame["direct_strength"] = strengths.get("direct", strengths["total"])[row, target]
    held = np.full((len(probes), 2), np.nan) if screened.held is None else numpy(screened.held).astype(np.float64)
    frame[["held_features", "held_rank"]] = held[row]
    frame["later_strength"] = strengths["later"][row, target] if "later" in strengths else np.nan
    frame["preactivation_strength"] = (numpy(screened.preactivation) / unit)[row, target]
    frame["p_on_change"] = numpy(screened.total.on)[row, target]
    frame["p_value"], frame["p_direct"] = p["total"][row, target], p.get("direct", p["total"])[row, target]
    frame["p_later"] = np.nan_to_num(p["later"][row, target], nan=1.0) if "later" in p else 1.0
    frame["p_computed"], frame["computed_strength"] = p["computed"][row, target], strengths["computed"][row, target]
    frame["copy_strength"] = frame["mean_strength"] - frame["computed_strength"]
    frame["se_computed"] = (_errors(screened.computed, screened.rows["computed"].groups) / unit)[row, target]
    frame["placebo_quantile"] = floor.share(frame["mean_strength"].to_numpy(), target)
    exact = ("p_value", "p_direct", "p_later", "p_computed")
    single = [c for c in frame.select_dtypes(np.float64).columns.tolist() if c not in exact]
    return frame.astype(dict.fromkeys(single, np.float32) | {"src_index": np.int32, "tgt_layer": np.int32, "tgt_index": np.int32})


def _rounding(effect: str, strengths: dict[str, Floats]) -> Floats | float:
    """What a pure copy leaves in the computed effect: the rounding of two numbers that cancel."""
    if effect != "computed":
        return 0.0
    return ROUNDING * (np.abs(strengths["total"]) + np.abs(strengths["total"] - strengths["computed"]))


def _chosen(p: dict[str, Floats], level: float) -> tuple[Ints, Ints]:
    """Source row and target of the pairs whose p over all their effects is at most ``level``."""
    row, target = np.nonzero(np.logical_or.reduce([values <= level for values in p.values()]))  # Simes' p is no smaller than the smallest
    keep = stats.simes(np.column_stack([values[row, target] for values in p.values()])) <= level
    return row[keep], target[keep]


def _errors(moments: Moments, groups: Groups) -> Floats:
    """Standard errors over documents, float64 [K, T]; NaN with fewer than two."""
    n = groups.n_documents[:, None].astype(np.float64)
    return np.sqrt(numpy(moments.m2).astype(np.float64) / np.where(n > 1, (n - 1) * n, np.nan))


def _p_values(codec: SiteCodec, moments: Moments, arrived: Arrived, above: NDArray[np.bool_], delta: Floats) -> Floats:
    """p of every pair above its bar, 1 elsewhere; float64 [K, T]. ``delta`` is for the whole clamp, as the moments are."""
    p = np.ones(above.shape)
    n = arrived.groups.n_documents
    exact = n <= stats.SIGN_FLIP_MAX
    for k in np.flatnonzero(exact & (n > 1)):
        targets = np.flatnonzero(above[k])
        if len(targets):
            each = document_effects(codec, arrived, int(k), torch.as_tensor(targets, device=codec.device))
            p[k, targets] = stats.sign_flip_p(each, delta[k, targets])
    row, target = np.nonzero(above & ~exact[:, None])
    se = _errors(moments, arrived.groups)
    p[row, target] = stats.t_p(numpy(moments.mean)[row, target].astype(np.float64), se[row, target], n[row], delta[row, target])
    return p


def _confirmed(site: SiteContext, probes: Sequence[Probe]) -> list[dict[str, Floats]]:
    """Total and computed strength of each probe on the confirmation documents, [K, T] per site; NaN without samples."""
    parts = [by_document(p.source.confirm) for p in probes]
    groups = groups_of(parts)
    found = site.screen(clamps_of(site.setting, probes, parts), groups, 0, direct=False)
    none = np.where(groups.n_documents[:, None] > 0, units_of(probes), np.nan)
    return [{name: numpy(getattr(screened, name).mean) / none for name in ("total", "computed")} for screened in found]


def source_table(site: SiteContext, probes: Sequence[Probe]) -> pd.DataFrame:
    """One row per source: levels, samples, level reached, spill."""
    codec = site.source
    index = torch.tensor([p.source.index for p in probes], device=codec.device)
    return pd.DataFrame(
        {
            "src_layer": int(probes[0].source.layer),
            "src_index": [p.source.index for p in probes],
            "clamp_low": [p.source.low for p in probes],
            "clamp_high": [p.source.high for p in probes],
            "n_samples": [len(p.source.test) for p in probes],
            "n_documents": [p.source.test.n_documents for p in probes],
            "n_later": _n_later(site, probes),
            "n_confirm": [p.source.confirm.n_documents for p in probes],
            "achieved": achieved(site.setting, probes),
            "spill": spilled(codec, index),
        }
    )


def _n_later(site: SiteContext, probes: Sequence[Probe]) -> list[int]:
    """Samples of each probe that have a later position."""
    parts = [p.source.test for p in probes]
    setting = site.setting
    has = later_mask(clamps_of(setting, probes, parts), setting.horizon, setting.counted).any(1).cpu().numpy()
    return [int(part.sum()) for part in np.split(has, np.cumsum([len(part) for part in parts])[:-1])]
