"""The contexts that a corpus gives: whole windows of long texts, and short texts and remainders that share a context.

1. A stretch of n tokens gives n // c windows of c tokens (context_length, less BOS where contexts begin with it) and a remainder.
2. Remainders and short texts are packed into shared contexts by best fit, in random order, each after a separator: the tokenizer's
   BOS, else its EOS. None of them is cut; what is left of a shared context is padded on the right.

So every token is in exactly one context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.loading.text.pieces import Tokenised


@dataclass(frozen=True)
class ContextMarks:
    """What a context is made of besides text.

    Attributes:
        width: Tokens per context.
        bos: Put at the beginning of a window; None: nothing is.
        separator: Put before each text of a shared context; None: no context can be shared.
        pad: Fills a shared context.
    """

    width: int
    bos: int | None
    separator: int | None
    pad: int | None

    @property
    def body(self) -> int:
        """Tokens of text in a window."""
        return self.width - (self.bos is not None)


@dataclass(frozen=True)
class ContextRows:
    """Contexts, as places in the tokens that they are made of.

    Attributes:
        source: The tokens.
        frame: What stands around them.
        windows: int64 [n_windows], where each window begins.
        parts: int64 [n_parts, 2], beginning and end of each short stretch, those of one context together.
        shared: int64 [n_shared + 1], where each shared context begins in ``parts``, and the end.
        counted: int64 [n_windows + n_shared], counted tokens of each context.
        left_out: Counted tokens in no context, for want of a separator.
    """

    source: Tokenised
    frame: ContextMarks
    windows: NDArray[np.int64]
    parts: NDArray[np.int64]
    shared: NDArray[np.int64]
    counted: NDArray[np.int64]
    left_out: int

    def row(self, number: int) -> NDArray[np.int64]:
        """Token ids of one context, int64 [width]."""
        frame, ids = self.frame, self.source.ids
        if number < len(self.windows):
            start = self.windows[number]
            window = ids[start : start + frame.body].astype(np.int64)
            return window if frame.bos is None else np.concatenate([[frame.bos], window])
        row = np.full(frame.width, frame.pad, dtype=np.int64)
        first, last = self.shared[number - len(self.windows) :][:2]
        at = 0
        for start, stop in self.parts[first:last]:
            row[at : at + 1 + stop - start] = np.concatenate([[frame.separator], ids[start:stop]])
            at += 1 + stop - start
        return row


def rows_of(source: Tokenised, frame: ContextMarks, rng: np.random.Generator) -> ContextRows:
    """Every context of ``source``; ``rng`` decides which short stretches share one."""
    lengths = np.diff(source.starts)
    n_windows = lengths // frame.body
    within = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    windows = np.repeat(source.starts[:-1], n_windows) + within * frame.body
    parts = np.stack([source.starts[:-1] + n_windows * frame.body, source.starts[1:]], axis=1)
    parts = rng.permutation(parts[parts[:, 1] > parts[:, 0]])
    counted = np.concatenate([[0], np.cumsum(source.counted)])
    by_window, by_part = counted[windows + frame.body] - counted[windows], counted[parts[:, 1]] - counted[parts[:, 0]]
    if frame.separator is None:
        return ContextRows(source, frame, windows, parts[:0], np.zeros(1, np.int64), by_window, int(by_part.sum()))
    bins = best_fit((1 + parts[:, 1] - parts[:, 0]).tolist(), frame.width)
    order = np.argsort(bins, kind="stable")
    shared = np.searchsorted(bins[order], np.arange(bins.max(initial=-1) + 2))
    by_shared = np.bincount(bins, by_part, minlength=len(shared) - 1).astype(np.int64)
    return ContextRows(source, frame, windows, parts[order], shared, np.concatenate([by_window, by_shared]), 0)


def best_fit(sizes: list[int], room: int) -> NDArray[np.int64]:
    """Which box each thing goes into, in turn: the fullest in which there is room for it, else a new one. int64 [n]."""
    boxes: list[list[int]] = [[] for _ in range(room + 1)]  # by the room that is left
    lefts = 0  # bit r: there is a box with room r
    found = np.zeros(len(sizes), dtype=np.int64)
    n_boxes = 0
    for k, size in enumerate(sizes):
        fitting = lefts >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            box = boxes[left].pop()
            lefts ^= (1 << left) if not boxes[left] else 0
        else:
            left, box, n_boxes = room, n_boxes, n_boxes + 1
        boxes[left - size].append(box)
        lefts |= 1 << (left - size)
        found[k] = box
    return found
