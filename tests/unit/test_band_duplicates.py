"""Features that a training made twice."""

from __future__ import annotations

import torch

from scripts.band.duplicates import alike, distinct, merged

D, F = 16, 12


def weights() -> dict[str, torch.Tensor]:
    """Feature 5 is feature 2 again, 9 is it at half the size; 7 has the encoder of 3 and another decoder row."""
    generator = torch.Generator().manual_seed(0)
    w_enc, w_dec = torch.randn(D, F, generator=generator), torch.nn.functional.normalize(torch.randn(F, D, generator=generator), dim=1)
    b_enc, threshold = torch.randn(F, generator=generator), torch.full((F,), 0.5)
    for copy, size in ((5, 1.0), (9, 0.5)):
        w_enc[:, copy], b_enc[copy], threshold[copy], w_dec[copy] = w_enc[:, 2] * size, b_enc[2] * size, threshold[2] * size, w_dec[2]
    w_enc[:, 7] = w_enc[:, 3]
    return {"W_enc": w_enc, "b_enc": b_enc, "W_dec": w_dec, "threshold": threshold, "b_dec": torch.zeros(D)}


def given(some: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pre = x @ some["W_enc"] + some["b_enc"]
    acts = pre * (pre > some["threshold"])
    return acts, acts @ some["W_dec"]


def test_features_that_are_alike_become_one_and_nothing_else_changes() -> None:
    before, x = weights(), torch.randn(500, D, generator=torch.Generator().manual_seed(1))
    after, gone = merged(before)
    assert gone == 2
    assert sorted(map(tuple, alike(before["W_enc"], before["W_dec"]).tolist())) == [(2, 5), (2, 9), (5, 9)]
    assert len(alike(after["W_enc"], after["W_dec"])) == 0
    acts, output = given(after, x)
    assert torch.allclose(output, given(before, x)[1], atol=1e-5)
    assert not acts[:, [5, 9]].any()
    assert torch.allclose(after["W_dec"].norm(dim=1), torch.ones(F), atol=1e-6)
    others = [k for k in range(F) if k not in (2, 5, 9)]
    assert all(torch.equal(after[name][..., others], before[name][..., others]) for name in ("W_enc", "b_enc", "threshold"))


def test_features_begin_at_tokens_that_differ() -> None:
    base = torch.eye(6)
    x = torch.cat([base, 3 * base[:4] + 0.01, base[4:] * 2])
    assert distinct(x, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert distinct(x[[0, 6, 1, 7, 2]], 3).tolist() == [0, 2, 4]
    assert distinct(x, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
