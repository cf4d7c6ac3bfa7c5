"""Scoring an edge list against the truth: how well it ranks, how right its signs and sizes are, and how much of what it claims is false.

An edge is *true* if one of its true effects (total, direct, later, computed) is at least ``min_effect``. *Computed* edges are those
of which the computed or the later effect is: a copy that is merely still there does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.evaluation.benchmark.edges import checked_edges, models_of, pairs_of
from feature_graph.evaluation.benchmark.models import BenchmarkModel
from feature_graph.evaluation.planted import Pair, TrueEffect

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_EFFECTS = ("total", "direct", "later", "computed")


def score_edges(
    edges: pd.DataFrame, models: Mapping[str, BenchmarkModel] | None = None, truths: Mapping[str, Mapping[Pair, TrueEffect]] | None = None
) -> pd.DataFrame:
    """How an edge list does on each model, one row per model.

    Args:
        edges: Columns as in :data:`feature_graph.evaluation.benchmark.COLUMNS` and ``OPTIONAL``.
        models: Models made already; others are made.
        truths: Their truths, likewise.

    Returns:
        Columns ``model``, ``pairs``, ``true``, ``true_computed``, ``precision`` and ``precision_computed`` (average precision of the
        ranking by |score|, over all and over computed edges; NaN where there are none), ``signs`` (share of the true edges with a score
        that have the sign of the largest true effect), ``rank_correlation`` (Spearman of score and true total effect over true edges),
        and where the list says what it claims: ``claimed``, ``recall`` and ``false`` (share of the claims that are not true edges).

    Raises:
        BenchmarkError: If the list cannot be scored; the message says why.
    """
    edges = checked_edges(edges)
    models = dict(models) if models is not None else models_of(edges)
    rows = []
    for name, group in edges.groupby("model", sort=False):
        model = models[str(name)]
        truth = truths[str(name)] if truths is not None else model.truth()
        rows.append({"model": name} | _score(group, pairs_of(group, model), model, truth))
    return pd.DataFrame(rows)


def _score(edges: pd.DataFrame, listed: list[Pair], model: BenchmarkModel, truth: Mapping[Pair, TrueEffect]) -> dict[str, Any]:
    universe, min_effect = model.pairs(), model.cfg.min_effect
    number = {pair: k for k, pair in enumerate(universe)}
    at = np.array([number[pair] for pair in listed], dtype=np.int64)
    effects = [truth.get(pair, TrueEffect(0.0, 0.0, 0.0)) for pair in universe]
    sizes = {name: np.array([getattr(e, name) for e in effects]) for name in _EFFECTS}
    true: Bools = np.max([np.abs(v) for v in sizes.values()], axis=0) >= min_effect
    computed: Bools = np.maximum(np.abs(sizes["computed"]), np.abs(sizes["later"])) >= min_effect
    score = _spread(edges["score"].to_numpy(np.float64), at, len(universe))
    own = _spread(edges["computed"].to_numpy(np.float64), at, len(universe)) if "computed" in edges else score
    found = {
        "pairs": len(universe),
        "true": int(true.sum()),
        "true_computed": int(computed.sum()),
        "precision": average_precision(np.abs(score), true),
        "precision_computed": average_precision(np.abs(own), computed),
        "signs": _signs(score[true], np.stack([sizes[name][true] for name in _EFFECTS])),
        "rank_correlation": _spearman(score[true], sizes["total"][true]),
    }
    if "significant" not in edges:
        return found
    claimed = at[edges["significant"].to_numpy(bool)]
    hits = int(true[claimed].sum())
    return found | {
        "claimed": len(claimed),
        "recall": hits / true.sum() if true.any() else np.nan,
        "false": 1 - hits / len(claimed) if len(claimed) else 0.0,
    }


def _spread(values: Floats, at: NDArray[np.int64], n: int) -> Floats:
    """Values at their places, 0 elsewhere."""
    out = np.zeros(n)
    out[at] = values
    return out


def average_precision(size: Floats, true: Bools) -> float:
    """Mean precision at each true edge, by falling size; equal sizes come in together. NaN without true edges."""
    if not true.any():
        return float("nan")
    _, group = np.unique(-size, return_inverse=True)
    hits = np.bincount(group, weights=true)
    seen = np.cumsum(np.bincount(group))
    return float((hits * np.cumsum(hits) / seen).sum() / true.sum())


def _signs(score: Floats, effects: Floats) -> float:
    """Share of the scores that are not 0 with the sign of the largest true effect."""
    if not (score != 0).any():
        return float("nan")
    largest = np.take_along_axis(effects, np.abs(effects).argmax(0)[None], axis=0)[0]
    return float((np.sign(score) == np.sign(largest))[score != 0].mean())


def _spearman(score: Floats, total: Floats) -> float:
    from scipy.stats import spearmanr

    if len(score) < 3 or np.ptp(score) == 0 or np.ptp(total) == 0:
        return float("nan")
    return float(spearmanr(score, total).statistic)
