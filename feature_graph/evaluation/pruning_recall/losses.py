"""Shares of the edges that each stage loses, weighted so that they speak of all testable sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import StageLoss, feature_id
from feature_graph.config import Config
from feature_graph.evaluation.pruning_recall.sample import CHOSEN, TOP, Drawn
from feature_graph.interactions import leading_strength
from feature_graph.utils import derived_seed
from ingest.strength import leading_effect, takes_from_copy

#: Stages inside the window, in the order in which a pair meets them.
INSIDE = ("source", "target", "coactivation", "alignment")
_RESAMPLES = 1000


def losses(edges: pd.DataFrame, verdicts: pd.DataFrame, drawn: Mapping[int, Drawn], cfg: Config) -> list[StageLoss]:
    """What each stage would lose of the edges, for all sources, those of the shortlist and the top ones, by sign.

    Args:
        edges: Significant rows of the slice, columns of ``ingest.formats.INTERACTIONS``.
        verdicts: Of the same rows, from :func:`feature_graph.candidates.verdicts.removed_by`.
        drawn: Layer → sources drawn.
        cfg: Its seed is read.
    """
    judged = [stage for stage in INSIDE if stage in verdicts]
    table = verdicts.assign(
        source_id=edges["src_id"],
        strength=leading_strength(edges),
        inside=~verdicts["layer_window"],
        adjacent=edges["span"] == 1,
        all_stages=verdicts[judged].any(axis=1),
    )
    known = pd.concat([_known(d) for d in drawn.values()], ignore_index=True)
    table = table.merge(known, on="source_id", how="left")
    anywhere = pd.Series(True, index=table.index)
    size, effect = table["strength"].to_numpy(dtype=float), leading_effect(edges["significant_by"]).to_pylist()
    taking = np.array([takes_from_copy(*row) for row in zip(size, edges["interaction_type"], effect, strict=True)], dtype=bool)
    signs = {"both": anywhere} | {
        name: pd.Series(right & ~taking, index=table.index) for name, right in (("excitatory", size >= 0), ("inhibitory", size < 0))
    }
    groups = {"all": known} | {
        name: known[known["stratum"] == name] for name in (CHOSEN, TOP) if (known["stratum"] == name).any() or name == TOP
    }
    asked = {"alignment": table["adjacent"], "layer_window": anywhere}
    found = []
    for stage in (*judged, "all_stages", *(("responses",) if "responses" in verdicts else ()), "layer_window"):
        for group, sources in groups.items():
            for sign, right in signs.items():
                mask = asked.get(stage, table["inside"]) & right & table["source_id"].isin(sources["source_id"])
                found.append(_loss(table[mask], stage, group, sign, sources, cfg.seed))
    return found


def _known(drawn: Drawn) -> pd.DataFrame:
    names = [feature_id(drawn.layer, int(i)) for i in drawn.indices]
    return pd.DataFrame({"source_id": names, "stratum": drawn.stratum, "weight": drawn.weight, "layer": drawn.layer})


def _loss(part: pd.DataFrame, stage: str, group: str, sign: str, sources: pd.DataFrame, seed: int) -> StageLoss:
    removed = part[stage].to_numpy(dtype=bool)
    weight, strength = part["weight"].to_numpy(dtype=float), part["strength"].abs().to_numpy(dtype=float)
    if not len(part):
        return StageLoss(stage, group, sign, 0, 0, None, None, None, None)
    low, high = _interval(part["source_id"], weight * removed, weight, sources, seed)
    return StageLoss(
        stage,
        group,
        sign,
        edges=len(part),
        lost=int(removed.sum()),
        share=float((weight * removed).sum() / weight.sum()),
        low=low,
        high=high,
        strength_share=float((weight * strength * removed).sum() / (weight * strength).sum()),
    )


def _interval(
    names: pd.Series, lost: NDArray[np.float64], weight: NDArray[np.float64], sources: pd.DataFrame, seed: int
) -> tuple[float, float]:
    """95 % interval of Σ lost / Σ weight, sources drawn again within their layer and stratum: a source's edges come together."""
    place = {name: k for k, name in enumerate(sources["source_id"])}
    at = names.map(place).to_numpy()
    sums = np.stack([np.bincount(at, weights=values, minlength=len(place)) for values in (lost, weight)])
    rng = np.random.default_rng(derived_seed(seed, "recall interval"))
    totals = np.zeros((2, _RESAMPLES))
    strata: dict[Any, Any] = sources.reset_index(drop=True).groupby(["layer", "stratum"]).indices
    for members in strata.values():
        totals += sums[:, rng.choice(members, size=(_RESAMPLES, len(members)))].sum(axis=2)
    shares = np.divide(totals[0], totals[1], out=np.full(_RESAMPLES, np.nan), where=totals[1] > 0)
    low, high = np.nanquantile(shares, [0.025, 0.975])
    return float(low), float(high)
