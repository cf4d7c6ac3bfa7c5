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
from feature_graph.loading.text.pieces import tokenise
from feature_graph.loading.text.rows import Frame, Rows, rows_of
from feature_graph.loading.text.sources import Text, load_texts
from feature_graph.utils import derived_seed

log = logging.getLogger(__name__)

#: At most about so many times the tokens asked for are tokenised.
_SPARE = 25
#: Characters of a piece of a long text, for each token of a context: ten contexts of English, more of Chinese.
_PIECE = 40
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
    if getattr(model, "tokenizer", None) is None:
        raise LoadingError("the model has no tokenizer, so no text can be read; give tokens= (int64 [n_docs, context]) instead")
    if cfg.context_length > model.cfg.n_ctx:
        raise LoadingError(f"context_length: got {cfg.context_length}; the model reads at most {model.cfg.n_ctx} tokens")
    frame = frame_of(model.tokenizer, cfg.context_length, resolve_prepend_bos(saes, cfg))
    wanted = cfg.n_tokens if n_tokens is None else n_tokens
    rng = np.random.default_rng(derived_seed(cfg.seed, "contexts"))
    rows = _all_rows(load_texts(cfg), model.tokenizer, frame, wanted, rng)
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


def frame_of(tokenizer: Any, context_length: int, prepend_bos: bool) -> Frame:
    """What stands around the text in a context.

    Raises:
        LoadingError: If BOS is asked for and the tokenizer has none.
    """
    if prepend_bos and tokenizer.bos_token_id is None:
        raise LoadingError("prepend_bos is true, but the model's tokenizer has no BOS token; set prepend_bos: false")
    separator = next((value for name in _SEPARATORS if (value := getattr(tokenizer, name, None)) is not None), None)
    pad = next((v for v in (tokenizer.pad_token_id, tokenizer.eos_token_id, separator) if v is not None), None)
    return Frame(context_length, tokenizer.bos_token_id if prepend_bos else None, separator, pad)


def _all_rows(texts: Sequence[Text], tokenizer: Any, frame: Frame, n_tokens: int, rng: np.random.Generator) -> Rows:
    """Contexts of the texts, or of a random part of them that holds many times what is asked for."""
    source = tokenise(texts, tokenizer, tokenizer.all_special_ids, _SPARE * n_tokens, _PIECE * frame.width, rng)
    rows = rows_of(source, frame, rng)
    if not rows.counted.any():
        why = f" {rows.left_out} tokens are in texts shorter than a context: lower context_length." if rows.left_out else ""
        raise LoadingError(f"the {len(texts)} texts give no token that counts (special tokens do not).{why}")
    if rows.left_out:
        log.warning(
            "the tokenizer has neither BOS nor EOS to stand between two texts: %d of %d tokens, in texts shorter than %d tokens and at the "
            "ends of longer ones, are left out",
            rows.left_out,
            rows.left_out + int(rows.counted.sum()),
            frame.width,
        )
    return rows


def _drawn_order(rows: Rows, rng: np.random.Generator) -> NDArray[np.int64]:
    """Contexts in the order in which they are drawn; one without a counted token is none."""
    return rng.permutation(np.flatnonzero(rows.counted))


def _report(rows: Rows, n_rows: int, got: int, cfg: Config) -> None:
    """Say how much was drawn from how much, and warn where it is less than was asked for."""
    if got < cfg.n_tokens:
        text = "n_tokens: asked for %d tokens, but %s gives %d (special tokens not counted), in %d contexts: all are taken"
        log.warning(text, cfg.n_tokens, cfg.dataset, got, n_rows)
        return
    among = "all" if rows.source.whole else "a random part of the text,"
    log.info("drew %d tokens of text in %d contexts, from %s %d tokens", got, n_rows, among, rows.counted.sum())
