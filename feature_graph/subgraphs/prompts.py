"""The behaviours that come with the library, each generated from a short list and a few templates.

Nothing here knows a tokenizer. Answers that are not one token after their prompt are left out when the prompts are read for a model, and
counted; lists are therefore longer than needed.
"""

from __future__ import annotations

from feature_graph.subgraphs.behaviors import Behavior, PromptPair

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

_NAMES = """Mary John, Tom James, Sarah David, Anna Paul, Laura Mark, Emily Peter, Alice Bob, Kate Simon, Lisa Michael, Jane Robert,
Susan Daniel, Maria Richard, Helen Andrew, Rachel Adam, Julia Steven, Emma William, Karen Brian, Amy Kevin, Linda George, Nancy Frank,
Diana Henry, Ruth Edward, Carol Charles, Grace Thomas"""
_INDIRECT_TEMPLATES = (
    "When {a} and {b} went to the store, {s} gave a drink to",
    "After {a} and {b} had dinner together, {s} handed the keys to",
    "Then {a} and {b} worked at the office all day, and {s} sent a letter to",
    "While {a} and {b} were waiting at the station, {s} offered the ticket to",
)

_EVENTS = """war siege reign voyage dispute campaign famine expedition marriage rebellion project treaty drought alliance journey trial
conflict mission contract occupation strike partnership plague tour"""
_CENTURIES = (14, 15, 16, 17, 18, 19)
_YEAR_TEMPLATES = ("The {} lasted from the year {}{} to the year {}", "The {} went on from {}{} to {}")

_NOUNS = """key keys, author authors, report reports, picture pictures, teacher teachers, letter letters, student students,
machine machines, doctor doctors, book books, friend friends, ship ships, king kings, child children, driver drivers, song songs,
farmer farmers, soldier soldiers, river rivers, painting paintings, lawyer lawyers, bird birds, nurse nurses, engine engines"""
_DISTRACTORS = "near the {}, behind the {}, beside the {}, next to the {}"
_PLACES = "cabinet cabinets, building buildings, road roads, garden gardens"
_SINGULAR, _PLURAL = (" is", " was", " has"), (" are", " were", " have")


def _words(text: str) -> list[tuple[str, str]]:
    """``"a b, c d"`` as ``[("a", "b"), ("c", "d")]``."""
    return [(first, second) for first, second in (entry.split() for entry in text.split(","))]


def _facts(table: str, templates: tuple[str, ...]) -> list[PromptPair]:
    """Subject and object; the corrupted prompt names the subject of another object, which is the wrong answer."""
    facts, pairs = _words(table), []
    for i, (subject, right) in enumerate(facts):
        other, wrong = next(facts[(i + k) % len(facts)] for k in range(1, len(facts)) if facts[(i + k) % len(facts)][1] != right)
        pairs += [PromptPair(t.format(subject), t.format(other), (f" {right}",), (f" {wrong}",), subject) for t in templates]
    return pairs


def _factual_recall() -> Behavior:
    pairs = _facts(_CAPITALS, _CAPITAL_TEMPLATES) + _facts(_LANGUAGES, _LANGUAGE_TEMPLATES)
    return Behavior(
        "factual_recall",
        "Capitals and languages of countries. Corrupted: another country, whose capital or language is the wrong answer.",
        tuple(pairs),
        "After Meng et al. 2022, Locating and Editing Factual Associations in GPT",
    )


def _indirect_object() -> Behavior:
    pairs = []
    for first, second in _words(_NAMES):
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


def _greater_than() -> Behavior:
    """Years of two digits where the tokenizer keeps them together, of one digit where it splits every digit: what fits is kept."""
    pairs = []
    for i, event in enumerate(_EVENTS.split()):
        for k, template in enumerate(_YEAR_TEMPLATES):
            century = _CENTURIES[(i + k) % len(_CENTURIES)]
            for n in range(2):
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
    )


def _subject_verb_agreement() -> Behavior:
    places, pairs = _words(_PLACES), []
    for i, (one, many) in enumerate(_words(_NOUNS)):
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


#: Name to behaviour.
PREDEFINED_BEHAVIORS: dict[str, Behavior] = {
    behavior.name: behavior for behavior in (_factual_recall(), _indirect_object(), _greater_than(), _subject_verb_agreement())
}
