"""How the sites of a run follow each other: by layer, and within a layer by the order that the run gives.

A site is named by what its features' ids begin with: ``L5``, or ``L5.mlp`` where the layer has several. Facts of sites (``sites`` in the
metadata of features.parquet, or ``saes`` of manifest.json) then carry ``site`` (``mlp``) and ``order`` (0, 1 … within the layer). Where no
site of a layer has an order, and all are of known kinds, they follow each other as :mod:`ingest.site_kinds` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ingest.feature_ids import site_name, sites_of, split_site_name
from ingest.rundir import RunDirectory
from ingest.site_kinds import ID_SITES, kind_named, place_in_layer, read_point, write_point


def site_of(facts: dict[str, Any]) -> str | None:
    """Name of the site that facts are about; None if they do not say."""
    layer = facts.get("layer")
    return site_name(layer, str(facts.get("site") or "")) if isinstance(layer, int) else None


def points_of(facts: dict[str, Any]) -> dict[str, Any]:
    """``kind``, ``reads`` and ``writes`` of the site that facts are about: what it is and its points in the order of the model.

    Empty if they do not say it; only facts of a residual stream say no kind, but how many blocks were run before it (``point``).
    """
    layer, point, site = facts.get("layer"), facts.get("point"), facts.get("site")
    kind = facts.get("kind") or ("residual" if isinstance(point, int) and not site else None)
    if kind not in ID_SITES or not isinstance(layer, int):
        return {}
    return {"kind": kind, "reads": read_point(kind, layer, point), "writes": write_point(kind, layer, point)}


def site_widths(run: RunDirectory) -> dict[str, int]:
    """Site → features of its dictionary, where the run says it."""
    return {name: int(facts["d_sae"]) for facts in run.sites if (name := site_of(facts)) and "d_sae" in facts}


@dataclass(frozen=True)
class SiteOrder:
    """Places of features in the model.

    Attributes:
        layer: int64 [features].
        order: int64 [features], place of the site in its layer; 0 if not given.
        rank: int64 [features], place of the site among all that are known.
        step: int64 [features], place of the layer among all that are known.
        whole: Whether the run says which sites it analysed, so that ``rank`` and ``step`` count all of them.
    """

    layer: np.ndarray
    order: np.ndarray
    rank: np.ndarray
    step: np.ndarray
    whole: bool

    def within_layer(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Which pairs of fids go forward within one layer; fids that are none take no part."""
        known, s, t = self._known(source, target)
        return known & (self.layer[s] == self.layer[t]) & (self.order[s] < self.order[t]) if len(self.layer) else known

    def spans(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and most that the span of each pair of fids can be: the layers that it crosses, or the sites, which other programs count.

        Between two layers there may be some that the run analysed and no feature of which was kept, unless it says what it analysed.
        """
        known, s, t = self._known(source, target)
        if not len(self.layer):
            return np.zeros(len(source)), np.full(len(source), np.inf)
        least, sites = (np.where(known, places[t] - places[s], 0) for places in (self.step, self.rank))
        layers = np.maximum(self.layer[t] - self.layer[s] + np.maximum(self.order[t], 0), sites)
        return least, np.where(known, sites if self.whole else layers, np.inf)

    def neither(self, source: np.ndarray, target: np.ndarray, span: np.ndarray) -> np.ndarray:
        """Which spans count neither the layers nor the sites that a pair of fids crosses, where the run says what it analysed."""
        least, most = self.spans(source, target)
        return (span != least) & (span != most) if self.whole else np.zeros(len(span), bool)

    def _known(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(self.layer)
        known = (source >= 0) & (source < n) & (target >= 0) & (target < n)
        return known, np.where(known, source, 0), np.where(known, target, 0)


def site_order(run: RunDirectory, features: pd.DataFrame) -> SiteOrder:
    """The places of a run's features."""
    names = sites_of(features["id"])
    orders = _orders(run, names)
    layer = features["layer"].to_numpy(np.int64)
    order = names.map(orders).fillna(0).to_numpy(np.int64)
    declared = run.config.get("layers")
    layers = {int(n) for n in declared} if isinstance(declared, list) and all(isinstance(n, int) for n in declared) else set()
    places = {(int(facts["layer"]), orders[name]) for facts in run.sites if (name := site_of(facts))}
    places |= {(n, 0) for n in layers - {n for n, _ in places}}
    seen = set(zip(layer.tolist(), order.tolist(), strict=True))
    ranks = {place: rank for rank, place in enumerate(sorted(places | seen))}
    rank = np.array([ranks[place] for place in zip(layer.tolist(), order.tolist(), strict=True)], np.int64)
    step = np.searchsorted(np.array(sorted({n for n, _ in ranks}), np.int64), layer)
    return SiteOrder(layer, order, rank, step, bool(places) and seen <= places)


def _orders(run: RunDirectory, names: pd.Series[str]) -> dict[str, int]:
    """Name of a site → its place in its layer: as the facts give it, else by its kind."""
    given = {name: facts.get("order") for facts in run.sites if (name := site_of(facts))}
    layers: dict[int, list[str]] = {}
    for name in {*given, *names.unique()}:
        layers.setdefault(split_site_name(name)[0], []).append(name)
    orders: dict[str, int] = {}
    for found in layers.values():
        said = any(given.get(name) is not None for name in found)
        if said or any(kind_named(split_site_name(name)[1]) is None for name in found):
            orders |= {name: int(given.get(name) or 0) for name in found}
        else:
            ordered = sorted(found, key=lambda name: place_in_layer(split_site_name(name)[1]))
            orders |= {name: place for place, name in enumerate(ordered)}
    return orders
