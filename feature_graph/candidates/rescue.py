"""The rescue arm: pairs that pruning removed, measured all the same, so that what pruning loses is known and not guessed.

Half of the places go to the largest ungated Jacobians ∂(pre-activation of j)/∂f_i, half to pairs drawn at random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_graph.candidates.alignment import Aligned
from feature_graph.candidates.grid import Cells, Grid, join_cells, no_cells

_SLACK, _SPARE = 1.5, 64


class Rescue:
    """Gathers rescue pairs of one grid while its alignments come by.

    Args:
        grid: The layer pair.
        fraction: Share of the removed pairs to re-admit.
        encoder_norms: float64 [M], ‖w_enc_j‖ of the grid's targets: alignment × norm = Jacobian.
        rng: Draws the random half.
        by_jacobian: Whether alignments are measured; without, all places go to pairs drawn at random.
    """

    def __init__(
        self, grid: Grid, fraction: float, encoder_norms: NDArray[np.float64], rng: np.random.Generator, *, by_jacobian: bool = True
    ) -> None:
        self._grid, self._fraction, self._norms, self._by_jacobian = grid, fraction, encoder_norms, by_jacobian
        most = round(fraction * grid.size)
        n_drawn = min(grid.size, int(_SLACK * most) + _SPARE) if most else 0
        self._most = most
        self._drawn = _distinct(rng, grid.size, n_drawn)
        self._random = Cells(*np.divmod(self._drawn, max(len(grid.targets), 1)), np.full(n_drawn, np.nan), np.full(n_drawn, np.nan))
        self._removed = np.ones(n_drawn, dtype=bool)
        self._largest = no_cells()

    def see(self, aligned: Aligned, kept: Cells) -> None:
        """Look at the alignments of some sources, and at which of their pairs were kept."""
        if self._most == 0:
            return
        last = aligned.first + len(aligned.signed)
        here = np.flatnonzero((self._random.row >= aligned.first) & (self._random.row < last))
        row, column = self._random.row[here] - aligned.first, self._random.column[here]
        self._random.alignment[here], self._random.strength[here] = aligned.signed[row, column], aligned.strength[row, column]
        removed = np.ones(aligned.strength.shape, dtype=bool)
        removed[kept.row - aligned.first, kept.column] = False
        self._removed[here] = removed[row, column]
        if self._by_jacobian:
            self._largest = self._larger(join_cells([self._largest, self._best(aligned, removed)]))

    def result(self, n_kept: int) -> tuple[Cells, Cells]:
        """Pairs re-admitted for their Jacobian, and at random."""
        places = round(self._fraction * (self._grid.size - n_kept))
        largest = self._largest.where(np.arange(len(self._largest)) < -(-places // 2))
        taken = largest.row * len(self._grid.targets) + largest.column
        free = self._removed & ~np.isin(self._drawn, taken)
        random = self._random.where(free)
        return largest, random.where(np.arange(len(random)) < places - len(largest))

    def _best(self, aligned: Aligned, removed: NDArray[np.bool_]) -> Cells:
        jacobian = np.where(removed, np.nan_to_num(aligned.strength) * self._norms, -1.0).ravel()
        n = min(self._most, jacobian.size)
        best = np.argpartition(-jacobian, n - 1)[:n] if n < jacobian.size else np.arange(n)
        best = best[jacobian[best] >= 0]
        row, column = np.divmod(best, len(self._norms))
        return Cells(row + aligned.first, column, aligned.signed.ravel()[best], aligned.strength.ravel()[best])

    def _larger(self, cells: Cells) -> Cells:
        jacobian = np.nan_to_num(cells.strength) * self._norms[cells.column]
        order = np.lexsort((cells.column, cells.row, -jacobian))[: self._most]
        return Cells(cells.row[order], cells.column[order], cells.alignment[order], cells.strength[order])


def _distinct(rng: np.random.Generator, size: int, n: int) -> NDArray[np.int64]:
    """``n`` distinct numbers below ``size``, in random order."""
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(rng.choice(size, size=n, replace=False, shuffle=True), dtype=np.int64)
