"""What a feature responds to, in a few words: the distinct tokens it fires on most, and the strongest of them in context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore

Decode = Callable[[list[int]], str]

_WORDS_BEFORE = 8
_CHARACTERS_BEFORE = 40
_LOOKED_AT = 24
_VISIBLE = {"\n": "↵", "\r": "", "\t": "⇥"}


def feature_labels(store: ActivationStore, decode: Decode | None, layer: int, features: Sequence[int], n_examples: int = 3) -> list[str]:
    """Labels such as ``Paris, Rome: the capital of France is «Paris»``, one per feature, in the order given.

    The first part lists up to ``n_examples`` distinct tokens, strongest first; the second shows the strongest one after the words that
    precede it in its document.

    Args:
        store: Activations of the run; every split is read, since a label is a description and no test.
        decode: Token ids → text. None: every label is empty.
        layer: Layer of the features.
        features: Indices in the dictionary.
        n_examples: Distinct tokens to list.

    Returns:
        One line per feature, printable characters only; empty if the feature is never active.
    """
    if decode is None:
        return [""] * len(features)
    return [_label(store, decode, rows, n_examples) for rows in top_rows(store.activations[layer], features, _LOOKED_AT)]


def top_rows(matrix: sp.csr_matrix, features: Sequence[int], n: int) -> list[NDArray[np.int64]]:
    """The up to ``n`` rows at which each feature is most active, strongest first; ties go to the earlier row."""
    wanted = np.asarray(features, dtype=np.int64)
    numbers, back = np.unique(wanted, return_inverse=True)
    place = np.full(matrix.shape[1], -1, dtype=np.int64)
    place[numbers] = np.arange(len(numbers))
    hits = np.flatnonzero(place[matrix.indices] >= 0)
    columns, values = place[matrix.indices[hits]], matrix.data[hits]
    rows = np.searchsorted(matrix.indptr, hits, side="right") - 1
    order = np.lexsort((rows, -values, columns))
    ends = np.searchsorted(columns[order], np.arange(len(numbers) + 1))
    tops = [rows[order[start : min(end, start + n)]] for start, end in pairwise(ends)]
    return [tops[k] for k in back]


def _label(store: ActivationStore, decode: Decode, rows: NDArray[np.int64], n_examples: int) -> str:
    if len(rows) == 0:
        return ""
    tokens = store.tokens.ravel()
    words = [word for word in dict.fromkeys(_printable(decode([int(tokens[row])])).strip() for row in rows) if word]
    start = max(int(rows[0]) // store.context_length * store.context_length, int(rows[0]) - _WORDS_BEFORE)
    before = _printable(decode(tokens[start : rows[0]].tolist())) if rows[0] > start else ""
    focus = _printable(decode([int(tokens[rows[0]])]))
    gap = " " if focus.startswith(" ") and before else ""
    context = f"{_tail(before)}{gap}«{focus.strip() or '␣'}»"
    return f"{', '.join(words[:n_examples])}: {context}" if words else context


def _printable(text: str) -> str:
    """Line breaks made visible, other unprintable and undecodable characters dropped; at most one space at a time."""
    kept = (_VISIBLE.get(c, c if c.isprintable() and c != "\ufffd" else "") for c in text)
    joined = "".join(kept)
    return (" " if joined[:1] == " " else "") + " ".join(joined.split()) + (" " if joined[-1:] == " " and joined.strip() else "")


def _tail(text: str) -> str:
    """The last words of a text, whole words, after an ellipsis where something was cut."""
    text = text.strip()
    if len(text) <= _CHARACTERS_BEFORE:
        return text
    cut = text[-_CHARACTERS_BEFORE:]
    return "…" + (cut.split(" ", 1)[1] if " " in cut else cut)
