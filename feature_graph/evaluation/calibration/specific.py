"""Specificity in planted worlds: one strong driver stands out from among random directions, one of very many equal ones cannot.

With n equal drivers of slope a, all of them active, a random unit direction moves the target by about a·√(n/d). So the t of each is
√(d/n), and none of them reaches a t of t* if there are more than d/t*². They exist, and whether they are specific is *unresolved*.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from scipy.stats import norm

from feature_graph.config import Config
from feature_graph.evaluation.planted import PlantedModel, Variant, pair_of

SPECIFIC_COUNTS = ("n_specific", "n_specific_found", "n_unresolved", "n_unresolved_found")


def count_specific(variant: Variant, planted: PlantedModel, frame: pd.DataFrame, cfg: Config) -> dict[str, Any]:
    """Of the edges that must be specific, how many exist and are; of those that cannot be, how many exist and are not.

    Args:
        variant: Says which.
        planted: The world.
        frame: What was measured.
        cfg: With which level.

    Returns:
        Counts, and ``room``: so many equal drivers of one target could stand out.
    """
    records: list[Any] = frame.to_dict("records")
    rows = {pair_of(row): row for row in records}
    counts: dict[str, Any] = {}
    for kind, names in (("specific", variant.specific), ("unresolved", variant.unresolved)):
        found = [row for read, write in names if (row := rows.get((planted.key(0, read), planted.key(1, write)))) is not None]
        passed = [bool(row["q_specific"] <= cfg.significance_level) for row in found if row["significant"]]
        counts |= {f"n_{kind}": len(names), f"n_{kind}_found": passed.count(kind == "specific")}
    return counts | ({"room": room(frame, cfg, planted.world.directions.shape[1])} if variant.unresolved else {})


def room(frame: pd.DataFrame, cfg: Config, d_model: int) -> float:
    """d/t*²: t* is the t that the correction asked for, given how many pairs passed."""
    passed, tested = int((frame["q_specific"] <= cfg.significance_level).sum()), int(frame["q_specific"].notna().sum())
    return float(d_model / norm.isf(cfg.significance_level * max(passed, 1) / tested / 2) ** 2)
