"""Is an effect larger than that of a random direction? A moderated t test, whose scale comes from random directions.

Many targets are tested against the same few random directions. The variance of each target is therefore shrunk towards what is usual
among them, as limma does it for genes (G. K. Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3(1)): with B
directions, s² = Σ K²/B, a prior variance s₀² of d₀ degrees of freedom, and t = K / √((d₀ s₀² + B s²) / (d₀ + B)) with d₀ + B degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

Float = NDArray[np.float64]
#: Degrees of freedom from which on more make no difference.
_MANY = 1e6
#: Targets from which on a power of their unit is fitted.
_ENOUGH = 10


@dataclass(frozen=True)
class ModeratedTest:
    """Effects compared with random directions.

    Attributes:
        p: Two-sided p of "drawn as the random directions are", float64 [T]; 1 where neither it nor they have an effect.
        scale: Root mean square that a random direction has there, float64 [T].
        freedom: Degrees of freedom.
    """

    p: Float
    scale: Float
    freedom: float


def moderated_t(effects: ArrayLike, random: ArrayLike, unit: ArrayLike = 1.0, rounding: ArrayLike = 0.0) -> ModeratedTest:
    """Compare the effects of one direction on many targets with those of random directions.

    Args:
        effects: [T].
        random: [B, T], B ≥ 2 random directions on the same targets.
        unit: What the size of effects goes with, such as how often each target is on [T]. The variance is shrunk towards a power of
            it, fitted. Targets of unit 0 are not tested.
        rounding: Error of the numbers themselves [T]; below it nothing is an effect.
    """
    k, many = np.asarray(effects, dtype=np.float64), np.asarray(random, dtype=np.float64)
    size = np.broadcast_to(np.asarray(unit, dtype=np.float64), k.shape)
    usable = size > 0
    raw = (many**2).mean(axis=0)
    known = usable & (raw > 0)
    each = np.where(usable, size, 1.0) ** _power(raw[known], size[known])
    variance = raw / each**2
    d0, s0 = _prior(variance[known], (many / each)[:, known])
    n = len(many)
    pooled = (d0 * s0 + n * variance) / (d0 + n)
    scale = each * np.sqrt(pooled + (np.asarray(rounding) / each) ** 2)
    freedom = min(n + d0, _MANY)
    tested = known & (scale > 0)
    t = np.divide(np.abs(k), scale, out=np.zeros_like(k), where=tested)
    p = np.where(tested, 2 * special.stdtr(freedom, -t), 1.0)
    return ModeratedTest(np.minimum(p, 1.0), np.where(usable, scale, 0.0), freedom)


def _power(variance: Float, unit: Float) -> float:
    """The power of the unit that root mean squares go with, from 0 to 1: averages over more tokens are smaller."""
    logs = np.log(unit)
    if len(logs) < _ENOUGH or np.ptp(logs) == 0:
        return 0.5
    return float(np.clip(np.polyfit(logs, np.log(variance) / 2, 1)[0], 0.0, 1.0))


def _prior(variance: Float, random: Float) -> tuple[float, float]:
    """d₀ and s₀² by the moments of log s², d₀ no larger than the targets can tell."""
    n, targets = random.shape
    if targets < 2:
        return 0.0, 0.0
    logs = np.log(variance) - special.digamma(n / 2) + np.log(n / 2)
    spread = logs.var(ddof=1) - special.polygamma(1, n / 2)
    d0 = min(2 * _trigamma_inverse(spread), _freedom_of(random) - n) if spread > 0 else _freedom_of(random) - n
    if d0 <= 0:
        return 0.0, 0.0
    return d0, float(np.exp(logs.mean() + special.digamma(d0 / 2) - np.log(d0 / 2)))


def _freedom_of(random: Float) -> float:
    """Degrees of freedom of the variance pooled over targets: B for each, were they independent; fewer the more they correlate."""
    n, targets = random.shape
    z = random / np.sqrt((random**2).mean(axis=0))
    squared = float(((z @ z.T) ** 2).sum()) / (n * targets) ** 2  # mean over pairs of targets of their squared correlation
    beyond = (squared - 1 / n) / (1 - 1 / n)  # 1/B of it is chance
    return n / max(beyond, 1 / targets)


def _trigamma_inverse(value: float) -> float:
    """x with trigamma(x) = ``value``."""
    low, high = 1e-8, _MANY
    if value <= special.polygamma(1, high):
        return high
    return float(optimize.brentq(lambda x: special.polygamma(1, x) - value, low, high))
