"""What arrives downstream of a small change: the derivative of the residual stream at later points along directions put in at one token.

Several directions at one token share its clean run: the primal pass is computed once per token, the tangents of all its directions ride on
it (``torch.func.jvp`` under ``vmap``). Only the same position is carried; later positions cannot reach back to it. This is the reference;
``tangents`` has the same derivative written out, which is what responses are measured with.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jvp, vmap

from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.jacobian import load_forward_rules
from feature_graph.interventions.slices import CleanRun, ModelSlices


@torch.no_grad()
def arrivals(
    slices: ModelSlices,
    clean: CleanRun,
    point: int,
    documents: Tensor,
    positions: Tensor,
    directions: Tensor,
    points: Sequence[int],
) -> list[Tensor]:
    """Derivative of the residual stream at later points along directions at ``point``, at the same position, everything free.

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and the keys and values of the blocks up to the last of ``points``.
        point: Where the directions are put in.
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        directions: [S, V, d_model], V directions per token, residual units.
        points: Later points, ascending.

    Returns:
        One tensor per point, [S, V, d_model]: residual units there per unit of the direction.

    Raises:
        InterventionError: If the points do not ascend from ``point``.
    """
    if list(points) != sorted(points) or (points and points[0] < point):
        raise InterventionError(f"points: got {list(points)}; expected points that ascend from {point}, where the directions are put in")
    load_forward_rules()
    x = clean.residuals[point][documents, positions][:, None, None, :]

    def downstream(x: Tensor) -> tuple[Tensor, ...]:
        found, at = [], point
        for stop in points:
            x, at = slices.advance(x, at, stop, clean, documents, positions), stop
            found.append(x[:, 0, 0])
        return tuple(found)

    def along(direction: Tensor) -> tuple[Tensor, ...]:
        return jvp(downstream, (x,), (direction[:, None, None, :],))[1]

    return [v.transpose(0, 1) for v in vmap(along)(directions.to(x.dtype).transpose(0, 1))]
