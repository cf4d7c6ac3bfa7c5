"""The pairs of one layer pair: K chosen sources × M chosen targets, and what is known of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CoactivationAtlas
from feature_graph.candidates.errors import CandidateError
from feature_graph.coactivation import ActivityPattern, count_pairs, select_rows

#: Most pairs of one layer pair that are held in memory.
_TOO_MANY = 200_000_000


@dataclass(frozen=True)
class Grid:
    """Candidate space of one layer pair.

    Attributes:
        source: Source layer.
        target: Target layer.
        sources: int64 [K], features, ascending.
        targets: int64 [M].
    """

    source: int
    target: int
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def size(self) -> int:
        """K × M."""
        return len(self.sources) * len(self.targets)


@dataclass(frozen=True)
class Cells:
    """Some pairs of a grid, by place in it, with what is known of each; arrays of one length.

    Attributes:
        row: int64, place of the source in ``grid.sources``.
        column: int64, place of the target in ``grid.targets``.
        alignment: float64, signed mean.
        strength: float64, mean magnitude of the alignment, which is what is filtered by.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    alignment: NDArray[np.float64]
    strength: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row)

    def where(self, mask: NDArray[np.bool_]) -> Cells:
        """Those of the mask."""
        return Cells(self.row[mask], self.column[mask], self.alignment[mask], self.strength[mask])


def no_cells() -> Cells:
    """None at all."""
    places, values = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Cells(places, places, values, values)


def join_cells(parts: Sequence[Cells]) -> Cells:
    """All of them, in order."""
    some = [no_cells(), *parts]
    return Cells(
        np.concatenate([c.row for c in some]),
        np.concatenate([c.column for c in some]),
        np.concatenate([c.alignment for c in some]),
        np.concatenate([c.strength for c in some]),
    )


@dataclass(frozen=True)
class Choice:
    """What became of one layer pair.

    Attributes:
        grid: The layer pair.
        n_coactive: Pairs left after the co-activation stage.
        n_aligned: Pairs left after the alignment stage.
        n_by_later: Those among them that reach the limit at a later position only.
        arms: How pairs got in (``kept``, ``rescue_jacobian``, ``rescue_random``) → the pairs; empty outside the window.
    """

    grid: Grid
    n_coactive: int
    n_aligned: int
    n_by_later: int = 0
    arms: dict[str, Cells] = field(default_factory=dict)


@dataclass(frozen=True)
class Joint:
    """Joint counts of pairs; int64 arrays. ``same``: at the same position. ``within``: the larger of that and of the later count."""

    same: NDArray[np.int64]
    within: NDArray[np.int64]


def coactive(grid: Grid, atlas: CoactivationAtlas, min_count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stage 2: rows and columns of the pairs whose joint count, at the same or at later positions, is not under ``min_count``.

    Raises:
        CandidateError: If nothing is to be removed and the grid is too large to hold.
    """
    if min_count <= 0:
        if grid.size > _TOO_MANY:
            raise CandidateError(
                f"min_coactivation = 0 keeps all {grid.size:,} pairs of layers {grid.source} → {grid.target}; set it to 1 or more"
            )
        row, column = np.divmod(np.arange(grid.size), max(len(grid.targets), 1))
        return row, column
    same, later = (_block(counts[grid.source, grid.target], grid) for counts in (atlas.counts, atlas.later_counts))
    joint = same.maximum(later).tocoo()
    kept = joint.data >= min_count
    return joint.row[kept].astype(np.int64), joint.col[kept].astype(np.int64)


def joint_of(grid: Grid, row: NDArray[np.int64], column: NDArray[np.int64], atlas: CoactivationAtlas) -> Joint:
    """Counts that the atlas holds for these pairs; 0 where it holds none."""
    same, later = (
        np.asarray(_block(counts[grid.source, grid.target], grid)[row, column], dtype=np.int64).ravel()
        for counts in (atlas.counts, atlas.later_counts)
    )
    return Joint(same, np.maximum(same, later))


def count_joint(grid: Grid, row: NDArray[np.int64], column: NDArray[np.int64], store: ActivationStore, horizon: int) -> Joint:
    """The same, counted anew from the store: for pairs too rare for the atlas to hold."""
    rows, context = select_rows(store), store.context_length
    sources, at_row = np.unique(grid.sources[row], return_inverse=True)
    targets, at_column = np.unique(grid.targets[column], return_inverse=True)
    source = ActivityPattern.of(store.activations[grid.source][rows][:, sources])
    target = ActivityPattern.of(store.activations[grid.target][rows][:, targets])
    counted = count_pairs(source, target, target.following(context, horizon), 1)
    same, later = (np.asarray(m[at_row, at_column], dtype=np.int64).ravel() for m in (counted.same, counted.later))
    return Joint(same, np.maximum(same, later))


def _block(matrix: sp.csr_matrix, grid: Grid) -> sp.csr_matrix:
    return matrix[grid.sources][:, grid.targets].tocsr()
