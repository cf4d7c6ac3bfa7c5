"""Short lists as text, and prompts in which one entry stands for another."""

from __future__ import annotations

from collections.abc import Sequence

from feature_graph.subgraphs.behaviors.behavior import PromptPair


def pairs_of(text: str) -> list[tuple[str, str]]:
    """``"a b, c d"`` as ``[("a", "b"), ("c", "d")]``."""
    return [(first, second) for first, second in (entry.split() for entry in text.split(","))]


def substituted(facts: Sequence[tuple[str, str]], templates: Sequence[str], groups: Sequence[str]) -> list[PromptPair]:
    """Cue and answer; the corrupted prompt names the next cue that has another answer, which is the wrong one.

    Args:
        facts: (cue, answer).
        templates: Texts with one ``{}`` for the cue; the answer follows them.
        groups: What each fact is about.
    """
    pairs = []
    for i, ((cue, right), group) in enumerate(zip(facts, groups, strict=True)):
        later = (facts[(i + k) % len(facts)] for k in range(1, len(facts)))
        other, wrong = next((c, a) for c, a in later if a != right and cue not in (c, a))
        pairs += [PromptPair(t.format(cue), t.format(other), (f" {right}",), (f" {wrong}",), group) for t in templates]
    return pairs
