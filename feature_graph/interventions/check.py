"""Do the slices compute what the model computes? Point by point, whole and after a cached prefix, and the logits.

Two float32 programs of one function differ by their rounding: where that is more than the tolerance, the slices are run once more in
float64, and the model may differ by a few times what they rounded away themselves. A wrong function differs by far more than it rounds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from feature_graph.interventions.errors import InterventionError
from feature_graph.loading import relative

#: Two programs round differently: so many times the slices' own rounding error is allowed.
ROUNDINGS = 8.0
#: But never more than this, however much is rounded away.
NOISE = 1e-3
#: New positions after the cached prefix.
_NEW = 3


class Sliced(Protocol):
    """What the comparison needs of :class:`ModelSlices`, whose methods of these names say what they do."""

    model: Any
    dtype: torch.dtype
    n_blocks: int

    def tokens(self, tokens: Any) -> Tensor: ...  # noqa: D102

    def residuals(self, tokens: Any, points: Iterable[int], blocks: Iterable[int] = ()) -> Any: ...  # noqa: D102

    def advance(self, x: Tensor, start: int, stop: int, clean: Any, documents: Tensor, positions: Tensor) -> Tensor: ...  # noqa: D102

    def logits(self, x: Tensor) -> Tensor: ...  # noqa: D102


S = TypeVar("S", bound=Sliced)


@torch.no_grad()
def check(slices: Sliced, tokens: Any, tolerance: float) -> float:
    """See :meth:`ModelSlices.check`."""
    ids = slices.tokens(tokens)
    names = [f"blocks.{b}.hook_resid_pre" for b in range(slices.n_blocks)] + [f"blocks.{slices.n_blocks - 1}.hook_resid_post"]
    theirs = _run_model(slices.model, ids, names)
    found = dict(_points(slices, ids, names))
    errors = {name: _distance(found[name], theirs[name]) for name in found}
    if max(errors.values()) <= tolerance:
        return max(errors.values())
    exact = dict(_points(in_float64(slices), ids, names))
    for name, error in errors.items():
        own = _distance(found[name], exact[name])
        allowed = max(tolerance, min(ROUNDINGS * own, NOISE))
        if not error <= allowed:
            raise InterventionError(
                f"the slices disagree with model.run_with_cache at {name}: relative error {error:.2e}, allowed {allowed:.0e}. "
                "The model has a part or a hook that this adapter does not know; remove permanent hooks, or use another model"
            )
    return max(errors.values())


Values = tuple[Tensor, Tensor]


def _run_model(model: Any, ids: Tensor, names: list[str]) -> dict[str, Values]:
    logits, cache = model.run_with_cache(ids, names_filter=lambda name: name in names, return_type="logits")
    lost = [name for name in names if name not in cache]
    if lost:
        raise InterventionError(f"hooks {lost} did not fire in model.run_with_cache, so that the slices cannot be compared with the model")
    values = {name: cache[name] for name in names} | {"the logits": logits}
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise InterventionError(f"the model gives NaN or infinity at {name}; load it in float32 and check its weights")
    start, new = _after_prefix(ids)
    return {name: (value, value[:, start : start + new]) for name, value in values.items()}


def _points(slices: Sliced, ids: Tensor, names: list[str]) -> Iterator[tuple[str, Values]]:
    """What the slices give at each name: whole contexts, and a few positions after the clean prefix."""
    clean = slices.residuals(ids, range(slices.n_blocks + 1), range(slices.n_blocks))
    start, new = _after_prefix(ids)
    rows = torch.arange(len(ids), device=ids.device)
    starts = torch.full_like(rows, start)
    x = clean.residuals[0][:, start : start + new].unsqueeze(1)
    for point, name in enumerate(names):
        yield name, (clean.residuals[point], x[:, 0])
        if point < slices.n_blocks:
            x = slices.advance(x, point, point + 1, clean, rows, starts)
    yield "the logits", (slices.logits(clean.residuals[slices.n_blocks]), slices.logits(x[:, 0]))


def _after_prefix(ids: Tensor) -> tuple[int, int]:
    start = ids.shape[1] // 2
    return start, min(_NEW, ids.shape[1] - start)


def _distance(some: Values, truth: Values) -> float:
    """Largest relative error of a vector, over both paths."""
    return max(relative(a, b) for a, b in zip(some, truth, strict=True))


def in_float64(slices: S) -> S:
    """The same slices in float64; each block is made when it is run, and not kept."""
    made = copy.copy(slices)
    made.dtype = torch.float64
    return made
