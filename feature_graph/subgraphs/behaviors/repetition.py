"""A random sequence that starts again."""

from __future__ import annotations

import random

from feature_graph.subgraphs.behaviors.behavior import Behavior, PromptPair

_WORDS = """apple river stone music paper winter garden silver horse bridge doctor market window animal table summer engine letter
mountain city forest camera leather ocean pencil rabbit soldier ticket uncle village water yellow castle dinner finger guitar hammer
island jacket kitchen ladder mirror needle orange pocket rocket shadow tower valley wagon blanket button candle circle cotton desert
dragon eagle farmer flower glass iron knife lemon marble metal novel palace planet queen ribbon salt school ship snow spring station
steel storm student sugar temple theater tiger tunnel wheel wine wolf"""
_SEQUENCES, _LENGTHS, _PREFIXES = 60, (8, 10, 12), (3, 5)
_SEED = 20231


def induction() -> Behavior:
    """What followed last time follows again. Words take the place of tokens, so that every tokenizer can read them."""
    draw, words, pairs = random.Random(_SEED), _WORDS.split(), []
    for i in range(_SEQUENCES):
        sequence = draw.sample(words, _LENGTHS[i % len(_LENGTHS)])
        for known in _PREFIXES:
            elsewhere = draw.choice([k for k in range(len(sequence)) if k > known])
            swapped = list(sequence)
            swapped[known], swapped[elsewhere] = sequence[elsewhere], sequence[known]
            clean, corrupted = (" ".join([*first, *sequence[:known]]) for first in (sequence, swapped))
            pairs.append(PromptPair(clean, corrupted, (f" {sequence[known]}",), (f" {sequence[elsewhere]}",), f"sequence {i}"))
    return Behavior(
        "induction",
        "A sequence of random words starts again and stops after three or five words; the answer is the word that came next the first "
        "time. Corrupted: the first time, that word has changed places with a later one, which is the wrong answer, "
        "so both are in every prompt.",
        tuple(pairs),
        "After Olsson et al. 2022, In-context Learning and Induction Heads",
    )
