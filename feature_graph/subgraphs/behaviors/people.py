"""People: who receives, and which pronoun a name takes."""

from __future__ import annotations

from feature_graph.subgraphs.behaviors.behavior import Behavior, PromptPair
from feature_graph.subgraphs.behaviors.lists import pairs_of

#: A woman's and a man's name each.
_NAMES = """Mary John, Eva James, Sarah David, Anna Paul, Laura Mark, Emily Peter, Alice Bob, Kate Simon, Lisa Michael, Jane Robert,
Susan Daniel, Maria Richard, Helen Andrew, Rachel Adam, Julia Steven, Emma William, Karen Brian, Amy Kevin, Linda George, Nancy Frank,
Diana Henry, Ruth Edward, Carol Charles, Grace Thomas"""
_INDIRECT_TEMPLATES = (
    "When {a} and {b} went to the store, {s} gave a drink to",
    "After {a} and {b} had dinner together, {s} handed the keys to",
    "Then {a} and {b} worked at the office all day, and {s} sent a letter to",
    "While {a} and {b} were waiting at the station, {s} offered the ticket to",
)
_PRONOUN_TEMPLATES = (
    "So {} is a really good friend, isn't",
    "{} was very tired after the long day, so",
    "{} went back to the house because",
    "The teacher praised {} in front of the class because",
)


def indirect_object() -> Behavior:
    """Who receives."""
    pairs = []
    for first, second in pairs_of(_NAMES):
        for t, template in enumerate(_INDIRECT_TEMPLATES):
            for a, b in ((first, second), (second, first)):
                giver, receiver = (a, b) if t % 2 else (b, a)
                clean, corrupted = template.format(a=a, b=b, s=giver), template.format(a=a, b=b, s=receiver)
                pairs.append(PromptPair(clean, corrupted, (f" {receiver}",), (f" {giver}",), f"{first} {second}"))
    return Behavior(
        "indirect_object",
        "Of two people named, the one who is not the giver receives; both orders. Corrupted: the other one gives.",
        tuple(pairs),
        "After Wang et al. 2023, Interpretability in the Wild",
    )


def gendered_pronoun() -> Behavior:
    """She after a woman's name, he after a man's."""
    pairs = []
    for woman, man in pairs_of(_NAMES):
        for template in _PRONOUN_TEMPLATES:
            for name, other, right, wrong in ((woman, man, " she", " he"), (man, woman, " he", " she")):
                pairs.append(PromptPair(template.format(name), template.format(other), (right,), (wrong,), f"{woman} {man}"))
    return Behavior(
        "gendered_pronoun",
        "The pronoun agrees with the gender that a first name has by custom. Corrupted: a name of the other gender.",
        tuple(pairs),
        "After Mathwin et al. 2023, Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small",
    )
