"""Years in order."""

from __future__ import annotations

from feature_graph.subgraphs.behaviors.behavior import Behavior, PromptPair

_EVENTS = """war siege reign voyage dispute campaign famine expedition marriage rebellion project treaty drought alliance journey trial
conflict mission contract occupation strike partnership plague tour"""
_CENTURIES = (14, 15, 16, 17, 18, 19)
_TEMPLATES = ("The {} lasted from the year {}{} to the year {}", "The {} went on from {}{} to {}")


def greater_than() -> Behavior:
    """Years of two digits where the tokenizer keeps them together, of one digit where it splits every digit: what fits is kept."""
    pairs = []
    for i, event in enumerate(_EVENTS.split()):
        for k, template in enumerate(_TEMPLATES):
            century = _CENTURIES[(i + k) % len(_CENTURIES)]
            for n in range(3):
                year = 22 + (i * 13 + k * 29 + n * 37) % 56
                clean, corrupted = (template.format(event, century, yy, century) for yy in (f"{year:02d}", "01"))
                whole = tuple(f"{y:02d}" for y in range(year + 1, 100)), tuple(f"{y:02d}" for y in range(2, year))
                tens = tuple(str(d) for d in range(year // 10 + 1, 10)), tuple(str(d) for d in range(1, year // 10))
                pairs += [PromptPair(clean, corrupted, right, wrong, event) for right, wrong in (whole, tens)]
    return Behavior(
        "greater_than",
        "An end lies after its beginning: later years (or later tens digits, for tokenizers that split digits) against earlier ones. "
        "Corrupted: the beginning is year 01 of the century, which decides nothing.",
        tuple(pairs),
        "After Hanna et al. 2023, How does GPT-2 compute greater-than?",
        "probability_difference",
    )
