"""Prompts of a behaviour as tokens of one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.subgraphs.behaviors import METRICS, Behavior, PromptPair
from feature_graph.utils import derived_seed

_ABSENT = -1


@dataclass(frozen=True)
class PromptTokens:
    """Prompts padded on the right, which is exact under a causal mask: no token of a prompt sees the padding.

    Attributes:
        texts: The prompts as text [n]; token ids as text where there was no text.
        tokens: int64 [n, context].
        last: int64 [n], position of the last token of each prompt, where the answer is read.
        right: int64 [n, k], token ids of right answers, -1 where a prompt has fewer.
        wrong: int64 [n, m], the same for wrong answers.
        groups: int64 [n], what each prompt is about; one group is one observation.
        measure: Name of the metric, one of ``behaviors.METRICS``.
    """

    texts: tuple[str, ...]
    tokens: Tensor
    last: Tensor
    right: Tensor
    wrong: Tensor
    groups: NDArray[np.int64]
    measure: str = "logit_difference"

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> PromptTokens:
        """Some of the prompts."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        tensors = {name: getattr(self, name)[index] for name in ("tokens", "last", "right", "wrong")}
        return replace(self, texts=tuple(self.texts[r] for r in rows), groups=self.groups[index.numpy()], **tensors)

    def metric(self, logits: Tensor) -> Tensor:
        """The metric [n] of the logits [n, d_vocab] at the last positions; rows as here."""
        right, wrong = _log_sum(logits, self.right), _log_sum(logits, self.wrong)
        if self.measure == "probability_difference":
            whole = logits.logsumexp(-1)
            return (right - whole).exp() - (wrong - whole).exp()
        return right - wrong

    def answer_probability(self, logits: Tensor) -> Tensor:
        """Probability [n] of all right answers together."""
        return (_log_sum(logits, self.right) - logits.logsumexp(-1)).exp()

    def mask(self) -> Tensor:
        """bool [n, context]: the positions of the prompt that features may be removed from.

        Position 0 is left out: it holds BOS, or, in models without one, often an outlier that all later positions attend to.
        """
        position = torch.arange(self.tokens.shape[1])
        return (position >= 1) & (position <= self.last[:, None])


@dataclass(frozen=True)
class ReadPrompts:
    """What a model's tokenizer makes of a behaviour.

    Attributes:
        clean: Prompts that ask for the behaviour.
        corrupted: Their counterparts, row for row.
        dropped: Reason → pairs left out.
    """

    clean: PromptTokens
    corrupted: PromptTokens
    dropped: dict[str, int]

    def take(self, rows: Sequence[int]) -> ReadPrompts:
        """Some of the pairs."""
        return replace(self, clean=self.clean.take(rows), corrupted=self.corrupted.take(rows))


def read_prompts(tokenizer: Any, behavior: Behavior, bos: int | None, n_ctx: int) -> ReadPrompts:
    """Tokenise a behaviour.

    An answer counts if it is exactly one more token after its prompt; other answers are left out, and a pair without a right or without a
    wrong answer left is dropped and counted.

    Args:
        tokenizer: A transformers tokenizer.
        behavior: The behaviour.
        bos: Id put before every prompt, or None.
        n_ctx: Tokens the model can read.
    """
    start = [] if bos is None else [bos]
    dropped: Counter[str] = Counter()
    kept: list[PromptPair] = []
    columns: tuple[list[list[int]], ...] = ([], [], [], [])
    for pair in behavior.pairs:
        clean, corrupted = (start + ids for ids in _encode(tokenizer, [pair.clean, pair.corrupted]))
        right, wrong = (_single_tokens(tokenizer, pair.clean, answers) for answers in (pair.answers, pair.wrong))
        if not right or not wrong or set(right) & set(wrong):
            dropped["no single-token answer"] += 1
        elif max(len(clean), len(corrupted)) > n_ctx:
            dropped["longer than the model's context"] += 1
        elif min(len(clean), len(corrupted)) < 2:
            dropped["shorter than two tokens"] += 1
        else:
            kept.append(pair)
            for column, ids in zip(columns, (clean, corrupted, right, wrong), strict=True):
                column.append(ids)
    names = {name: i for i, name in enumerate(dict.fromkeys(pair.group for pair in kept))}
    groups = np.array([names[pair.group] for pair in kept], dtype=np.int64)
    answers = _padded(columns[2], _ABSENT), _padded(columns[3], _ABSENT)
    return ReadPrompts(
        _prompts([pair.clean for pair in kept], columns[0], *answers, groups, behavior.metric),
        _prompts([pair.corrupted for pair in kept], columns[1], *answers, groups, behavior.metric),
        dict(dropped),
    )


def prompts_of_ids(clean: Tensor, corrupted: Tensor, right: Tensor, wrong: Tensor) -> ReadPrompts:
    """Pairs given as token ids [n, context] with one right and one wrong token [n] each; every pair is its own group."""
    groups = np.arange(len(clean), dtype=np.int64)
    parts = [
        _prompts([" ".join(map(str, row)) for row in ids.tolist()], ids.tolist(), right[:, None], wrong[:, None], groups)
        for ids in (clean, corrupted)
    ]
    return ReadPrompts(parts[0], parts[1], {})


def split_prompts(prompts: ReadPrompts, most: int, seed: int) -> tuple[ReadPrompts, ReadPrompts]:
    """Two halves without a common group, of at most ``most`` / 2 pairs each, over as many groups as possible first.

    Within a group neighbours are taken, from a random start: lists of pairs take turns between conditions (singular and plural, both orders
    of two names), so that two pairs of a group are one of each.
    """
    groups = prompts.clean.groups
    rng = np.random.default_rng(derived_seed(seed, "behaviour halves"))
    order = rng.permutation(np.unique(groups))
    halves = []
    for chosen in (order[0::2], order[1::2]):
        members = [_rotated(np.flatnonzero(groups == g), rng) for g in chosen]
        turns = [m[k] for k in range(max(map(len, members), default=0)) for m in members if k < len(m)]
        halves.append(prompts.take(sorted(turns[: max(2, most // 2)])))
    return halves[0], halves[1]


def _rotated(rows: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    return [int(row) for row in np.roll(rows, int(rng.integers(len(rows))))]


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _single_tokens(tokenizer: Any, prompt: str, answers: Sequence[str]) -> list[int]:
    """The token of every answer that is one token more after the prompt, as the tokenizer itself would read the whole."""
    before, *after = _encode(tokenizer, [prompt, *(prompt + answer for answer in answers)])
    return list(dict.fromkeys(ids[-1] for ids in after if len(ids) == len(before) + 1 and ids[:-1] == before))


def _prompts(
    texts: list[str], ids: list[list[int]], right: Tensor, wrong: Tensor, groups: NDArray[np.int64], measure: str = METRICS[0]
) -> PromptTokens:
    last = torch.tensor([len(row) - 1 for row in ids], dtype=torch.long)
    return PromptTokens(tuple(texts), _padded(ids, 0), last, right, wrong, groups, measure)


def _padded(rows: list[list[int]], fill: int) -> Tensor:
    width = max(map(len, rows), default=0)
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], dtype=torch.long).reshape(len(rows), width)


def _log_sum(logits: Tensor, ids: Tensor) -> Tensor:
    ids = ids.to(logits.device)
    return logits.gather(-1, ids.clamp(min=0)).masked_fill(ids == _ABSENT, -torch.inf).logsumexp(-1)
