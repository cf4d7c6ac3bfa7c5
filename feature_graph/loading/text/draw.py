"""The draw: contexts at random over the tokens of the corpus, until there are enough of them.

Each context is drawn with the same chance, without replacement, and each token of the corpus is in exactly one: so every token is equally
likely, and what is drawn has the corpus' own shares by tokens, whatever its texts are like.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.saes import trained_with_bos
from feature_graph.loading.text.pieces import Reader, tokenise
from feature_graph.loading.text.records import Text
from feature_graph.loading.text.rows import ContextMarks, ContextRows, rows_of
from feature_graph.loading.text.sources import BUILTIN, load_texts
from feature_graph.utils import derived_seed

log = logging.getLogger(__name__)

#: At most about so many times the tokens asked for are tokenised.
_SPARE = 25
#: Characters of a piece of a long text, for each token of a context: ten contexts of English, more of Chinese.
_PIECE = 40
_NO_TOKENIZER = "the model has no tokenizer, so no text can be read; give tokens= (int64 [n_docs, context]) instead"
#: Special tokens that may stand between two texts, the first that there is.
_SEPARATORS = ("bos_token_id", "eos_token_id", "sep_token_id", "pad_token_id")


def resolve_prepend_bos(saes: Mapping[int, Any], cfg: Config) -> bool:
    """Whether contexts begin with BOS: the configuration's word, else as the dictionaries were trained, else not."""
    if cfg.prepend_bos is not None:
        return cfg.prepend_bos
    said = trained_with_bos(saes)
    if said is None:
        log.warning("the SAEs do not say whether they were trained with BOS; contexts begin without it (set prepend_bos)")
    return bool(said)


def draw_contexts(model: Any, saes: Mapping[int, Any], cfg: Config, n_tokens: int | None = None) -> NDArray[np.int64]:
    """The contexts of a run, drawn at random over the tokens of its texts, the same for the same seed.

    Tokens of text are counted; BOS, separators, padding and other special tokens are not. Contexts are taken until
    ``cfg.n_tokens`` are counted, or all there are, with a warning.

    Args:
        model: With its tokenizer.
        saes: Layer → SAE; they say whether contexts begin with BOS, unless the configuration does.
        cfg: The run's configuration.
        n_tokens: Instead of ``cfg.n_tokens``, for a look: then nothing is said when there are fewer.

    Returns:
        int64 [n_docs, context_length]. A context is a window of one text, or holds several short texts (or ends of texts), each behind
        the tokenizer's BOS (else EOS), padded on the right.

    Raises:
        LoadingError: If the model has no tokenizer, or the texts give no token.
    """
    if cfg.context_length > model.cfg.n_ctx:
        raise LoadingError(f"context_length: got {cfg.context_length}; the model reads at most {model.cfg.n_ctx} tokens")
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None and cfg.dataset in BUILTIN:
        raise LoadingError(_NO_TOKENIZER)
    frame = frame_of(tokenizer, cfg.context_length, resolve_prepend_bos(saes, cfg))
    texts = load_texts(cfg, tokenizer)
    _check_ids(texts, model.cfg.d_vocab)
    wanted = cfg.n_tokens if n_tokens is None else n_tokens
    rng = np.random.default_rng(derived_seed(cfg.seed, "contexts"))
    rows = _all_rows(texts, tokenizer, frame, wanted, rng)
    order = _drawn_order(rows, rng)
    before = np.cumsum(rows.counted[order]) - rows.counted[order]
    taken = order[before < wanted]
    got = int(rows.counted[taken].sum())
    if n_tokens is None:
        _report(rows, len(taken), got, cfg)
    return np.stack([rows.row(number) for number in taken])


