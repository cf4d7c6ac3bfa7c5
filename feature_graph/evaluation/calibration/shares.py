"""Proportions with their exact binomial intervals."""

from __future__ import annotations

from typing import Any

from scipy.stats import binomtest

Values = dict[str, Any]
#: Confidence of the binomial (Clopper–Pearson) intervals.
CONFIDENCE = 0.95


def share(successes: int, trials: int) -> Values | None:
    """A proportion with its exact binomial interval; None without trials."""
    if not trials:
        return None
    interval = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="exact")
    return {"value": successes / trials, "low": float(interval.low), "high": float(interval.high), "of": trials}
