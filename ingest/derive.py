"""Columns of interactions.parquet and candidates.parquet that follow from others.

The truth is the strengths, with their signs, and what passed the test.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ingest.strength import leading


def _type(mean: pa.Array, direct: pa.Array, later: pa.Array, by: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(pc.less(leading(mean, direct, later, by), 0.0), False), "inhibitory", "excitatory")


def _same(mean: pa.Array) -> pa.Array:
    return mean


_OF: dict[str, Callable[..., pa.Array]] = {
    "abs_strength": pc.abs,
    "blocks": pc.subtract,
    "direct_strength": _same,
    "preactivation_strength": _same,
    "computed_strength": pc.subtract,
    "interaction_type": _type,
    "significant": lambda by: pc.not_equal(by, ""),
}


def derived(name: str, *sources: pa.Array) -> pa.Array:
    """A column from those that its format says it is derived from."""
    return _OF[name](*sources)
