"""What each planted variant holds: how many edges, and of which of the types that oppose a copy."""

from __future__ import annotations

#: Of the standard plan.
STANDARD = 20
_MORE = {"erased": 3, "attenuated": 3, "turned": 6, "crowded": 17, "many": 90}
#: A direction that is turned into another is a copy erased and a new edge.
OPPOSING = {"erased": {"erases_copy": 3}, "attenuated": {"attenuates_copy": 3}, "turned": {"erases_copy": 3}}


def n_planted(name: str) -> int:
    """Edges of a variant."""
    return STANDARD + _MORE.get(name, 0)


def opposing(types: dict[str, int]) -> dict[str, int]:
    """Those of the counted types that oppose a copy."""
    return {kind: n for kind, n in types.items() if kind.endswith("_copy")}
