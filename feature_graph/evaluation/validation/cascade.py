"""Figures of forecast against steering, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from feature_graph.steering import BASELINES, CascadePairs, agreement, columns_agree, conformal_coverage

_NOMINAL = 0.9


def cascade_figures(found: CascadePairs, n_hops: int, main: float) -> dict[str, Any]:
    """``hop1`` … with everything of :class:`Agreement`, coverage, baselines and controls; then the same over the size of the push.

    Each hop holds, in addition to the agreement: ``coverage`` (of a 90 % interval fitted on other sources) and its ``width``; ``baselines``
    (Spearman of each with the measurement, same pairs); ``placebo`` (of the forecast with what a random direction does: should be 0);
    ``computed`` (copy-dominated edges left out of the graph, hops counted anew); ``with_residual`` (forecast plus what the residual
    stream passes straight to targets that no edge of the source reaches).

    Args:
        found: Pairs.
        n_hops: Hops to tell apart.
        main: Multiple of the mean activation that the figures are of.
    """
    pairs = found.pairs.assign(with_residual=_with_residual(found.pairs))
    at = pairs[pairs["multiple"] == main]
    figures: dict[str, Any] = {f"hop{hop}": _hop(at, hop) for hop in range(1, n_hops + 1)}
    figures["by_delta"] = {f"{multiple:+g}": _by_delta(pairs[pairs["multiple"] == multiple], n_hops) for multiple in _multiples(pairs)}
    figures["delta"] = main
    figures["sources"] = {kind: int(part["source"].nunique()) for kind, part in at.groupby("kind")}
    weighed = found.unreached[found.unreached["multiple"] == main]
    whole = float(weighed["reached"].sum() + weighed["others"].sum())
    figures["unreached_share"] = float(weighed["others"].sum()) / whole if whole else None
    return figures


def _hop(pairs: pd.DataFrame, hop: int) -> dict[str, Any]:
    here = pairs[pairs["hop"] == hop]
    covered = conformal_coverage(here, _NOMINAL)
    as_placebo = here.assign(measured=here["placebo"], se=here["placebo_se"])
    return agreement(here).to_dict() | {
        "coverage": None if covered is None else covered.achieved,
        "coverage_nominal": _NOMINAL,
        "width": None if covered is None else covered.width,
        "baselines": {name: found.to_dict()["spearman"] for name, found in columns_agree(here, BASELINES).items()},
        "by_kind": {str(kind): agreement(part).to_dict()["spearman"] for kind, part in here.groupby("kind")},
        "placebo": agreement(as_placebo).to_dict()["spearman"],
        "computed": agreement(pairs[pairs["hop_computed"] == hop], "forecast_computed").to_dict(),
        "with_residual": agreement(here, "with_residual").to_dict(),
    }


def _by_delta(pairs: pd.DataFrame, n_hops: int) -> dict[str, Any]:
    kept = ("n", "spearman", "pearson", "slope", "sign")
    return {f"hop{hop}": {k: agreement(pairs[pairs["hop"] == hop]).to_dict()[k] for k in kept} for hop in range(1, n_hops + 1)}


def _with_residual(pairs: pd.DataFrame) -> pd.Series[float]:
    straight = pairs["forecast"] + pairs["pass_through"]
    return straight.where(pairs["hop"] > 1, pairs["forecast"])


def _multiples(pairs: pd.DataFrame) -> list[float]:
    return [float(m) for m in np.unique(pairs["multiple"])]
