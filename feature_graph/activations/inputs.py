"""What goes in: the run's contexts, from the corpus or from the caller, checked before any work is done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.activations.errors import CollectError
from feature_graph.config import Config
from feature_graph.dictionaries import HookedModel, counted_tokens
from feature_graph.loading import draw_contexts


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


def contexts_of(model: HookedModel, saes: Any, cfg: Config, tokens: Any, hooks: Iterable[str]) -> Contexts:
    """The caller's tokens, or contexts drawn from the corpus.

    Raises:
        CollectError: If the tokens do not fit the model, have padding before text, or none of them counts.
    """
    source = cfg.dataset if tokens is None else "tokens"
    checked = check_tokens(model, draw_contexts(model, saes, cfg) if tokens is None else tokens, source)
    if tokens is not None:
        refuse_padding_before_text(model, checked)
    counting = counted_tokens(model, checked, hooks)
    if not counting.valid.any():
        raise CollectError(f"{source}: got {checked.shape[0]} documents of {checked.shape[1]} tokens, all of them special; give text")
    return Contexts(checked, counting.valid, counting.typical, source if tokens is None else "tokens=")


def check_tokens(model: HookedModel, tokens: Any, source: str = "tokens") -> NDArray[np.int64]:
    """Tokens as int64 [n_docs, context].

    Raises:
        CollectError: If they are no whole numbers, not two-dimensional, outside the vocabulary, or longer than the model reads.
    """
    array = _array(tokens)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise CollectError(f"{source}: got shape {array.shape}, expected [documents, context] with at least 1 document of 2 tokens")
    if array.dtype.kind not in "iu":
        raise CollectError(f"{source}: got dtype {array.dtype}, expected int64 token ids")
    if array.shape[1] > model.cfg.n_ctx:
        raise CollectError(
            f"{source}: contexts of {array.shape[1]} tokens; the model reads at most {model.cfg.n_ctx}. Lower context_length"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= model.cfg.d_vocab:
        raise CollectError(f"{source}: got ids from {low} to {high}; the model's vocabulary is 0 to {model.cfg.d_vocab - 1}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _array(tokens: Any) -> NDArray[Any]:
    if isinstance(tokens, torch.Tensor):
        if tokens.is_floating_point() or tokens.is_complex():
            raise CollectError(f"tokens: got dtype {str(tokens.dtype).removeprefix('torch.')}, expected int64 token ids")
        return tokens.detach().cpu().to_dense().numpy()
    if isinstance(tokens, str | bytes | Mapping):
        way = 'give its ["input_ids"]' if isinstance(tokens, Mapping) else "tokenise it first, or name a text file as dataset"
        raise CollectError(f"tokens: got {type(tokens).__name__}, expected int64 [documents, context]; {way}")
    try:
        array = np.asarray(tokens)
    except (ValueError, TypeError, OverflowError) as error:
        raise CollectError(_ragged(tokens) or f"tokens: {type(tokens).__name__} is no array of whole numbers: {error}") from error
    if array.dtype == object and (words := _ragged(tokens)):
        raise CollectError(words)
    return array


def _ragged(tokens: Any) -> str:
    """A sentence if rows are of different lengths, else nothing."""
    try:
        lengths = sorted({len(row) for row in tokens})
    except TypeError:
        return ""
    if len(lengths) < 2:
        return ""
    return (
        f"tokens: got rows of {lengths[0]} to {lengths[-1]} tokens, expected rows of one length: cut them alike, or pad them on the right "
        "with the tokenizer's padding token"
    )


def refuse_padding_before_text(model: HookedModel, tokens: NDArray[np.int64]) -> None:
    """Refuse rows that have padding on the left or inside.

    Positions count from the row's beginning and attention reaches back to everything before, so text after padding would get another
    residual stream than it has by itself. On the right padding is harmless, and not counted. One padding token by itself is taken for a
    mark between texts where the tokenizer uses that token so (as BOS, EOS or ``<|endoftext|>``), and not counted either.

    Raises:
        CollectError: Naming the first such row.
    """
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None or tokenizer.pad_token_id is None:
        return
    pad = tokenizer.pad_token_id
    leading, inside = _padding_runs(tokenizer)
    for number in np.flatnonzero((tokens == pad).any(axis=1)):
        for start, stop in _runs(tokens[number] == pad):
            if stop < tokens.shape[1] and stop - start >= (leading if start == 0 else inside):
                raise CollectError(
                    f"tokens: row {number} has padding ({tokenizer.pad_token!r}, id {pad}) before text, at positions {start} to "
                    f"{stop - 1}, to which the model would attend; put the text first and pad on the right (padding_side='right')"
                )


def _padding_runs(tokenizer: Any) -> tuple[int, int]:
    """How many padding tokens in a row are padding and no mark: at the beginning of a row, and inside."""
    pad, bos, eos = tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id
    if pad in (bos, eos):
        return 2, 3 if bos == eos else 2  # where BOS is EOS, two of them end one text and begin the next
    if pad == tokenizer.unk_token_id:
        return 2, sys.maxsize  # any number of unknown words may follow each other
    return (2, 2) if tokenizer.pad_token == "<|endoftext|>" else (1, 1)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Beginning and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
