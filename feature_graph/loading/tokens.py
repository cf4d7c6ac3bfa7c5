"""Which positions count, and how long the residual stream is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_OUTLIER = 3.0
_PROBE_SEED = 20_240_229


@dataclass(frozen=True)
class ResidualProbe:
    """The residual stream of one hook on a few random tokens, position 0 left out.

    Attributes:
        mean_norm: Mean Euclidean norm.
        first_norm: Mean norm at position 0.
        median_norm: Median norm elsewhere.
        sample: [64, d_model] residual vectors.
    """

    mean_norm: float
    first_norm: float
    median_norm: float
    sample: Tensor


def random_tokens(model: Any, rows: int = 8, width: int = 64) -> Tensor:
    """Tokens drawn from the vocabulary with a fixed seed. int64 [rows, min(width, n_ctx)]."""
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    return torch.randint(0, model.cfg.d_vocab, (rows, min(width, model.cfg.n_ctx)), generator=generator)


@torch.no_grad()
def residual_norms(model: Any, hooks: Iterable[str], tokens: Tensor | None = None) -> dict[str, ResidualProbe]:
    """Measure the residual stream at ``hooks``, on ``tokens`` [n, ctx] or on random ones."""
    names = list(dict.fromkeys(hooks))
    tokens = random_tokens(model) if tokens is None else tokens
    _, cache = model.run_with_cache(tokens.to(model.cfg.device), names_filter=names, return_type=None)
    return {name: _probe(cache[name].float()) for name in names}


def _probe(residual: Tensor) -> ResidualProbe:
    norms = residual.norm(dim=-1)
    rest = residual[:, 1:].reshape(-1, residual.shape[-1])
    picked = torch.linspace(0, len(rest) - 1, min(64, len(rest))).long()
    return ResidualProbe(
        mean_norm=float(norms[:, 1:].mean()),
        first_norm=float(norms[:, 0].mean()),
        median_norm=float(norms[:, 1:].median()),
        sample=rest[picked.to(rest.device)],
    )


def first_position_is_outlier(model: Any, hooks: Iterable[str], tokens: Tensor | None = None) -> bool:
    """Whether the model treats position 0 as an attention sink: norm above 3 × the median of the others at some hook."""
    probes = residual_norms(model, hooks, tokens).values()
    return any(probe.first_norm > _OUTLIER * probe.median_norm for probe in probes)


def special_ids(model: Any) -> list[int]:
    """Ids of the tokenizer's special tokens (BOS, EOS, padding, …); none if the model has no tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    return [] if tokenizer is None else sorted(int(i) for i in tokenizer.all_special_ids)


def valid_mask(model: Any, tokens: Tensor | NDArray[np.int64], hooks: Iterable[str]) -> NDArray[np.bool_]:
    """Which positions count: not BOS, EOS or padding, and not position 0 where the model treats it as an outlier.

    Args:
        model: A HookedTransformer, with or without a tokenizer.
        tokens: int64 [n, ctx].
        hooks: Hooks at which position 0 is measured, on up to 8 of these rows.

    Returns:
        bool [n, ctx].
    """
    tokens = torch.as_tensor(tokens)
    valid = ~torch.isin(tokens, torch.tensor(special_ids(model), dtype=tokens.dtype))
    if tokens.shape[1] > 1 and first_position_is_outlier(model, hooks, tokens[:8]):
        valid[:, 0] = False
    return valid.cpu().numpy()
