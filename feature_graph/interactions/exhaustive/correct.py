"""Corrected p over a family that does not fit in memory: exact, from a histogram and one more look at the kept p.

Only p at or below the level are kept (an adjusted p is never below the raw one, so the rest cannot pass); the family's size still
counts every test. Benjamini–Hochberg needs ranks: a histogram over the leading bits of p (equal bins of 1/4096 of a power of two)
gives every bin's first rank, and within a bin the kept values are sorted. Groups of bins are read one at a time.

Y. Benjamini and Y. Hochberg (1995), J. R. Stat. Soc. B 57(1); compared with statsmodels' ``multipletests`` in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from feature_graph.interactions.errors import MeasureError

Floats = NDArray[np.float64]
#: Gives every kept p of one effect, chunk by chunk; called once per group of bins.
Reader = Callable[[], Iterable[Floats]]
_SHIFT = np.uint64(40)
_BINS = (0x3FF0000000000000 >> 40) + 1  # up to p = 1
#: Values sorted at a time.
GROUP = 20_000_000
#: With more kept p than this, only the last of each bin is remembered: what passes stays exact, a reported q is at most 1/4096 too large.
REMEMBERED = 40_000_000


@dataclass
class PHistogram:
    """Counts of kept p by their leading bits."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))

    def add(self, p: Floats) -> None:
        """Count some p, all within [0, 1]."""
        self.counts += np.bincount(bins_of(p), minlength=_BINS)

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())


def bins_of(p: Floats) -> NDArray[np.int64]:
    """Bin of each p: the order of non-negative floats is the order of their bits."""
    return (np.ascontiguousarray(p, dtype=np.float64).view(np.uint64) >> _SHIFT).astype(np.int64)


@dataclass(frozen=True)
class Adjusted:
    """Adjusted p of every kept p that passes.

    Attributes:
        p: Passing p, ascending; or the last of every bin of them.
        q: Their adjusted p.
        ranks: How many of the family have at most this p.
    """

    p: Floats
    q: Floats
    ranks: NDArray[np.int64]

    @property
    def cutoff(self) -> float:
        """Largest passing p; −1 if none passes."""
        return float(self.p[-1]) if len(self.p) else -1.0

    def of(self, p: Floats) -> Floats:
        """Adjusted p; 1 for what does not pass."""
        q = np.ones(len(p))
        passed = p <= self.cutoff
        q[passed] = self.q[np.searchsorted(self.p, p[passed])]
        return q


def adjust_kept(
    histogram: PHistogram, read: Reader, n_tests: int, level: float, method: str, group: int = GROUP, remembered: int = REMEMBERED
) -> Adjusted:
    """Adjusted p over a family of which only p ≤ ``level`` were kept.

    Args:
        histogram: Of the kept p.
        read: Gives them again.
        n_tests: Size of the family.
        level: Level of the adjusted p.
        method: ``fdr_bh``, ``fdr_by`` or ``bonferroni``.
        group: Values sorted at a time.
        remembered: See :data:`REMEMBERED`.

    Raises:
        MeasureError: For another method.
    """
    check_method(method)
    # Harmonic sum of Benjamini and Yekutieli; the order of operations is statsmodels', so that ties with the level agree.
    harmonic = float(special.digamma(n_tests + 1) + np.euler_gamma) if method == "fdr_by" else 1.0
    found_p: list[Floats] = []
    found_q: list[Floats] = []
    found_ranks: list[NDArray[np.int64]] = []
    thin = histogram.total > remembered
    carry, ends = np.inf, np.cumsum(histogram.counts)
    for first, last in _groups(histogram.counts, group):
        p = np.sort(np.concatenate([np.zeros(0), *(c[(b >= first) & (b < last)] for c in read() for b in (bins_of(c),))]))
        start = int(ends[first] - histogram.counts[first])
        ranks = np.arange(start + 1, start + len(p) + 1)
        if method == "bonferroni":
            q = np.minimum(p * float(n_tests), 1.0)
        else:
            share = ranks / float(n_tests)
            q = np.minimum(p / (share / harmonic), 1.0)
            q = np.minimum(np.minimum.accumulate(q[::-1])[::-1], carry)
            carry = float(q[0]) if len(q) else carry
        # The last of equal p has the smallest q, which is theirs.
        p, q, ranks = p[q < level], q[q < level], ranks[q < level]
        if thin and len(p):
            ends_of_bins = np.flatnonzero(np.append(np.diff(bins_of(p)) != 0, True))
            p, q, ranks = p[ends_of_bins], q[ends_of_bins], ranks[ends_of_bins]
        found_p.append(p)
        found_q.append(q)
        found_ranks.append(ranks)
    p, q = (np.concatenate([np.zeros(0), *reversed(parts)]) for parts in (found_p, found_q))
    return Adjusted(p, q, np.concatenate([np.zeros(0, dtype=np.int64), *reversed(found_ranks)]))


def check_method(method: str) -> None:
    """Refuse corrections that need the p that were not kept.

    Raises:
        MeasureError: Naming them.
    """
    if method not in ("fdr_bh", "fdr_by", "bonferroni"):
        raise MeasureError(f"correction_method: got {method!r}; with targets = all it is one of fdr_bh, fdr_by, bonferroni")


def _groups(counts: NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
    """Ranges of bins with at most ``limit`` values each (or a single bin), from the top down."""
    filled = np.flatnonzero(counts)
    groups: list[tuple[int, int]] = []
    held, last = 0, int(filled[-1]) + 1 if len(filled) else 0
    for b in filled[::-1].tolist():
        if held and held + counts[b] > limit:
            groups.append((b + 1, last))
            held, last = 0, b + 1
        held += int(counts[b])
    if held:
        groups.append((0, last))
    return groups
