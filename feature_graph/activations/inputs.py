"""What goes in: the run's contexts, from the corpus or from the caller, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.activations.errors import CollectError
from feature_graph.config import Config
from feature_graph.loading.text import draw_contexts
from feature_graph.loading.tokens import counted_tokens


@dataclass(frozen=True)
class Contexts:
    """Documents of a run.

    Attributes:
        tokens: int64 [n_docs, context].
        valid: bool [n_docs, context], the tokens that are counted: no special ones, and position 0 only where it is none of the outliers.
            Outliers further on are seen when the model runs.
        typical: Hook → median residual norm of counted tokens.
        source: Where they come from: the dataset's name, or ``tokens=``.
    """

    tokens: NDArray[np.int64]
    valid: NDArray[np.bool_]
    typical: dict[str, float]
    source: str


def contexts_of(model: Any, saes: Any, cfg: Config, tokens: Any, hooks: Iterable[str]) -> Contexts:
    """The caller's tokens, or contexts drawn from the corpus.

    Raises:
        CollectError: If the tokens do not fit the model, or none of them counts.
    """
    source = cfg.dataset if tokens is None else "tokens="
    given = draw_contexts(model, saes, cfg) if tokens is None else tokens
    checked = check_tokens(model, given)
    counting = counted_tokens(model, checked, hooks)
    if not counting.valid.any():
        raise CollectError(f"{source}: got {checked.shape[0]} documents of {checked.shape[1]} tokens, all of them special; give text")
    return Contexts(checked, counting.valid, counting.typical, source)


def check_tokens(model: Any, tokens: Any) -> NDArray[np.int64]:
    """Tokens as int64 [n_docs, context].

    Raises:
        CollectError: If they are no whole numbers, not two-dimensional, outside the vocabulary, or longer than the model reads.
    """
    array = tokens.detach().cpu().numpy() if isinstance(tokens, torch.Tensor) else np.asarray(tokens)
    if array.dtype.kind not in "iu":
        raise CollectError(f"tokens: got dtype {array.dtype}, expected int64 token ids")
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise CollectError(f"tokens: got shape {array.shape}, expected [documents, context] with at least 1 document of 2 tokens")
    if array.shape[1] > model.cfg.n_ctx:
        raise CollectError(f"tokens: contexts of {array.shape[1]} tokens; the model reads at most {model.cfg.n_ctx}. Lower context_length")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= model.cfg.d_vocab:
        raise CollectError(f"tokens: got ids from {low} to {high}; the model's vocabulary is 0 to {model.cfg.d_vocab - 1}")
    return np.ascontiguousarray(array, dtype=np.int64)
