"""What the evidence is worth: do the edges replicate on documents that nothing was chosen or tested on, and do both methods agree?

Pure functions on the table of an InteractionSet (columns of ``ingest.formats.INTERACTIONS``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Replication:
    """Significant edges measured again on the confirmation documents.

    Attributes:
        significant: Significant edges.
        measured: Those with enough confirmation documents; the other figures are over these.
        replicated: Those with the same sign and above half their floor.
        rate: replicated / measured; NaN if none was measured.
        rate_low: Lower end of the 95 % Wilson interval of the rate.
        rate_high: Upper end.
        same_sign: Share with the same sign.
        shrinkage: 1 − median of confirmation strength / test strength: 0 = as strong as first measured, 1 = gone.
        slope: Of confirmation strength on test strength, through the origin.
    """

    significant: int
    measured: int
    replicated: int
    rate: float
    rate_low: float
    rate_high: float
    same_sign: float
    shrinkage: float
    slope: float


@dataclass(frozen=True)
class EdgeAgreement:
    """Clamping compared with the derivative, over the significant edges that have both (``agreement`` of a run's file is over all pairs).

    Attributes:
        pairs: Edges compared.
        pearson: Correlation of the strengths; NaN below 3 pairs or without variance.
        spearman: Correlation of their ranks.
        same_sign: Share with the same sign.
        slope: Of clamping on derivative, through the origin.
        parted: The edges that differ most: src_id, tgt_id, mean_strength, strength_jacobian.
    """

    pairs: int
    pearson: float
    spearman: float
    same_sign: float
    slope: float
    parted: pd.DataFrame


def replication(frame: pd.DataFrame) -> Replication:
    """Replication and shrinkage of the significant edges of ``frame``.

    What is measured again is the total effect, or the computed one of an edge that passed by it and not by the total. Edges that
    passed by their later effect alone are left out.
    """
    significant = frame[frame["significant"].astype(bool) & (frame["significant_by"] != "later")]
    seen = significant[significant["confirm_strength"].notna() & significant["replicated"].notna()]
    by = seen["significant_by"].astype(str).str
    computed = (by.contains("computed") & ~by.contains("total")).to_numpy(bool)
    test = np.where(computed, seen["computed_strength"], seen["mean_strength"]).astype(float)
    confirm = np.where(computed, seen["confirm_computed"], seen["confirm_strength"]).astype(float)
    n, k = len(seen), int(seen["replicated"].astype(bool).sum())
    if not n:
        return Replication(len(significant), 0, 0, nan, nan, nan, nan, nan, nan)
    interval = stats.binomtest(k, n).proportion_ci(method="wilson")
    ratio = confirm[test != 0] / test[test != 0]
    return Replication(
        significant=len(significant),
        measured=n,
        replicated=k,
        rate=k / n,
        rate_low=float(interval.low),
        rate_high=float(interval.high),
        same_sign=_same_sign(test, confirm),
        shrinkage=float(1 - np.median(ratio)) if len(ratio) else nan,
        slope=_slope(test, confirm),
    )


def mostly_copy(total: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Whether the identity path alone gives more than half of each total effect, with its sign; bool [n]."""
    return np.asarray(copy * np.sign(total) > np.abs(total) / 2, dtype=bool)


def edge_agreement(frame: pd.DataFrame, worst: int = 10) -> EdgeAgreement | None:
    """Compare ``mean_strength`` with ``strength_jacobian`` over the significant edges; None if the derivative was not run.

    Args:
        frame: Table of an InteractionSet.
        worst: How many of the edges that differ most to give back.
    """
    both = frame[(frame["method"] == "clamping") & frame["strength_jacobian"].notna() & frame["significant"].astype(bool)]
    if both.empty:
        return None
    clamped, derived = both["mean_strength"].to_numpy(float), both["strength_jacobian"].to_numpy(float)
    order = np.argsort(-np.abs(clamped - derived), kind="stable")[:worst]
    enough = len(both) > 2 and np.ptp(clamped) > 0 and np.ptp(derived) > 0
    return EdgeAgreement(
        pairs=len(both),
        pearson=float(stats.pearsonr(clamped, derived).statistic) if enough else nan,
        spearman=float(stats.spearmanr(clamped, derived).statistic) if enough else nan,
        same_sign=_same_sign(clamped, derived),
        slope=_slope(derived, clamped),
        parted=both.iloc[order][["src_id", "tgt_id", "mean_strength", "strength_jacobian"]].reset_index(drop=True),
    )


def _same_sign(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.sign(a) == np.sign(b)).mean())


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Least squares through the origin; NaN if x is all zero."""
    return float(x @ y / (x @ x)) if (x @ x) > 0 else nan
