"""A behaviour: prompts that ask for it, prompts that look alike and do not, and what the model should say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from feature_graph.subgraphs.errors import SubgraphError

#: Groups of prompts that a behaviour needs: two to choose seeds on, two to test them on.
MIN_GROUPS = 4
#: What can be read off the last position, right against wrong answers.
METRICS = ("logit_difference", "probability_difference")


class BehaviorError(SubgraphError):
    """A behaviour that is unknown or malformed; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True)
class PromptPair:
    """One prompt with its counterpart.

    Attributes:
        clean: Text after which the model should give one of ``answers``.
        corrupted: Nearly the same text, changed in what decides, so that the answers no longer follow.
        answers: Right continuations, each with its leading space where there is one.
        wrong: Continuations of the same kind that are wrong after ``clean``.
        group: What the prompt is about. Prompts of one group count as one observation and are never split between the half that
            chooses seeds and the half that tests them.
    """

    clean: str
    corrupted: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Behavior:
    """A named set of prompt pairs.

    The metric is read at the last position of the prompt. ``logit_difference``: log Σ exp(logit) over the right answers minus the same
    over the wrong ones; with one answer each this is logit(right) − logit(wrong), with several the log odds of right against wrong.
    ``probability_difference``: the probability of all right answers minus that of all wrong ones, from -1 to 1.
    """

    name: str
    description: str
    pairs: tuple[PromptPair, ...]
    source: str = ""
    metric: str = "logit_difference"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise BehaviorError(f"behaviour {self.name!r}: metric: got {self.metric!r}, expected one of {', '.join(METRICS)}")
        groups = {pair.group for pair in self.pairs}
        if len(groups) < MIN_GROUPS:
            raise BehaviorError(f"behaviour {self.name!r}: got {len(groups)} groups of prompts, expected at least {MIN_GROUPS}")
        for pair in self.pairs:
            if not pair.clean or not pair.corrupted or not pair.answers or not pair.wrong or set(pair.answers) & set(pair.wrong):
                raise BehaviorError(
                    f"behaviour {self.name!r}: {pair}: expected texts, and answers and wrong answers that are not empty and do not overlap"
                )


def load_behavior(path: str | Path) -> Behavior:
    """Read a behaviour from a YAML file: name, description, metric, and a list ``prompts`` with the fields of :class:`PromptPair`.

    ``answers`` and ``wrong`` may be one text or a list of texts; ``group`` may be left out, then each prompt is its own, and ``metric``,
    then it is ``logit_difference``.

    Raises:
        BehaviorError: If the file is missing or not in this form; the message names the prompt and the field.
    """
    path = Path(path)
    if not path.is_file():
        raise BehaviorError(f"no behaviour file at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BehaviorError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("prompts"), list) or not isinstance(values.get("name"), str):
        raise BehaviorError(f"{path}: expected a mapping with name, description and a list of prompts")
    pairs = tuple(_pair(f"{path}: prompt {i}", item, i) for i, item in enumerate(values["prompts"]))
    return Behavior(
        values["name"],
        str(values.get("description", "")),
        pairs,
        str(values.get("source", path.name)),
        str(values.get("metric", METRICS[0])),
    )


def _pair(where: str, item: Any, number: int) -> PromptPair:
    required, allowed = {"clean", "corrupted", "answers", "wrong"}, {"clean", "corrupted", "answers", "wrong", "group"}
    if not isinstance(item, dict) or not required <= set(item) <= allowed:
        got = sorted(item) if isinstance(item, dict) else type(item).__name__
        raise BehaviorError(f"{where}: got {got}, expected the fields clean, corrupted, answers, wrong and, if wanted, group")
    for name in ("clean", "corrupted"):
        if not isinstance(item[name], str):
            raise BehaviorError(f"{where}: {name}: got {item[name]!r}, expected text")
    answers, wrong = (_texts(where, name, item[name]) for name in ("answers", "wrong"))
    return PromptPair(item["clean"], item["corrupted"], answers, wrong, str(item.get("group", number)))


def _texts(where: str, name: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str) and v for v in values):
        raise BehaviorError(f"{where}: {name}: got {value!r}, expected a text or a list of texts (quote numbers, keep leading spaces)")
    return tuple(values)
