"""Scores of forecasts: rank correlation with what was measured, paired over resampled sources and documents
(:mod:`feature_graph.evaluation.forecasts.bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.evaluation.forecasts.bootstrap import DocumentTruth, two_way
from feature_graph.evaluation.forecasts.compared import ComparedForecasts
from feature_graph.evaluation.forecasts.forecasters import BASELINES, FORECASTERS
from feature_graph.evaluation.forecasts.ranks import spearman

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Effect = Literal["total", "computed", "orthogonal"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
#: |cosine| below which two rows count as orthogonal.
ORTHOGONAL = 0.02
#: Groups of sites crossed → smallest and largest.
DISTANCES: Mapping[str, tuple[int, int]] = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4+": (4, 99), "all": (0, 99)}
_Z = 1.96


def forecast_scores(compared: ComparedForecasts, resamples: int = 500, seed: int = 0) -> dict[str, Any]:
    """Scores of every forecaster, in every group of pairs.

    Args:
        compared: What :func:`compare_forecasts` gives.
        resamples: Of the two-way bootstrap, over sources and documents.
        seed: Of the bootstrap.

    Returns:
        ``often`` and ``rare`` (P̂ from 0.1, and below) → effect (``total``; ``computed``: total minus copied; ``orthogonal``: total of pairs
        with |cosine| < 0.02) → sites crossed (``1``, ``2``, ``3``, ``4+``, ``all``) → :func:`score`. Values that do not exist are None.
    """
    found: dict[str, Any] = {}
    for name, often in (("often", True), ("rare", False)):
        mine = compared.rows((compared.pairs["often"] == often).to_numpy())
        found[name] = {effect: _by_distance(_part(mine, effect), effect, resamples, seed) for effect in EFFECTS}
    return found


def _part(compared: ComparedForecasts, effect: Effect) -> ComparedForecasts:
    return compared.rows((compared.pairs["cosine"].abs() < ORTHOGONAL).to_numpy()) if effect == "orthogonal" else compared


def _by_distance(compared: ComparedForecasts, effect: Effect, resamples: int, seed: int) -> dict[str, Any]:
    crossed = compared.pairs["crossed"].to_numpy()
    groups = {name: compared.rows((crossed >= low) & (crossed <= high)) for name, (low, high) in DISTANCES.items()}
    return {name: score(part, effect, resamples, seed) for name, part in groups.items()}


def score(compared: ComparedForecasts, effect: Effect, resamples: int = 500, seed: int = 0) -> dict[str, Any]:
    """Scores on one group of pairs.

    Returns:
        ``pairs``, ``sources``, ``documents`` (in which these were steered); ``pooled`` and ``within`` (mean over sources of the
        correlation over their own targets): forecaster → ``value``, ``ci`` (95 %), and ``split half`` (correlation of the halves of the
        truth); ``sign``: forecaster → share of right signs among measured effects of more than 1.96 standard errors, ``signed``: their
        number; ``gain`` and ``gain_within``: response minus the best baseline, which is chosen anew in every resample (``best``, ``value``,
        ``ci``; over one site paths are the response or the virtual weight, and no baseline), ``over_edge``: response minus edge, pooled.
    """
    owner, sources = pd.factorize(compared.pairs["source"])
    order = np.argsort(owner, kind="stable")
    compared, owner = compared.rows(order), owner[order].astype(np.int64)
    pairs = compared.pairs
    truth, halves, error = _truth(pairs, effect)
    names = [f"{name} computed" if effect == "computed" else name for name in FORECASTERS]
    columns = {name: pairs[column].to_numpy(np.float64) for name, column in zip(FORECASTERS, names, strict=True)}
    parts = compared.total - compared.copied if effect == "computed" else compared.total
    found = two_way(columns, DocumentTruth(truth, parts, compared.documents, owner), resamples, seed)
    pooled, within = found.pooled, found.within
    clear = np.abs(truth) > _Z * error
    # From one site to the next a path is the response itself (between components the virtual weight), not something to beat.
    baselines = tuple(name for name in BASELINES if name != "paths" or (pairs["crossed"] > 1).any())
    return {
        "pairs": len(pairs),
        "sources": len(sources),
        "documents": len(np.unique(compared.documents[compared.documents >= 0])),
        "pooled": _summaries(pooled) | {"split half": {"value": _plain(spearman(*halves))}},
        "within": _summaries(within) | {"split half": {"value": _plain(_mean(_of_sources(*halves, owner, len(sources))))}},
        "sign": {name: _sign(values[clear], truth[clear]) for name, values in columns.items()},
        "signed": int(clear.sum()),
        "gain": _gain(pooled, baselines),
        "gain_within": _gain(within, baselines),
        "over_edge": _gain(pooled, ("edge",)),
    }


def _truth(pairs: pd.DataFrame, effect: Effect) -> tuple[Floats, tuple[Floats, Floats], Floats]:
    """What was measured, in each half of the documents, and its standard error."""

    def of(end: str) -> Floats:
        total = pairs[f"measured{end}"].to_numpy(np.float64)
        return total - pairs[f"copied{end}"].to_numpy(np.float64) if effect == "computed" else total

    error = pairs["computed_se" if effect == "computed" else "measured_se"].to_numpy(np.float64)
    return of(""), (of("_0"), of("_1")), error


def _of_sources(values: Floats, truth: Floats, owner: Ints, n: int) -> Floats:
    """Spearman over the pairs of each source, [n]; NaN where it has too few."""
    return np.array([spearman(values[owner == k], truth[owner == k]) for k in range(n)], dtype=np.float64)


def _sign(values: Floats, truth: Floats) -> float | None:
    told = values != 0
    return float((np.sign(values[told]) == np.sign(truth[told])).mean()) if told.any() else None


def _summaries(found: Mapping[str, Floats]) -> dict[str, dict[str, Any]]:
    return {name: {"value": _plain(values[0]), "ci": _interval(values[1:])} for name, values in found.items()}


def _gain(found: Mapping[str, Floats], others: tuple[str, ...]) -> dict[str, Any]:
    """The response minus the best of others, which is chosen anew in every resample."""
    table = np.where(np.isfinite(rows := np.stack([found[name] for name in others])), rows, -np.inf)
    gain = found["response"] - table.max(axis=0)
    best = others[int(table[:, 0].argmax())] if np.isfinite(table[:, 0]).any() else None
    return {"best": best, "value": _plain(gain[0]), "ci": _interval(gain[1:])}


def _interval(values: Floats) -> list[float | None]:
    finite = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(finite, (0.025, 0.975))] if len(finite) else [None, None]


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
