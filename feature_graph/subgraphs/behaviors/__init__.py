"""What a behaviour is, and those that come with the library, each generated from a short list and a few templates.

Nothing here knows a tokenizer. Answers that are not one token after their prompt are left out when the prompts are read for a model, and
counted; lists are therefore longer than needed.
"""

from pathlib import Path

from feature_graph.subgraphs.behaviors.behavior import METRICS, MIN_GROUPS, Behavior, BehaviorError, PromptPair, load_behavior
from feature_graph.subgraphs.behaviors.facts import factual_recall
from feature_graph.subgraphs.behaviors.grammar import subject_verb_agreement
from feature_graph.subgraphs.behaviors.numbers import greater_than
from feature_graph.subgraphs.behaviors.people import gendered_pronoun, indirect_object
from feature_graph.subgraphs.behaviors.repetition import induction
from feature_graph.subgraphs.behaviors.words import antonyms, sentiment

#: Name to behaviour.
PREDEFINED_BEHAVIORS: dict[str, Behavior] = {
    behavior.name: behavior
    for behavior in (
        factual_recall(),
        indirect_object(),
        greater_than(),
        subject_verb_agreement(),
        gendered_pronoun(),
        induction(),
        antonyms(),
        sentiment(),
    )
}


def find_behavior(behavior: str | Path | Behavior) -> Behavior:
    """A behaviour by its name in :data:`PREDEFINED_BEHAVIORS`, by the path of a YAML file, or itself.

    Raises:
        BehaviorError: If the name is unknown (those known are listed), or the file is missing or malformed.
    """
    if isinstance(behavior, Behavior):
        return behavior
    if str(behavior) in PREDEFINED_BEHAVIORS:
        return PREDEFINED_BEHAVIORS[str(behavior)]
    if Path(behavior).suffix in {".yaml", ".yml"}:
        return load_behavior(behavior)
    known = ", ".join(PREDEFINED_BEHAVIORS)
    raise BehaviorError(f"behavior: got {str(behavior)!r}, expected one of {known}, a Behavior, or the path of a .yaml file with one")


__all__ = [
    "METRICS",
    "MIN_GROUPS",
    "PREDEFINED_BEHAVIORS",
    "Behavior",
    "BehaviorError",
    "PromptPair",
    "find_behavior",
    "load_behavior",
]
