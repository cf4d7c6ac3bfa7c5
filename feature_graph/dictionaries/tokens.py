"""Which positions count, and how long the residual stream is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries.errors import LoadingError
from feature_graph.dictionaries.models import HookedModel

_OUTLIER = 3.0
_PROBE_SEED = 20_240_229
#: Documents on which the residual stream's usual length is measured.
_PROBED = 8


@dataclass(frozen=True)
class ResidualProbe:
    """The residual stream of one hook on a few random tokens, position 0 left out.

    Attributes:
        mean_norm: Mean Euclidean norm.
        first_norm: Mean norm at position 0.
        median_norm: Median norm elsewhere.
        sample: [64, d_model] residual vectors.
        norms: [n, ctx], norm of every token.
    """

    mean_norm: float
    first_norm: float
    median_norm: float
    sample: Tensor
    norms: Tensor


@dataclass(frozen=True)
class Counting:
    """Which tokens count, and how long the residual stream of those usually is.

    Attributes:
        valid: bool [n, ctx].
        typical: Hook → median norm of counted tokens, over the first few rows; 0 if none of them counts.
    """

    valid: NDArray[np.bool_]
    typical: dict[str, float]


def random_tokens(model: HookedModel, rows: int = 8, width: int = 64) -> Tensor:
    """Tokens drawn from the vocabulary with a fixed seed. int64 [rows, min(width, n_ctx)]."""
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    return torch.randint(0, model.cfg.d_vocab, (rows, min(width, model.cfg.n_ctx)), generator=generator)


@torch.no_grad()
def residual_norms(model: HookedModel, hooks: Iterable[str], tokens: Tensor | None = None) -> dict[str, ResidualProbe]:
    """Measure the residual stream at ``hooks``, on ``tokens`` [n, ctx] or on random ones.

    Raises:
        LoadingError: If a hook did not fire.
    """
    names = list(dict.fromkeys(hooks))
    tokens = random_tokens(model) if tokens is None else tokens
    _, cache = model.run_with_cache(tokens.to(model.cfg.device), names_filter=names, return_type=None)
    lost = [name for name in names if name not in cache]
    if lost:
        raise LoadingError(
            f"hooks {lost} did not fire in a forward pass of {type(model).__name__}; its residual stream cannot be read there"
        )
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
        norms=norms,
    )


def _first_is_outlier(probes: Mapping[str, ResidualProbe]) -> bool:
    """Whether the model treats position 0 as an attention sink: norm above 3 × the median of the others at some hook."""
    return any(probe.first_norm > _OUTLIER * probe.median_norm for probe in probes.values())


def special_ids(model: HookedModel) -> list[int]:
    """Ids of the tokenizer's special tokens (BOS, EOS, padding, …); none if the model has no tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    return [] if tokenizer is None else sorted(int(i) for i in tokenizer.all_special_ids)


def valid_mask(model: HookedModel, tokens: Tensor | NDArray[np.int64], hooks: Iterable[str]) -> NDArray[np.bool_]:
    """Which positions count: not BOS, EOS or padding, and not position 0 where the model treats it as an outlier.

    Args:
        model: A HookedTransformer, with or without a tokenizer.
        tokens: int64 [n, ctx].
        hooks: Hooks at which position 0 is measured, on up to 8 of these rows.

    Returns:
        bool [n, ctx].
    """
    return counted_tokens(model, tokens, hooks).valid


def counted_tokens(model: HookedModel, tokens: Tensor | NDArray[np.int64], hooks: Iterable[str]) -> Counting:
    """The same, with the usual length of the residual stream at each hook, measured in the same pass."""
    tokens, hooks = torch.as_tensor(tokens), list(hooks)
    valid = ~torch.isin(tokens, torch.tensor(special_ids(model), dtype=tokens.dtype))
    if tokens.shape[1] < 2:
        return Counting(valid.cpu().numpy(), dict.fromkeys(hooks, 0.0))
    probes = residual_norms(model, hooks, tokens[:_PROBED])
    if _first_is_outlier(probes):
        valid[:, 0] = False
    probed = valid[:_PROBED]
    typical = {hook: float(probe.norms.cpu()[probed.cpu()].median()) if probed.any() else 0.0 for hook, probe in probes.items()}
    return Counting(valid.cpu().numpy(), typical)


def outlier_tokens(residuals: Mapping[str, Tensor], typical: Mapping[str, float], factor: float | None) -> Tensor:
    """Tokens whose residual stream is far longer than usual: massive activations, which models keep as attention sinks.

    A few tokens, most often the first one, but also delimiters and others, get a vector that no longer says what the token is, tens to
    hundreds of times longer than the rest (Sun, Chen, Kolter, Liu 2024, "Massive Activations in Large Language Models",
    arXiv:2402.17762). Hundreds of features of a dictionary are then largest at such a token.

    Args:
        residuals: Hook → residual stream [n, ctx, d_model].
        typical: Hook → usual norm; a hook with 0 is passed over.
        factor: Longer than this many times the usual norm, at any hook, is an outlier; None: no token is one.

    Returns:
        bool [n, ctx].
    """
    found = torch.zeros(next(iter(residuals.values())).shape[:2], dtype=torch.bool)
    for hook, residual in residuals.items():
        if factor is not None and typical[hook] > 0:
            found |= (residual.norm(dim=-1) > factor * typical[hook]).cpu()
    return found
