"""The best linear map of an MLP's input, for outputs and derivatives together: what a skip begins as, and the control without features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scripts.band.directions import ResponseSamples


def mean_square(x: Tensor) -> float:
    """Mean squared length of vectors [n, D]."""
    return float(x.double().square().sum(1).mean())


def linear_map(
    x: Tensor, y: Tensor, responses: Sequence[ResponseSamples] = (), response_weight: float = 1.0, ridge: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Least squares of centred outputs and of derivatives, each kind relative to its own mean square.

    Args:
        x: [n, d_in], inputs; n = 0: the derivatives alone.
        y: [n, d_out], outputs.
        responses: One entry a kind of direction, weighted alike.
        response_weight: Of all kinds together, beside the outputs.
        ridge: Relative to the mean diagonal.

    Returns:
        W [d_in, d_out] and b [d_out], so that y ≈ x W + b.
    """
    mean_x, mean_y = (a.double().mean(0) if len(a) else torch.zeros(a.shape[1], dtype=torch.float64) for a in (x, y))
    left = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    right = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    parts = [(x.double() - mean_x, y.double() - mean_y, 1.0)] if len(x) else []
    parts += [(r.dx.double(), r.dy.double(), response_weight / len(responses)) for r in responses]
    for a, b, weight in parts:
        by = weight / (len(a) * mean_square(b))
        left += by * (a.T @ a)
        right += by * (a.T @ b)
    left += ridge * left.diagonal().mean() * torch.eye(len(left), dtype=torch.float64)
    w = torch.linalg.solve(left, right)
    return w.float(), (mean_y - mean_x @ w).float()
