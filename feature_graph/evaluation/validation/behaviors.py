"""Figures of one studied behaviour, as plain values."""

from __future__ import annotations

import math
from typing import Any

from feature_graph.subgraphs import BehaviorStudy, Share


def behavior_figures(study: BehaviorStudy) -> dict[str, Any]:
    """What is kept of a study.

    ``score`` is the mean metric on held-out prompts, ``able`` whether the model does the behaviour at all; where it does not, the shares
    are None. ``seeds`` and ``confirmed`` are counts. Shares come with their 95 % intervals under ``…_ci``.
    """
    found, score, faith = study.subgraph, study.subgraph.score, study.faithfulness
    figures: dict[str, Any] = {
        "score": None if score is None else score.clean,
        "score_ci": None if score is None else [score.ci_low, score.ci_high],
        "metric": None if score is None else score.metric,
        "corrupted": None if score is None else score.corrupted,
        "accuracy": None if score is None else score.accuracy,
        "able": bool(score is not None and score.able),
        "prompts": 0 if score is None else score.prompts,
        "seeds": len(found.seed_features),
        "confirmed": sum(bool(seed["confirmed"]) for seed in found.seed_features),
        "size": found.subgraph.number_of_nodes(),
        "members": sorted(found.subgraph),
        "seed_ids": [str(seed["feature_id"]) for seed in found.seed_features],
        "to_output": sum(bool(edge["significant"]) for edge in found.outputs),
        "outputs": [dict(edge) for edge in found.outputs if edge["significant"]][:10],
        "warnings": list(found.warnings),
    }
    for name in ("faithfulness", "completeness", "random_faithfulness", "random_completeness"):
        share: Share | None = None if faith is None else getattr(faith, name)
        figures[name] = None if share is None else plain(share.value)
        figures[f"{name}_ci"] = None if share is None else [plain(share.ci_low), plain(share.ci_high)]
    figures["size_for_80"] = None if faith is None else faith.size_for_80
    figures["active"] = None if faith is None else faith.active
    figures["empty"] = None if faith is None else faith.empty
    figures["curve"] = [] if faith is None else [
        {
            "size": point.size,
            "faithfulness": plain(point.faithfulness.value),
            "ci": [plain(point.faithfulness.ci_low), plain(point.faithfulness.ci_high)],
            "completeness": plain(point.completeness.value),
            "random_faithfulness": plain(point.random_faithfulness.value),
        }
        for point in faith.curve
    ]  # fmt: skip
    return figures


def plain(value: float) -> float | None:
    """The number, or None for NaN and infinity, which JSON has not."""
    return float(value) if math.isfinite(value) else None
