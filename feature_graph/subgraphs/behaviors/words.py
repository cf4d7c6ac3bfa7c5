"""Meanings of words: opposites, and whether a review praises."""

from __future__ import annotations

from feature_graph.subgraphs.behaviors.behavior import Behavior, PromptPair
from feature_graph.subgraphs.behaviors.lists import pairs_of, substituted

_OPPOSITES = """hot cold, big small, up down, old new, good bad, fast slow, high low, light dark, hard soft, wet dry, rich poor,
strong weak, happy sad, long short, open closed, early late, full empty, clean dirty, true false, right wrong, first last, love hate,
war peace, day night, black white, buy sell, win lose, north south, east west, male female, friend enemy, thick thin, success failure,
internal external, positive negative, maximum minimum, before after, above below, inside outside, past future, life death,
beginning end, question answer, push pull, increase decrease, left right, heavy light, young old, deep shallow, public private"""
_OPPOSITE_TEMPLATES = ("The opposite of {} is", "The opposite of the word {} is the word", "Not {}, but quite the contrary:")

_ADJECTIVES = """perfect horrible, fantastic dreadful, delightful disgusting, marvelous atrocious, remarkable unpleasant,
fabulous miserable, outstanding disappointing, satisfying pathetic, exceptional boring, incredible mediocre, extraordinary dull,
lovely ugly, brilliant stupid, charming tedious, superb worthless, enjoyable annoying, beautiful painful, magnificent lousy,
impressive ridiculous, pleasant nasty, splendid hopeless, exciting dreary, clever silly, fresh stale"""
_VERBS = "loved hated, enjoyed disliked, adored despised, liked loathed"
_REVIEWS = (
    "I thought this movie was {}, I {} it. Conclusion: this movie is",
    "The food was {} and all of us {} it. In short, the dinner was",
    "What a {} book! I {} every page of it. All in all, the book was",
)
_PRAISE = (" great", " good", " amazing", " excellent", " wonderful")
_BLAME = (" terrible", " bad", " awful", " poor")


def antonyms() -> Behavior:
    """A word's opposite."""
    listed = pairs_of(_OPPOSITES)
    facts = listed + [(b, a) for a, b in listed]
    groups = [" ".join(pair) for pair in listed] * 2
    return Behavior(
        "antonyms",
        "The opposite of a word, both ways round. Corrupted: another word, whose opposite is the wrong answer.",
        tuple(substituted(facts, _OPPOSITE_TEMPLATES, groups)),
        "After Todd et al. 2024, Function Vectors in Large Language Models",
    )


def sentiment() -> Behavior:
    """Praise after praise, blame after blame."""
    pairs, verbs = [], pairs_of(_VERBS)
    for i, (kind, harsh) in enumerate(pairs_of(_ADJECTIVES)):
        liked, hated = verbs[i % len(verbs)]
        for template in _REVIEWS:
            praise, blame = template.format(kind, liked), template.format(harsh, hated)
            pairs.append(PromptPair(praise, blame, _PRAISE, _BLAME, f"{kind} {harsh}"))
            pairs.append(PromptPair(blame, praise, _BLAME, _PRAISE, f"{kind} {harsh}"))
    return Behavior(
        "sentiment",
        "The verdict of a review follows from what it said, whose words are not in it. Corrupted: a review of the other kind.",
        tuple(pairs),
        "After Tigges et al. 2023, Linear Representations of Sentiment in Large Language Models",
    )
