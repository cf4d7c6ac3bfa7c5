"""Two sources clamped at once: the 2 × 2 cells of A high or low × B high or low.

1. A is clamped at its site as in :mod:`feature_graph.interventions.clamp`: (level − f_A) d_A is added at position p.
2. B, at the same site, is clamped in the same step. At a later site it is re-encoded under A's clamp first, so that it stands at
   its level whatever A did to it: (level − f_B(now)) d_B. What A does through B is thereby cut, as the factorial design asks.
3. All four cells of a sample run in one batch: equal levels of a source give a contrast of exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.clamp import Reading
from feature_graph.interventions.slices import CleanRun, ModelSlices

#: Order of the cells: level of A, level of B.
CELLS = ("hh", "hl", "lh", "ll")


@dataclass(frozen=True)
class JointSource:
    """One of two sources that are clamped together.

    Attributes:
        codec: Dictionary of its site.
        feature: Its index.
        high: High level, activation units.
        low: Low level.
        values: float [S], its activation in the clean run.
        directions: float [S, d_model], what a unit adds; its decoder row, or a placebo's direction.
    """

    codec: SiteCodec
    feature: int
    high: float
    low: float
    values: Tensor
    directions: Tensor

    @property
    def point(self) -> int:
        """Blocks run before its site."""
        return self.codec.site.point

    def levels(self, cells: Sequence[bool]) -> Tensor:
        """Level in each cell, [cells]."""
        return torch.tensor([self.high if up else self.low for up in cells], dtype=self.values.dtype, device=self.values.device)


@torch.no_grad()
def joint_effects(
    slices: ModelSlices, clean: CleanRun, a: JointSource, b: JointSource, documents: Tensor, positions: Tensor, path: Sequence[Reading]
) -> list[Tensor]:
    """Activations of the targets in the four cells.

    Args:
        slices: The model.
        clean: Clean run with the residual at A's site and the blocks up to the last target's.
        a: The source that lies no later.
        b: The other one.
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        path: Sites of the targets in order, all after B's.

    Returns:
        One tensor [S, 4, targets] a site, cells in the order of :data:`CELLS`.
    """
    x = clean.residuals[a.point][documents, positions][:, None, None, :].repeat(1, 4, 1, 1)
    x = _shifted(x, a, a.levels([True, True, False, False]) - a.values[:, None])
    second, point = b.levels([True, False, True, False]), a.point
    if b.point == point:
        x = _shifted(x, b, second - b.values[:, None])
    else:
        x = slices.advance(x, point, b.point, clean, documents, positions)
        x = _shifted(x, b, second - _activation(b, x[:, :, 0]))
    point, found = b.point, []
    for reading in path:
        x = slices.advance(x, point, reading.point, clean, documents, positions)
        point = reading.point
        found.append(reading.codec.encode(x[:, :, 0].to(reading.codec.w_enc.dtype), reading.features))
    return found


def _shifted(x: Tensor, source: JointSource, amounts: Tensor) -> Tensor:
    """x [S, 4, 1, d] with ``amounts`` [S, 4] of the source's direction added."""
    return x + (amounts[..., None] * source.directions[:, None, :])[:, :, None, :].to(x.dtype)


def _activation(source: JointSource, x: Tensor) -> Tensor:
    """The source's own activation as its SAE gives it, [S, 4]."""
    x = x.to(source.codec.w_enc.dtype)
    if source.codec.k is not None:
        return source.codec.record(x)[..., source.feature]
    return source.codec.encode(x, [source.feature])[..., 0]
