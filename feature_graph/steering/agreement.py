"""How well a forecast agrees with a measurement, pair by pair: rank and linear correlation, slope, sign, intervals that hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as sps

Float = NDArray[np.float64]

_RESAMPLES = 1000
_FEWEST = 8
#: Measured changes within so many standard errors of 0 have no sign.
_Z = 1.96


@dataclass(frozen=True)
class Agreement:
    """Forecast against measurement over pairs of source and target; NaN where fewer than eight pairs vary.

    Attributes:
        n: Pairs.
        sources: Sources they belong to.
        spearman: Rank correlation of the signed changes.
        ci: Its 95 % interval; sources are resampled, since pairs of one source share its samples.
        pearson: Linear correlation.
        slope: Σ forecast · measured / Σ forecast²: measured units for one forecast unit. Below 1: the forecast is too large.
        sign: Share of right signs, among pairs whose measured change is more than 1.96 standard errors from 0.
        signed: Pairs that this share is over.
    """

    n: int
    sources: int
    spearman: float
    ci: tuple[float, float]
    pearson: float
    slope: float
    sign: float
    signed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN as None."""
        found = asdict(self)
        found["ci"] = [_plain(v) for v in self.ci]
        return {k: _plain(v) if isinstance(v, float) else v for k, v in found.items()}


def agreement(pairs: pd.DataFrame, forecast: str = "forecast", seed: int = 0) -> Agreement:
    """Compare two columns of a table of pairs.

    Args:
        pairs: Columns ``source``, ``measured``, ``se`` and the forecast's.
        forecast: Name of the forecast's column.
        seed: Seed of the bootstrap.
    """
    kept = pairs[np.isfinite(pairs[forecast].to_numpy(np.float64)) & np.isfinite(pairs["measured"].to_numpy(np.float64))]
    f, m = (kept[name].to_numpy(np.float64) for name in (forecast, "measured"))
    clear = np.abs(m) > _Z * kept["se"].to_numpy(np.float64)
    signed = clear & (f != 0)
    low, high = _clustered(f, m, pd.factorize(kept["source"])[0], _spearman, seed)
    return Agreement(
        n=len(kept),
        sources=int(kept["source"].nunique()),
        spearman=_spearman(f, m),
        ci=(low, high),
        pearson=_pearson(f, m),
        slope=float(f @ m / (f @ f)) if f @ f > 0 else math.nan,
        sign=float((np.sign(f[signed]) == np.sign(m[signed])).mean()) if signed.any() else math.nan,
        signed=int(signed.sum()),
    )


@dataclass(frozen=True)
class Coverage:
    """How often an interval around the forecast holds the measurement.

    Attributes:
        nominal: What it promises.
        achieved: What it does, on sources that it was not fitted on.
        width: Its median half-width, in units of the median |forecast|.
    """

    nominal: float
    achieved: float
    width: float


def conformal_coverage(pairs: pd.DataFrame, nominal: float = 0.9, seed: int = 0) -> Coverage | None:
    """Fit an interval on half of the sources, count how often it holds on the other half, and the other way round.

    The interval is forecast ± k (|forecast| + c), c the median |forecast|, k the smallest number that covers the nominal share (with the
    finite-sample correction of split conformal prediction; Lei et al. 2018). None with fewer than four sources.

    Args:
        pairs: Columns ``source``, ``forecast``, ``measured``.
        nominal: Share to be covered.
        seed: Seed of the halves.
    """
    sources = np.array(sorted(pairs["source"].unique()))
    if len(sources) < 2 * 2:
        return None
    first = set(np.random.default_rng(seed).permutation(sources)[: len(sources) // 2].tolist())
    half = pairs["source"].isin(first).to_numpy()
    f, m = pairs["forecast"].to_numpy(np.float64), pairs["measured"].to_numpy(np.float64)
    scale = np.abs(f) + max(float(np.median(np.abs(f))), np.finfo(np.float64).tiny)
    score, held, widths = np.abs(m - f) / scale, [], []
    for fit, test in ((half, ~half), (~half, half)):
        rank = min(1.0, nominal * (1 + 1 / fit.sum()))
        k = float(np.quantile(score[fit], rank, method="higher"))
        held.append(score[test] <= k)
        widths.append(k * scale[test])
    width = float(np.median(np.concatenate(widths)) / max(float(np.median(np.abs(f))), np.finfo(np.float64).tiny))
    return Coverage(nominal, float(np.concatenate(held).mean()), width)


def _clustered(f: Float, m: Float, cluster: NDArray[np.int64], figure: Callable[[Float, Float], float], seed: int) -> tuple[float, float]:
    members = [np.flatnonzero(cluster == c) for c in range(int(cluster.max(initial=-1)) + 1)]
    if len(members) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([members[c] for c in rng.integers(len(members), size=len(members))])
        values.append(figure(f[rows], m[rows]))
    finite = np.array([v for v in values if math.isfinite(v)])
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (math.nan, math.nan)
    return float(low), float(high)


def _varies(f: Float, m: Float) -> bool:
    return bool(len(f) >= _FEWEST and np.ptp(f) > 0 and np.ptp(m) > 0)


def _spearman(f: Float, m: Float) -> float:
    return _pearson(sps.rankdata(f), sps.rankdata(m)) if _varies(f, m) else math.nan


def _pearson(f: Float, m: Float) -> float:
    return float(np.corrcoef(f, m)[0, 1]) if _varies(f, m) else math.nan


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def columns_agree(pairs: pd.DataFrame, columns: Sequence[str], seed: int = 0) -> dict[str, Agreement]:
    """:func:`agreement` of several columns with the measurement, on the same pairs."""
    return {name: agreement(pairs, name, seed) for name in columns}
