"""A behaviour made ready for one model: its prompts as tokens, in two halves, and the model with its dictionaries."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interventions import AnalysedModel
from feature_graph.subgraphs.behaviors import Behavior, BehaviorError, find_behavior
from feature_graph.subgraphs.effects import BehaviorModel
from feature_graph.subgraphs.readable import readable_prompts
from feature_graph.subgraphs.tokens import ReadPrompts, split_prompts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What the study of one behaviour starts from.

    Attributes:
        behavior: The behaviour.
        model: The model and its dictionaries.
        tokenizer: The model's tokenizer, or None.
        choosing: The half that seeds, means and rankings come from.
        held_out: The half that is measured on.
        own: Whether the prompts are the behaviour's own.
        warnings: Why not.
        seed: Seed of every random choice.
        level: Significance level.
    """

    behavior: Behavior
    model: BehaviorModel
    tokenizer: Any
    choosing: ReadPrompts
    held_out: ReadPrompts
    own: bool
    warnings: tuple[str, ...]
    seed: int
    level: float


def prepare(
    model: HookedModel | AnalysedModel, saes: Dictionaries, behavior: str | Path | Behavior, cfg: Config | None, max_prompts: int
) -> Prepared:
    """Read a behaviour's prompts for a model and split them.

    Raises:
        BehaviorError: If the behaviour is unknown or malformed, or ``max_prompts`` is under 8.
    """
    wanted = find_behavior(behavior)
    at_least("max_prompts", max_prompts, 8)
    seed, level = (cfg.seed, cfg.significance_level) if cfg is not None else (0, 0.05)
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    readable = readable_prompts(analysed, wanted, cfg)
    choosing, held_out = split_prompts(readable.prompts, max_prompts, seed)
    logger.info("%s: of these, %d choose the seeds and %d others test them", wanted.name, len(choosing.clean), len(held_out.clean))
    tokenizer = getattr(analysed.model, "tokenizer", None)
    return Prepared(wanted, BehaviorModel(analysed), tokenizer, choosing, held_out, readable.own, readable.warnings, seed, level)


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a number that makes no sense.

    Raises:
        BehaviorError: Naming it.
    """
    if value < least:
        raise BehaviorError(f"{name}: got {value}, expected at least {least}")
