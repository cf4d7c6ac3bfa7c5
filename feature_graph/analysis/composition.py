"""What a run's edges are made of: copies that the residual stream carries, and what the blocks compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.analysis.evidence import Replication, mostly_copy, replication

#: Types of edges that oppose a copy without turning it round.
ATTENUATING = ("attenuates_copy", "erases_copy")


@dataclass(frozen=True)
class EdgeShare:
    """One kind of edges among all that are significant by any effect.

    Attributes:
        kind: What they are.
        edges: How many.
        share: Of all; NaN if there are none.
        replication: Of these edges.
    """

    kind: str
    edges: int
    share: float
    replication: Replication


def composition(frame: pd.DataFrame, level: float = 0.05) -> list[EdgeShare]:
    """Shares of the kinds of edges, unfiltered, with the replication of each; kinds overlap.

    ``specific`` and ``generic`` (an edge that a random direction of the same size might give as well) are there where specificity was
    measured; ``attenuating`` are edges typed attenuates_copy or erases_copy; ``mostly copy`` is what :func:`mostly_copy` says; in the
    last kind |computed| ≥ |copy|.

    Args:
        frame: Table of an InteractionSet; one method.
        level: Of the adjusted p of specificity.
    """
    edges = frame[frame["significant"].astype(bool)]
    return [
        EdgeShare(kind, len(part := edges[chosen]), len(part) / len(edges) if len(edges) else float("nan"), replication(part))
        for kind, chosen in _kinds(edges, level).items()
    ]


def _kinds(edges: pd.DataFrame, level: float) -> Mapping[str, NDArray[np.bool_]]:
    total, copy, computed = (edges[name].to_numpy(np.float64) for name in ("mean_strength", "copy_strength", "computed_strength"))
    kinds = {"all": np.ones(len(edges), dtype=bool)}
    if "q_specific" in edges and edges["q_specific"].notna().any():
        specific = (edges["q_specific"] < level).to_numpy(bool)
        kinds |= {"specific": specific, "generic": ~specific & edges["q_specific"].notna().to_numpy(bool)}
    return kinds | {
        "attenuating": edges["interaction_type"].isin(ATTENUATING).to_numpy(bool),
        "mostly copy": mostly_copy(total, copy),
        "|computed| ≥ |copy|": np.abs(computed) >= np.abs(copy),
    }
