"""Token ids of the texts, or of a random part of them that is large enough, in one flat array.

A text longer than one piece is cut into pieces of about equal length, before a space where one is near. Pieces pass the tokenizer in
random order, each with the same chance whatever text it is of, until all are done or enough tokens are there: so the part has the
corpus' own shares. Pieces that follow one another in their text are joined again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.loading.text.sources import Text

log = logging.getLogger(__name__)
_BATCH = 32
_SPACE = re.compile(r"\s")

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Tokenised:
    """Token ids of stretches of text.

    Attributes:
        ids: int32 [n_ids], one stretch after the other.
        starts: int64 [n_stretches + 1], where each stretch begins in ``ids``, and the end; a stretch is of one text.
        counted: bool [n_ids], False where the tokenizer has a special token.
        whole: Whether this is every token of the texts.
    """

    ids: Ids
    starts: NDArray[np.int64]
    counted: NDArray[np.bool_]
    whole: bool


@dataclass(frozen=True)
class _Piece:
    text: int
    start: int
    stop: int


def tokenise(
    texts: Sequence[Text], tokenizer: Any, special: Collection[int], enough: int, length: int, rng: np.random.Generator
) -> Tokenised:
    """Token ids of ``texts``, or of random pieces of them.

    Args:
        texts: The corpus.
        tokenizer: A transformers tokenizer.
        special: Ids that do not count.
        enough: Stop after this many counted tokens.
        length: Characters of a piece.
        rng: Of the order.
    """
    pieces = [_Piece(n, a, b) for n, text in enumerate(texts) for a, b in pairwise(_cuts(text.body, length))]
    drop = _takes_the_space_for_granted(tokenizer)
    order = rng.permutation(len(pieces))
    found: dict[int, Ids] = {}
    n_counted = 0
    for batch in range(0, len(order), _BATCH):
        if n_counted >= enough:
            break
        picked = order[batch : batch + _BATCH]
        bodies = [_body(texts[pieces[i].text].body, pieces[i], drop) for i in picked]
        for i, ids in zip(picked.tolist(), tokenizer(bodies, add_special_tokens=False, verbose=False)["input_ids"], strict=True):
            found[i] = np.asarray(ids, dtype=np.int32)
            n_counted += len(ids) - int(np.isin(found[i], list(special)).sum())
    return _joined(found, pieces, special)


def _cuts(body: str, length: int) -> Iterator[int]:
    """0, the places between pieces, and the end of the text."""
    yield 0
    n = -(-len(body) // length)
    for k in range(1, n):
        at = k * len(body) // n
        yield _space_before(body, at - length // 8, at)
    yield len(body)


def _space_before(body: str, low: int, high: int) -> int:
    """The last space between ``low`` and ``high``, else any white space, else ``high``."""
    at = body.rfind(" ", low, high)
    if at < 0:
        other = _SPACE.search(body, low, high)
        at = other.start() if other else high
    return at


def _body(text: str, piece: _Piece, drop_space: bool) -> str:
    start = piece.start + (drop_space and piece.start > 0 and text[piece.start] == " ")
    return text[start : piece.stop]


def _takes_the_space_for_granted(tokenizer: Any) -> bool:
    """Whether a word at the beginning of a text gets the token that it has after a space, so that the space must not be given twice."""
    both, first, spaced, bare = tokenizer(["a b", "a", " b", "b"], add_special_tokens=False)["input_ids"]
    return both != first + spaced and both == first + bare


def _joined(found: dict[int, Ids], pieces: Sequence[_Piece], special: Collection[int]) -> Tokenised:
    """Pieces in the order of the corpus; a stretch begins where a piece does not follow the one before in its text."""
    numbers = sorted(found)
    begins = [
        k == 0 or numbers[k - 1] != number - 1 or pieces[numbers[k - 1]].text != pieces[number].text for k, number in enumerate(numbers)
    ]
    ends = np.cumsum([0, *(len(found[number]) for number in numbers)])
    ids = np.concatenate([found[number] for number in numbers]) if numbers else np.zeros(0, np.int32)
    starts = np.append(ends[:-1][np.array(begins, dtype=bool)], ends[-1])
    return Tokenised(ids, starts.astype(np.int64), ~np.isin(ids, list(special)), len(found) == len(pieces))
