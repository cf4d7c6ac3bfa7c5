"""Is the model that will be analysed the one that its folder says? Compared with the transformers model itself.

1. The transformers model runs once on random tokens; the residual stream before every block and the logits are kept.
2. The converted model, before any processing of its weights, must give the same.
3. *The same* is judged by float32's own error: where the two differ by more than 1e-5, the transformers model runs once more in float64,
   and a few times what it rounded away itself is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from feature_graph.loading.errors import LoadingError
from feature_graph.loading.settings import compared_length

#: Relative error of a vector that needs no excuse.
RIGHT = 1e-5
#: Two programs round differently: so many times the model's own rounding error is allowed …
_ROUNDINGS = 8.0
#: … but never more than this.
_NOISE = 1e-3
_LEAST_TOKENS, _ROWS, _SEED = 64, 2, 20_240_229


@dataclass(frozen=True)
class Difference:
    """How far a model is from the transformers model.

    Attributes:
        error: Largest ‖a − b‖ / ‖b‖ over residual vectors and logits.
        where: Where the two first differ: ``the residual stream before block 3``, ``the logits``; empty if nowhere.
        tokens: Tokens per context on which they were compared.
    """

    error: float
    where: str
    tokens: int

    @property
    def is_same(self) -> bool:
        """Whether the two are one model."""
        return not self.where

    def in_words(self) -> str:
        """For messages."""
        return f"{self.where} differs by {self.error:.2g} of its norm on {self.tokens} tokens"


class Reference:
    """What the transformers model computes, kept for comparison.

    Args:
        model: The transformers model, float32.
        context_length: Tokens of the run's contexts; windows and scalings that act on such contexts act here, too.

    Raises:
        LoadingError: If the model gives NaN or infinity.
    """

    def __init__(self, model: Any, context_length: int) -> None:
        self.model = model
        self.tokens = _tokens(model, compared_length(model.config, context_length, _LEAST_TOKENS))
        self.values = _run(model, self.tokens)
        for name, value in self.values.items():
            if not bool(torch.isfinite(value).all()):
                raise LoadingError(
                    f"model_name: the model itself gives NaN or infinity ({name}) on random tokens; its weights are damaged or too large "
                    "for float32, and no dictionary is to blame"
                )

    @cached_property
    def rounding(self) -> dict[str, float]:
        """The model's own float32 error at each point, from a pass in float64."""
        try:
            exact = _run(self.model.double(), self.tokens)
        finally:
            self.model.float()
        return {name: relative(value, exact[name]) for name, value in self.values.items()}

    def compare(self, model: Any) -> Difference:
        """How far a HookedTransformer or TransformerBridge on the CPU is from it."""
        names = {f"blocks.{b}.hook_resid_pre": where for b, where in enumerate(list(self.values)[:-1])}
        with torch.no_grad():
            logits, cache = model.run_with_cache(self.tokens, names_filter=lambda name: name in names, return_type="logits")
        errors = {where: relative(cache[name], self.values[where]) if name in cache else torch.inf for name, where in names.items()}
        errors[_LOGITS] = relative(logits, self.values[_LOGITS])
        worst = max(errors.values())
        wrong = [where for where, error in errors.items() if not error <= self._allowed(where, error)]
        return Difference(worst, wrong[0] if wrong else "", self.tokens.shape[1])

    def _allowed(self, where: str, error: float) -> float:
        if error <= RIGHT or not error <= _NOISE:
            return RIGHT
        return max(RIGHT, min(_ROUNDINGS * self.rounding[where], _NOISE))


_LOGITS = "the logits"


@torch.no_grad()
def _run(model: Any, tokens: Tensor) -> dict[str, Tensor]:
    """Where → values: the residual stream before each block, and the logits."""
    out = model(tokens, output_hidden_states=True, use_cache=False)
    n_layers = int(model.config.get_text_config().num_hidden_layers)
    before = {f"the residual stream before block {b}": x for b, x in enumerate(out.hidden_states[:n_layers])}
    return {**before, _LOGITS: out.logits}


def _tokens(model: Any, length: int) -> Tensor:
    """Random tokens [rows, length], none of them one that the configuration gives a meaning."""
    config = model.config.get_text_config()
    size = int(model.get_input_embeddings().weight.shape[0])
    special = {v for k, v in model.config.to_dict().items() if k.endswith(("token_id", "token_index")) and isinstance(v, int)}
    usual = [i for i in range(size) if i not in special] or list(range(size))
    longest = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or length
    picked = torch.randint(0, len(usual), (_ROWS, min(length, int(longest))), generator=torch.Generator().manual_seed(_SEED))
    return torch.tensor(usual)[picked]


def relative(a: Tensor, b: Tensor) -> float:
    """Largest ‖a − b‖ / ‖b‖ over vectors [..., d]; infinite for another shape or NaN.

    A vector far shorter than the others (a program's output that is 0 at some position) is nothing but rounding: it is measured by a
    thousandth of their mean length.
    """
    if a.shape != b.shape:
        return float("inf")
    norm = b.norm(dim=-1)
    floor = max(1e-3 * float(norm.mean()), torch.finfo(torch.float32).tiny)
    return float(((a.to(b.device) - b).norm(dim=-1) / norm.clamp(min=floor)).nan_to_num(nan=torch.inf).max())
