"""Token ids of the texts, or of a random part of them that is large enough, in one flat array.

A text longer than one piece is cut into pieces of about equal length, before a space where one is near. Pieces pass the tokenizer in
random order, each with the same chance whatever text it is of, until all are done or enough tokens are there: so the part has the
corpus' own shares. Pieces that follow one another in their text are joined again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.loading.text.records import Text

#: Pieces of full length that pass the tokenizer at once.
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
class Reader:
    """What makes tokens of texts.

    Attributes:
        tokenizer: A transformers tokenizer; None where every text comes as token ids.
        special: Ids that do not count.
        separator: Dropped at the beginning of a text, since it is put before it where one is needed.
        pad: Dropped at both ends of a text.
    """

    tokenizer: Any
    special: tuple[int, ...]
    separator: int | None
    pad: int | None

    def counted(self, ids: Ids) -> NDArray[np.bool_]:
        """Which ids count."""
        return ~np.isin(ids, self.special)

    def read(self, texts: Sequence[Text]) -> list[Ids]:
        """Token ids of each text."""
        bodies = [text.body for text in texts if text.tokens is None]
        only_ids = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        read = iter(self.tokenizer(bodies, **only_ids)["input_ids"] if bodies else [])
        return [self._bare(np.asarray(next(read) if text.tokens is None else text.tokens, dtype=np.int32)) for text in texts]

    def takes_the_space_for_granted(self) -> bool:
        """Whether a word at the beginning of a text gets the token that it has after a space, so that the space must not be given twice."""
        if self.tokenizer is None:
            return False
        both, first, spaced, bare = self.tokenizer(["a b", "a", " b", "b"], add_special_tokens=False)["input_ids"]
        return bool(both != first + spaced and both == first + bare)

    def _bare(self, ids: Ids) -> Ids:
        if len(ids) and ids[0] not in (self.separator, self.pad) and ids[-1] != self.pad:
            return ids
        text = np.flatnonzero((ids != self.separator) & (ids != self.pad))
        end = np.flatnonzero(ids != self.pad)
        return ids[text[0] : end[-1] + 1] if len(text) else ids[:0]


@dataclass(frozen=True, slots=True)
class _TextPiece:
    text: int
    start: int
    stop: int


def tokenise(texts: Sequence[Text], reader: Reader, enough: int, length: int, rng: np.random.Generator) -> Tokenised:
    """Token ids of ``texts``, or of random pieces of them.

    Args:
        texts: The corpus.
        reader: Makes tokens of them.
        enough: Stop after this many counted tokens.
        length: Characters of a piece; a quarter as many tokens of a text that comes as token ids.
        rng: Of the order.
    """
    pieces = [_TextPiece(n, a, b) for n, text in enumerate(texts) for a, b in pairwise(_cuts(text, length))]
    drop = reader.takes_the_space_for_granted()
    order = rng.permutation(len(pieces)).tolist()
    found: dict[int, Ids] = {}
    n_counted = 0
    for picked in _batches(order, pieces, _BATCH * length):
        if n_counted >= enough:
            break
        read = reader.read([_part(texts[pieces[i].text], pieces[i], drop) for i in picked])
        found.update(zip(picked, read, strict=True))
        n_counted += int(reader.counted(np.concatenate(read)).sum())
    return _joined(found, pieces, reader)


def _batches(order: Sequence[int], pieces: Sequence[_TextPiece], size: int) -> Iterator[list[int]]:
    """Pieces in order, about ``size`` characters at a time."""
    batch: list[int] = []
    room = size
    for number in order:
        batch.append(number)
        room -= pieces[number].stop - pieces[number].start
        if room <= 0:
            yield batch
            batch, room = [], size
    if batch:
        yield batch


def _cuts(text: Text, length: int) -> Iterator[int]:
    """0, the places between pieces, and the end of the text."""
    size, length = (len(text.body), length) if text.tokens is None else (len(text.tokens), length // 4)
    yield 0
    n = -(-size // length)
    for k in range(1, n):
        at = k * size // n
        yield _space_before(text.body, at - length // 8, at) if text.tokens is None else at
    yield size


def _space_before(body: str, low: int, high: int) -> int:
    """The last space between ``low`` and ``high``, else any white space, else ``high``."""
    at = body.rfind(" ", low, high)
    if at < 0:
        other = _SPACE.search(body, low, high)
        at = other.start() if other else high
    return at


def _part(text: Text, piece: _TextPiece, drop_space: bool) -> Text:
    if text.tokens is not None:
        return Text(text.title, "", text.tokens[piece.start : piece.stop])
    start = piece.start + (drop_space and piece.start > 0 and text.body[piece.start] == " ")
    return Text(text.title, text.body[start : piece.stop])


def _joined(found: dict[int, Ids], pieces: Sequence[_TextPiece], reader: Reader) -> Tokenised:
    """Pieces in the order of the corpus; a stretch begins where a piece does not follow the one before in its text."""
    numbers = sorted(found)
    begins = [
        k == 0 or numbers[k - 1] != number - 1 or pieces[numbers[k - 1]].text != pieces[number].text for k, number in enumerate(numbers)
    ]
    ends = np.cumsum([0, *(len(found[number]) for number in numbers)])
    ids = np.concatenate([found[number] for number in numbers]) if numbers else np.zeros(0, np.int32)
    starts = np.append(ends[:-1][np.array(begins, dtype=bool)], ends[-1])
    return Tokenised(ids, starts.astype(np.int64), reader.counted(ids), len(found) == len(pieces))
