"""Facts about countries."""

from __future__ import annotations

from feature_graph.subgraphs.behaviors.behavior import Behavior
from feature_graph.subgraphs.behaviors.lists import pairs_of, substituted

_CAPITALS = """France Paris, Germany Berlin, Italy Rome, Spain Madrid, England London, Russia Moscow, Japan Tokyo, China Beijing,
Egypt Cairo, Greece Athens, Ireland Dublin, Austria Vienna, Portugal Lisbon, Poland Warsaw, Sweden Stockholm, Norway Oslo,
Finland Helsinki, Turkey Ankara, Iran Tehran, Iraq Baghdad, Syria Damascus, Cuba Havana, Peru Lima, Kenya Nairobi,
Hungary Budapest, Belgium Brussels, Thailand Bangkok, Afghanistan Kabul, Vietnam Hanoi, Chile Santiago, Canada Ottawa,
Denmark Copenhagen, Scotland Edinburgh, Colombia Bogota"""
_LANGUAGES = """France French, Germany German, Italy Italian, Spain Spanish, England English, Russia Russian, Japan Japanese, China Chinese,
Egypt Arabic, Greece Greek, Portugal Portuguese, Poland Polish, Sweden Swedish, Norway Norwegian, Finland Finnish, Turkey Turkish,
Iran Persian, Iraq Arabic, Cuba Spanish, Peru Spanish, Ukraine Ukrainian, Hungary Hungarian, Denmark Danish, Thailand Thai"""
_CAPITAL_TEMPLATES = ("The capital of {} is", "The capital city of {} is", "The capital and largest city of {} is")
_LANGUAGE_TEMPLATES = ("The official language of {} is", "In {}, most people speak")


def factual_recall() -> Behavior:
    """Capitals and languages."""
    pairs = []
    for table, templates in ((_CAPITALS, _CAPITAL_TEMPLATES), (_LANGUAGES, _LANGUAGE_TEMPLATES)):
        facts = pairs_of(table)
        pairs += substituted(facts, templates, [subject for subject, _ in facts])
    return Behavior(
        "factual_recall",
        "Capitals and languages of countries. Corrupted: another country, whose capital or language is the wrong answer.",
        tuple(pairs),
        "After Meng et al. 2022, Locating and Editing Factual Associations in GPT",
    )
