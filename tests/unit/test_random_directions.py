"""Random directions: of the norm asked for, and each caller's own stream of random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_graph.interventions import random_directions


def test_of_norm_1_and_the_stream_of_torch() -> None:
    found = random_directions(5, 37, torch.Generator().manual_seed(3))
    drawn = torch.randn(5, 37, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(5))
    assert torch.equal(found, drawn / drawn.norm(dim=-1, keepdim=True))


def test_one_at_a_time_the_stream_goes_on() -> None:
    """As each placebo of a behaviour's ablations is drawn, with the norm of the direction that it stands for."""
    generator, plain = (torch.Generator().manual_seed(3) for _ in range(2))
    for norm in (torch.tensor(2.0), torch.tensor(0.5)):
        (found,) = random_directions(1, 37, generator, norm)
        drawn = torch.randn(37, generator=plain)
        assert torch.equal(found, drawn * (norm / drawn.norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numpy_draws_in_float64_and_the_norm_gives_the_type(dtype: torch.dtype) -> None:
    norm = torch.tensor(3.0, dtype=dtype)
    found = random_directions(4, 32, np.random.default_rng(1), norm)
    drawn = torch.as_tensor(np.random.default_rng(1).standard_normal((4, 32))).to(dtype)
    assert found.dtype == dtype
    assert torch.equal(found, torch.stack([row * (norm / row.norm()) for row in drawn]))
