"""What an edge stands for: its strength, sign, and whether it is structural. The one rule for the pipeline, the files and the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def leading_effect(by: Any) -> pa.Array:
    """Which effect an edge is counted by: the total one, or the first of direct and later where the total did not pass.

    Args:
        by: ``significant_by`` [n], Arrow text or anything that becomes it; empty or null where nothing passed.

    Returns:
        ``total``, ``direct`` or ``later`` [n].
    """
    texts = _column(by)
    if not pa.types.is_string(texts.type):
        texts = texts.cast(pa.string())  # a dictionary, or no rows at all
    texts = pc.fill_null(texts, "")
    first = pc.if_else(pc.starts_with(texts, "direct"), "direct", "total")
    return pc.if_else(pc.equal(texts, "later"), "later", first)


def leading(total: Any, direct: Any, later: Any, by: Any) -> pa.Array:
    """The strength that an edge has [n]: its effect of the kind that :func:`leading_effect` names.

    Args:
        total: Total effects [n], target units per source unit, as Arrow or NumPy columns.
        direct: Direct effects [n].
        later: Effects on later positions [n]; null or NaN where there are none.
        by: ``significant_by`` [n].
    """
    effect = leading_effect(by)
    first = pc.if_else(pc.equal(effect, "direct"), _column(direct), _column(total))
    return pc.if_else(pc.equal(effect, "later"), _column(later), first)


def leading_of(rows: Any) -> np.ndarray:
    """:func:`leading` of a table or frame with the columns of interactions.parquet; float64 [n]."""
    strength = leading(*(rows[name] for name in _STRENGTHS))
    return np.asarray(strength.to_numpy(zero_copy_only=False) if isinstance(strength, pa.Array) else strength.to_numpy(), np.float64)


def total_beside(total: Any, by: Any) -> pa.Array:
    """The total effect [n] of the edges whose strength is another one; null for all others."""
    return pc.if_else(pc.equal(leading_effect(by), "total"), pa.scalar(None, pa.float64()), _column(total))


def structural(span: Any, by: Any, held: Any) -> pa.Array:
    """Whether edges belong to the structural graph [n]: no analysed site lies in between, or their direct effect passed the test.

    Args:
        span: Analysed layers crossed [n]; over two or more there is one in between.
        by: ``significant_by`` [n].
        held: Features that were held in between [n]; null where there was no site in between, or none were held.
    """
    none_between = pc.and_(pc.less_equal(_column(span), 1), pc.invert(pc.fill_null(pc.greater(_column(held), 0), False)))
    return pc.or_(none_between, pc.match_substring(pc.fill_null(_column(by).cast(pa.string()), ""), "direct"))


def sign(strength: Any) -> pa.Array:
    """−1, 0 or 1 [n]; null where there is no strength."""
    values = _column(strength)
    known = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return pc.sign(known).cast(pa.int64())


def sign_of_edge(strength: Any, kind: Any) -> pa.Array:
    """The :func:`sign` of edges [n]; 0 for what erases a copy, since next to nothing is left of the total effect.

    Args:
        strength: Strength that each edge has [n].
        kind: ``interaction_type`` [n].
    """
    erased = pc.equal(pc.fill_null(_column(kind).cast(pa.string()), ""), "erases_copy")
    return pc.if_else(erased, pa.scalar(0, pa.int64()), sign(strength))


def takes_from_copy(strength: float, kind: str, effect: str) -> bool:
    """Whether an edge, by the effect asked about, does nothing but take from a copy: it neither excites nor inhibits then.

    What erases a copy does, by every effect. What attenuates one does by its computed and its specific effect, whatever their sign, and by
    any effect that is negative; by a positive total effect, which holds what is left of the copy, it excites.

    Args:
        strength: The effect asked about, with its sign.
        kind: ``interaction_type``, or ``type`` of an edge of the graph.
        effect: Which effect that is: ``strength``, ``total``, ``direct``, ``later``, ``computed``, ``specific`` or ``copy``.
    """
    return kind == "erases_copy" or (kind == "attenuates_copy" and (effect in ("computed", "specific") or strength < 0))


def computed(total: Any, copy: Any) -> pa.Array:
    """What the blocks compute [n]: the total effect without the copy; null where that was not measured."""
    return pc.subtract(_column(total), _column(copy))


def smallest(floor: Any, total_floor: Any) -> pa.Array:
    """The smallest computed effect that counts [n]: its floor, else that of the total effect; null where neither is known."""
    return pc.coalesce(_column(floor), _column(total_floor))


def sign_above(strength: Any, floor: Any, total_floor: Any) -> pa.Array:
    """The :func:`sign` of another effect of the edges [n]: 0 where it is smaller than what counts, null where it was not measured.

    Args:
        strength: The effect [n].
        floor: Smallest magnitude that counts [n]; null in files of earlier versions.
        total_floor: That of the total effect [n], which stands in for it; where both are null, any magnitude counts.
    """
    values = _column(strength)
    small = pc.fill_null(pc.less(pc.abs(values), smallest(floor, total_floor)), False)
    return pc.if_else(small, pa.scalar(0, pa.int64()), sign(values))


def _sign_of_computed(total: Any, copy: Any, floor: Any, total_floor: Any) -> pa.Array:
    return sign_above(computed(total, copy), floor, total_floor)


def _sign_of_leading(total: Any, direct: Any, later: Any, by: Any, kind: Any) -> pa.Array:
    return sign_of_edge(leading(total, direct, later, by), kind)


_FLOORS = ("floor_computed", "floor")
_STRENGTHS = ("mean_strength", "direct_strength", "later_strength", "significant_by")
#: Property of AFFECTS that follows from columns of interactions.parquet → how, and from which. A column that a file does not have is
#: null, and what follows from it null: then the property is absent. A new one is also named in :data:`ingest.digest.ADDED`, so that runs
#: from before keep their digest, and is optional in the schema where a file may lack its columns.
DERIVED: dict[str, tuple[Callable[..., pa.Array], tuple[str, ...]]] = {
    "strength": (leading, _STRENGTHS),
    "total": (total_beside, ("mean_strength", "significant_by")),
    "sign": (_sign_of_leading, (*_STRENGTHS, "interaction_type")),
    "structural": (structural, ("span", "significant_by", "held_features")),
    "computed": (computed, ("mean_strength", "copy_strength")),
    "floor_computed": (smallest, _FLOORS),
    "sign_computed": (_sign_of_computed, ("mean_strength", "copy_strength", *_FLOORS)),
    "sign_specific": (sign_above, ("specific_strength", *_FLOORS)),
}


def derived_columns(table: pa.Table) -> dict[str, pa.Array]:
    """Every property of :data:`DERIVED` for rows of interactions.parquet."""
    return {name: function(*(table[column] for column in columns)) for name, (function, columns) in DERIVED.items()}


def _column(values: Any) -> pa.Array:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
