"""How the sites of a run follow each other: by layer, and within a layer by the order that the run gives.

A site is named by what its features' ids begin with: ``L5``, or ``L5.mlp`` where the layer has several. Facts of sites (``sites`` in the
metadata of features.parquet, or ``saes`` of manifest.json) then carry ``site`` (``mlp``) and ``order`` (0, 1 … within the layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ingest.feature_ids import site_name, sites_of
from ingest.rundir import RunDirectory


def site_of(facts: dict[str, Any]) -> str | None:
    """Name of the site that facts are about; None if they do not say."""
    layer = facts.get("layer")
    return site_name(layer, str(facts.get("site") or "")) if isinstance(layer, int) else None


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
        whole: Whether the run says which sites it analysed, so that ``rank`` counts all of them.
    """

    layer: np.ndarray
    order: np.ndarray
    rank: np.ndarray
    whole: bool

    def within_layer(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Which pairs of fids go forward within one layer; fids that are none take no part."""
        known, s, t = self._known(source, target)
        return known & (self.layer[s] == self.layer[t]) & (self.order[s] < self.order[t]) if len(self.layer) else known

    def spans(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and most sites that each pair of fids can cross; between two sites of different layers there may be some that the run
        analysed and no feature of which was kept, unless it says what it analysed."""
        known, s, t = self._known(source, target)
        if not len(self.layer):
            return np.zeros(len(source)), np.full(len(source), np.inf)
        least = np.where(known, self.rank[t] - self.rank[s], 0)
        layers = np.maximum(self.layer[t] - self.layer[s] + np.maximum(self.order[t], 0), least)
        return least, np.where(known, least if self.whole else layers, np.inf)

    def _known(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(self.layer)
        known = (source >= 0) & (source < n) & (target >= 0) & (target < n)
        return known, np.where(known, source, 0), np.where(known, target, 0)


def site_order(run: RunDirectory, features: pd.DataFrame) -> SiteOrder:
    """The places of a run's features."""
    orders = {name: int(facts.get("order", 0)) for facts in run.sites if (name := site_of(facts))}
    names = sites_of(features["id"])
    layer = features["layer"].to_numpy(np.int64)
    order = names.map(orders).fillna(0).to_numpy(np.int64)
    declared = run.config.get("layers")
    layers = {int(n) for n in declared} if isinstance(declared, list) and all(isinstance(n, int) for n in declared) else set()
    places = {(int(facts["layer"]), orders[name]) for facts in run.sites if (name := site_of(facts))}
    places |= {(n, 0) for n in layers - {n for n, _ in places}}
    seen = set(zip(layer.tolist(), order.tolist(), strict=True))
    ranks = {place: rank for rank, place in enumerate(sorted(places | seen))}
    rank = np.array([ranks[place] for place in zip(layer.tolist(), order.tolist(), strict=True)], np.int64)
    return SiteOrder(layer, order, rank, bool(places) and seen <= places)
