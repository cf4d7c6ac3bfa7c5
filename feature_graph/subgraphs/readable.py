"""What a model can be asked about a behaviour: its prompts, or, where it cannot read them, a stand-in that says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries
from feature_graph.interventions import AnalysedModel, ModelSlices, n_outputs, predicts_tokens
from feature_graph.loading import resolve_prepend_bos, trained_with_bos
from feature_graph.subgraphs.behaviors import MIN_GROUPS, Behavior, BehaviorError
from feature_graph.subgraphs.tokens import ReadPrompts, prompts_of_ids, read_prompts
from feature_graph.utils import derived_seed

logger = logging.getLogger(__name__)

_STAND_IN_PROMPTS, _STAND_IN_CONTEXT = 24, 12
_INSTEAD = "the seeds are instead the features that carry the model's own choice of output on random tokens, which is not this behaviour"


@dataclass(frozen=True)
class Readable:
    """Prompts for one model.

    Attributes:
        prompts: What to ask.
        own: Whether these are the behaviour's own prompts.
        warnings: Why not.
    """

    prompts: ReadPrompts
    own: bool
    warnings: tuple[str, ...] = ()


def readable_prompts(analysed: AnalysedModel, behavior: Behavior, cfg: Config | None) -> Readable:
    """The behaviour's prompts, or the model's own choice of output on random tokens.

    The latter without a tokenizer, for outputs that are not tokens, and if too few prompts can be used.

    Raises:
        BehaviorError: If the model has one output, and so no answer to prefer.
    """
    model, slices, seed = analysed.model, analysed.slices, cfg.seed if cfg is not None else 0
    if n_outputs(model) == 1:
        raise BehaviorError(
            f"{behavior.name}: the model has one output, so there is no answer to prefer; leave behaviours out (behaviors: [])"
        )
    tokenizer = getattr(model, "tokenizer", None)
    if not predicts_tokens(model):
        reason = f"the model's {n_outputs(model)} outputs do not stand for its {slices.d_vocab} tokens, so answers cannot be read off them"
        return Readable(_stand_in(slices, seed), False, (f"{reason}; {_INSTEAD}",))
    if tokenizer is None:
        return Readable(_stand_in(slices, seed), False, (f"the model has no tokenizer, so the prompts cannot be read; {_INSTEAD}",))
    prompts = read_prompts(tokenizer, behavior, _bos(tokenizer, analysed.saes, cfg), slices.n_ctx)
    groups = len(set(prompts.clean.groups.tolist()))
    dropped = sum(prompts.dropped.values())
    usable, why = len(prompts.clean), "; ".join(f"{n}: {reason}" for reason, n in prompts.dropped.items())
    logger.info("%s: %d of %d prompts can be used%s", behavior.name, usable, usable + dropped, f" (left out: {why})" if why else "")
    if groups < MIN_GROUPS:
        reason = f"only {groups} groups of prompts can be used with this tokenizer, {MIN_GROUPS} are needed ({prompts.dropped} left out)"
        return Readable(_stand_in(slices, seed), False, (f"{reason}; {_INSTEAD}",))
    return Readable(prompts, True)


def _bos(tokenizer: Any, saes: Dictionaries, cfg: Config | None) -> int | None:
    """Id to put before each prompt: as configured, else as the SAEs were trained."""
    wanted = resolve_prepend_bos(saes, cfg) if cfg is not None else bool(trained_with_bos(saes))
    return tokenizer.bos_token_id if wanted else None


@torch.no_grad()
def _stand_in(slices: ModelSlices, seed: int) -> ReadPrompts:
    """Random tokens; right is the model's first choice after them, wrong its first choice after other random tokens."""
    draw = torch.Generator().manual_seed(derived_seed(seed, "behaviour stand-in"))
    width = min(_STAND_IN_CONTEXT, slices.n_ctx)
    clean, corrupted = torch.randint(0, slices.d_vocab, (2, _STAND_IN_PROMPTS, width), generator=draw)
    last = torch.full((_STAND_IN_PROMPTS,), width - 1)
    after_clean, after_corrupted = (slices.logits_from(0, slices.embed(ids), last).topk(2).indices.cpu() for ids in (clean, corrupted))
    right = after_clean[:, 0]
    wrong = torch.where(after_corrupted[:, 0] == right, after_clean[:, 1], after_corrupted[:, 0])
    return prompts_of_ids(clean, corrupted, right, wrong)
