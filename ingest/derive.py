"""Columns of interactions.parquet that follow from others. The truth is the strengths, with their signs, and what passed the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def leading(mean: Any, direct: Any, later: Any, by: Any) -> Any:
    """The effect whose sign an edge has: the total one, or the first of direct and later where the total did not pass."""
    first = pc.if_else(pc.starts_with(by, "direct"), direct, mean)
    return pc.if_else(pc.equal(by, "later"), later, first)


def _type(mean: pa.Array, direct: pa.Array, later: pa.Array, by: pa.Array) -> pa.Array:
    lead = leading(mean, direct, later, pc.fill_null(by, ""))
    return pc.if_else(pc.fill_null(pc.less(lead, 0.0), False), "inhibitory", "excitatory")


def _same(mean: pa.Array) -> pa.Array:
    return mean


_OF: dict[str, Callable[..., pa.Array]] = {
    "abs_strength": pc.abs,
    "direct_strength": _same,
    "preactivation_strength": _same,
    "computed_strength": pc.subtract,
    "interaction_type": _type,
    "significant": lambda by: pc.not_equal(by, ""),
}


def derived(name: str, *sources: pa.Array) -> pa.Array:
    """A column from those that its format says it is derived from."""
    return _OF[name](*sources)
