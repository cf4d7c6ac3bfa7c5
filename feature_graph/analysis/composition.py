"""What a run's edges are made of: copies that the residual stream carries, and what the blocks compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.analysis.evidence import Replication, mostly_copy, replication
from feature_graph.terminal import percent
from ingest import counted

#: Name of the kind of edges that are at least as much computed as copied.
COMPUTED = "|computed| ≥ |copy|"
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


@dataclass(frozen=True)
class ComputedShare:
    """The edges over one distance, and how many of them are at least as much computed as copied.

    Attributes:
        blocks: Blocks crossed; 0 within one.
        edges: How many edges.
        computed: Those of them with |computed| ≥ |copy|.
    """

    blocks: int
    edges: int
    computed: int

    @property
    def share(self) -> float:
        """computed / edges."""
        return self.computed / self.edges


@dataclass(frozen=True)
class Computation:
    """How much of a run's edges the model computes, by distance.

    Attributes:
        by_blocks: One entry per distance, nearest first; of edges whose copy was measured.
        largest: Source and target of the edge with the largest computed effect, in standard deviations of the target, of those with
            |computed| ≥ |copy|; None where there is none, or this was not measured.
    """

    by_blocks: list[ComputedShare]
    largest: tuple[str, str] | None

    def summary(self) -> str:
        """What was found, in one sentence."""
        if not self.by_blocks:
            return "No edge was found, or none whose copy was measured, so nothing can be said of what the model computes."
        edges, computed = (sum(getattr(part, name) for part in self.by_blocks) for name in ("edges", "computed"))
        text = f"Of {counted(edges, 'edge')}, {percent(computed / edges)} are at least as much computed as copied ({COMPUTED})"
        if len(self.by_blocks) == 1:
            text += f"; all of them {_crossing(self.by_blocks[0])}"
        else:
            ends = (self.by_blocks[0], self.by_blocks[-1])
            text += ": " + ", ".join(f"{percent(part.share)} of the {part.edges:,} that {_crossing(part)}" for part in ends)
        if self.largest is not None:
            edge = " → ".join(self.largest)
            text += f"; of the computed ones, {edge} has the largest computed effect, in standard deviations of its target"
        return f"{text}."


def _crossing(part: ComputedShare) -> str:
    return f"cross {counted(part.blocks, 'block')}" if part.blocks else "stay within a block"


def computation(frame: pd.DataFrame) -> Computation:
    """Shares of the significant edges that are at least as much computed as copied, by the blocks that they cross, and the largest of them.

    Args:
        frame: Table of an InteractionSet; one method.
    """
    measured = frame["computed_strength"].notna() & frame["copy_strength"].notna()
    edges = frame[frame["significant"].astype(bool) & measured]
    per_unit = (edges["standardised_effect"] / edges["mean_strength"]).abs().replace([np.inf], np.nan)
    edges = edges.assign(is_computed=_computed(edges), size=edges["computed_strength"].abs() * per_unit)
    sized = edges[edges["is_computed"] & edges["size"].notna()]
    ranked = sized.sort_values(["size", "src_fid", "tgt_fid"], ascending=[False, True, True])
    parts = {blocks: edges.loc[edges["blocks"] == blocks, "is_computed"] for blocks in sorted(edges["blocks"].unique().tolist())}
    return Computation(
        [ComputedShare(int(blocks), len(part), int(part.sum())) for blocks, part in parts.items()],
        None if ranked.empty else (str(ranked["src_id"].iloc[0]), str(ranked["tgt_id"].iloc[0])),
    )


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
    total, copy = (edges[name].to_numpy(np.float64) for name in ("mean_strength", "copy_strength"))
    kinds = {"all": np.ones(len(edges), dtype=bool)}
    if "q_specific" in edges and edges["q_specific"].notna().any():
        specific = (edges["q_specific"] < level).to_numpy(bool)
        kinds |= {"specific": specific, "generic": ~specific & edges["q_specific"].notna().to_numpy(bool)}
    return kinds | {
        "attenuating": edges["interaction_type"].isin(ATTENUATING).to_numpy(bool),
        "mostly copy": mostly_copy(total, copy),
        COMPUTED: _computed(edges),
    }


def _computed(edges: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether |computed| ≥ |copy|."""
    return (edges["computed_strength"].abs() >= edges["copy_strength"].abs()).to_numpy(bool)
