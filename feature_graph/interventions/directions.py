"""Random directions: what a perturbation of the same size along no feature does."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_directions(n: int, d: int, generator: torch.Generator | np.random.Generator, norm: Tensor | None = None) -> Tensor:
    """Isotropic directions [n, d].

    Args:
        n: How many.
        d: Dimensions, d_model.
        generator: What draws them: torch's in float32, NumPy's in float64. The n × d numbers are drawn in one call.
        norm: Their norm, a scalar whose type and device they take; None: norm 1, float32 on the CPU.
    """
    if isinstance(generator, torch.Generator):
        directions = torch.randn(n, d, generator=generator)
    else:
        directions = torch.as_tensor(generator.standard_normal((n, d)))
    if norm is None:
        directions = directions.float()
        return directions / directions.norm(dim=-1, keepdim=True)
    directions = directions.to(norm)
    return directions * (norm / directions.norm(dim=-1, keepdim=True))