def cut_contexts(
    texts: Sequence[Text], tokenizer: Any, n_docs: int, context_length: int, prepend_bos: bool, seed: int
) -> NDArray[np.int64]:
    """Draw ``n_docs`` contexts that do not overlap; fewer, with a warning, if the texts hold fewer.

    Args:
        texts: Where from.
        tokenizer: A transformers tokenizer.
        n_docs: How many.
        context_length: Tokens each, BOS and separators included.
        prepend_bos: Begin each with BOS.
        seed: Of the draw.

    Returns:
        int64 [n, context_length], as :func:`draw_contexts`.

    Raises:
        LoadingError: If the texts give no token at all.
    """
    rng = np.random.default_rng(seed)
    frame = frame_of(tokenizer, context_length, prepend_bos)
    rows = _all_rows(texts, tokenizer, frame, n_docs * context_length, rng)
    order = _drawn_order(rows, rng)
    if len(order) < n_docs:
        log.warning("asked for %d contexts of %d tokens; the text holds %d: all are taken", n_docs, context_length, len(order))
    return np.stack([rows.row(number) for number in order[:n_docs]])


def frame_of(tokenizer: Any, context_length: int, prepend_bos: bool) -> ContextMarks:
    """What stands around the text in a context.

    Raises:
        LoadingError: If BOS is asked for and the tokenizer has none.
    """
    bos = getattr(tokenizer, "bos_token_id", None)
    if prepend_bos and bos is None:
        raise LoadingError("prepend_bos is true, but the model's tokenizer has no BOS token; set prepend_bos: false")
    separator = next((value for name in _SEPARATORS if (value := getattr(tokenizer, name, None)) is not None), None)
    pads = (getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id", "bos_token_id"))
    pad = next((value for value in pads if value is not None), separator)
    return ContextMarks(context_length, bos if prepend_bos else None, separator, pad)


def _check_ids(texts: Sequence[Text], d_vocab: int) -> None:
    for text in texts:
        if text.tokens is not None and not 0 <= text.tokens.min() <= text.tokens.max() < d_vocab:
            raise LoadingError(
                f"dataset: {text.title} has token ids from {text.tokens.min()} to {text.tokens.max()}; the model's vocabulary is 0 to "
                f"{d_vocab - 1}: it was tokenised for another model"
            )


def _all_rows(texts: Sequence[Text], tokenizer: Any, frame: ContextMarks, n_tokens: int, rng: np.random.Generator) -> ContextRows:
    """Contexts of the texts, or of a random part of them that holds many times what is asked for."""
    if tokenizer is None and any(text.tokens is None for text in texts):
        raise LoadingError(_NO_TOKENIZER)
    reader = Reader(tokenizer, tuple(tokenizer.all_special_ids) if tokenizer is not None else (), frame.separator, frame.pad)
    source = tokenise(texts, reader, _SPARE * n_tokens, _PIECE * frame.width, rng)
    rows = rows_of(source, frame, rng)
    if not rows.counted.any():
        why = f" {rows.left_out} tokens are in texts shorter than a context: lower context_length." if rows.left_out else ""
        raise LoadingError(f"the {len(texts)} texts give no token that counts (special tokens do not).{why}")
    if rows.left_out:
        log.warning(
            "there is neither BOS nor EOS (of a tokenizer) to stand between two texts: %d of %d tokens, in texts shorter than %d tokens "
            "and at the ends of longer ones, are left out",
            rows.left_out,
            rows.left_out + int(rows.counted.sum()),
            frame.width,
        )
    return rows


def _drawn_order(rows: ContextRows, rng: np.random.Generator) -> NDArray[np.int64]:
    """Contexts in the order in which they are drawn; one without a counted token is none."""
    return rng.permutation(np.flatnonzero(rows.counted))


def _report(rows: ContextRows, n_rows: int, got: int, cfg: Config) -> None:
    """Say how much was drawn from how much, and warn where it is less than was asked for."""
    if got < cfg.n_tokens:
        text = "n_tokens: asked for %d tokens, but %s gives %d (special tokens not counted), in %d contexts: all are taken"
        log.warning(text, cfg.n_tokens, cfg.dataset, got, n_rows)
        return
    among = "all" if rows.source.whole else "a random part of the text,"
    log.info("drew %d tokens of text in %d contexts, from %s %d tokens", got, n_rows, among, rows.counted.sum())
