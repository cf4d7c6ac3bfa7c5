"""Agreement of verb and subject."""

from __future__ import annotations

from feature_graph.subgraphs.behaviors.behavior import Behavior, PromptPair
from feature_graph.subgraphs.behaviors.lists import pairs_of

_NOUNS = """key keys, author authors, report reports, picture pictures, teacher teachers, letter letters, student students,
machine machines, doctor doctors, book books, friend friends, ship ships, king kings, child children, driver drivers, song songs,
farmer farmers, soldier soldiers, river rivers, painting paintings, lawyer lawyers, bird birds, nurse nurses, engine engines"""
_DISTRACTORS = "near the {}, behind the {}, beside the {}, next to the {}"
_PLACES = "cabinet cabinets, building buildings, road roads, garden gardens"
_SINGULAR, _PLURAL = (" is", " was", " has"), (" are", " were", " have")


def subject_verb_agreement() -> Behavior:
    """Singular or plural, with a noun of the other number between."""
    places, pairs = pairs_of(_PLACES), []
    for i, (one, many) in enumerate(pairs_of(_NOUNS)):
        for k, phrase in enumerate(_DISTRACTORS.split(", ")):
            place, places_many = places[(i + k) % len(places)]
            singular = f"The {one} {phrase.format(places_many)}"
            plural = f"The {many} {phrase.format(place)}"
            pairs.append(PromptPair(singular, f"The {many} {phrase.format(places_many)}", _SINGULAR, _PLURAL, one))
            pairs.append(PromptPair(plural, f"The {one} {phrase.format(place)}", _PLURAL, _SINGULAR, one))
    return Behavior(
        "subject_verb_agreement",
        "The verb agrees with its subject, not with the nearer noun, which has the other number. Corrupted: the subject's number changed.",
        tuple(pairs),
        "After Linzen et al. 2016, Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies",
    )
