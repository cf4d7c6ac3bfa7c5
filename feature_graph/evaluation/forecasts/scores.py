"""Scores of forecasts: rank correlation with what was measured, paired over resampled sources.

A resample draws sources with replacement; a pair counts as often as its source was drawn. Ranks are made anew in each resample: with values
numbered by size once, the mean rank of each is a cumulative sum of counts, which is what ranking the repeated rows would give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.evaluation.forecasts.forecasters import BASELINES, FORECASTERS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Effect = Literal["total", "computed", "orthogonal"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
#: |cosine| below which two rows count as orthogonal.
ORTHOGONAL = 0.02
#: Groups of sites crossed → smallest and largest.
DISTANCES: Mapping[str, tuple[int, int]] = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4+": (4, 99), "all": (0, 99)}
_FEWEST, _Z = 8, 1.96


def forecast_scores(pairs: pd.DataFrame, resamples: int = 500, seed: int = 0) -> dict[str, Any]:
    """Scores of every forecaster, in every group of pairs.

    Args:
        pairs: The table of :func:`compare_forecasts`.
        resamples: Of the bootstrap over sources.
        seed: Of the bootstrap.

    Returns:
        ``often`` and ``rare`` (P̂ from 0.1, and below) → effect (``total``; ``computed``: total minus copied; ``orthogonal``: total of pairs
        with |cosine| < 0.02) → sites crossed (``1``, ``2``, ``3``, ``4+``, ``all``) → :func:`score`. Values that do not exist are None.
    """
    return {
        name: {effect: _by_distance(_part(pairs[pairs["often"] == often], effect), effect, resamples, seed) for effect in EFFECTS}
        for name, often in (("often", True), ("rare", False))
    }


def _part(pairs: pd.DataFrame, effect: Effect) -> pd.DataFrame:
    return pairs[pairs["cosine"].abs() < ORTHOGONAL] if effect == "orthogonal" else pairs


def _by_distance(pairs: pd.DataFrame, effect: Effect, resamples: int, seed: int) -> dict[str, Any]:
    crossed = pairs["crossed"]
    groups = {name: pairs[(crossed >= low) & (crossed <= high)] for name, (low, high) in DISTANCES.items()}
    return {name: score(part, effect, resamples, seed) for name, part in groups.items()}


def score(pairs: pd.DataFrame, effect: Effect, resamples: int = 500, seed: int = 0) -> dict[str, Any]:
    """Scores on one group of pairs.

    Returns:
        ``pairs``, ``sources``; ``pooled`` and ``within`` (mean over sources of the correlation over their own targets): forecaster →
        ``value``, ``ci`` (95 %), and ``split half`` (correlation of the halves of the truth); ``sign``: forecaster → share of right signs
        among measured effects of more than 1.96 standard errors, ``signed``: their number; ``gain`` and ``gain_within``: response minus the
        best baseline, which is chosen anew in every resample (``best``, ``value``, ``ci``; over one site paths are the response, and so no
        baseline), ``over_edge``: response minus edge, pooled.
    """
    truth, halves, error = _truth(pairs, effect)
    names = [f"{name} computed" if effect == "computed" else name for name in FORECASTERS]
    columns = {name: pairs[column].to_numpy(np.float64) for name, column in zip(FORECASTERS, names, strict=True)}
    owner, sources = pd.factorize(pairs["source"])
    drawn = _drawn(len(sources), resamples, seed)
    pooled, within = _pooled(columns, truth, owner, drawn), _within(columns, truth, owner, drawn)
    clear = np.abs(truth) > _Z * error
    # From one site to the next a path is the response itself, not something to beat.
    baselines = tuple(name for name in BASELINES if name != "paths" or (pairs["crossed"] > 1).any())
    return {
        "pairs": len(pairs),
        "sources": len(sources),
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


def _drawn(n: int, resamples: int, seed: int) -> Floats:
    """How often each source counts: as it is, then in every resample; [1 + resamples, n]."""
    if not n:
        return np.ones((1, 0))
    return np.concatenate([np.ones((1, n)), np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)])


def _pooled(columns: Mapping[str, Floats], truth: Floats, owner: Ints, drawn: Floats) -> dict[str, Floats]:
    """Spearman over all pairs, forecaster → [1 + resamples]."""
    measured, numbered = number_by_size(truth), {name: number_by_size(values) for name, values in columns.items()}
    found = {name: np.full(len(drawn), math.nan) for name in columns}
    for k, counts in enumerate(drawn):
        weights = counts[owner]
        ranks = weighted_ranks(measured, weights)
        for name, values in numbered.items():
            found[name][k] = _correlation(weighted_ranks(values, weights), ranks, weights)
    return found


def _within(columns: Mapping[str, Floats], truth: Floats, owner: Ints, drawn: Floats) -> dict[str, Floats]:
    """Mean over sources of Spearman over the source's own pairs, forecaster → [1 + resamples]."""
    found = {}
    for name, values in columns.items():
        each = _of_sources(values, truth, owner, drawn.shape[1])
        weights = drawn * np.isfinite(each)
        whole = weights.sum(axis=1)
        found[name] = np.divide(weights @ np.nan_to_num(each), whole, out=np.full(len(drawn), math.nan), where=whole > 0)
    return found


def _of_sources(values: Floats, truth: Floats, owner: Ints, n: int) -> Floats:
    """Spearman over the pairs of each source, [n]; NaN where it has too few."""
    return np.array([spearman(values[owner == k], truth[owner == k]) for k in range(n)], dtype=np.float64)


def spearman(one: Floats, two: Floats) -> float:
    """Rank correlation; NaN for fewer than eight values, or where one of the two does not vary."""
    weights = np.ones(len(one))
    return _correlation(weighted_ranks(number_by_size(one), weights), weighted_ranks(number_by_size(two), weights), weights)


def number_by_size(values: Floats) -> Ints:
    """Number of each value among the distinct ones, ascending [n]."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def weighted_ranks(numbers: Ints, weights: Floats) -> Floats:
    """Mean rank of each value if it occurs ``weights`` times, [n]."""
    counts = np.bincount(numbers, weights)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[numbers])


def _correlation(one: Floats, two: Floats, weights: Floats) -> float:
    whole = weights.sum()
    if whole < _FEWEST:
        return math.nan
    a, b = (ranks - weights @ ranks / whole for ranks in (one, two))
    size = math.sqrt(float(weights @ a**2) * float(weights @ b**2))
    return float(weights @ (a * b)) / size if size > 0 else math.nan


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
