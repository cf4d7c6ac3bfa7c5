"""Which features are copies of one another, from the edges of a run, feature by feature; shares no code with ``ingest`` or ``queries``."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]


#: Sites of a layer in the order in which the model computes them, as ids name them.
ORDER = ("z", "attn", "mid", "mlpin", "tc", "mlp", "")


def chains(edges: Rows) -> list[Rows]:
    """Each family as its edges, from its first member to its last."""
    copies = [e for e in edges if e["total"] > 0.25 and (e["copy"] or 0) > 0.5 * e["total"]]
    after: dict[str, dict[str, Any]] = {}
    for e in copies:
        if e is _choice(copies, "source", "target", e["source"]) and e is _choice(copies, "target", "source", e["target"]):
            after[e["source"]] = e
    found = []
    for first in set(after) - {e["target"] for e in after.values()}:
        chain = [after[first]]
        while chain[-1]["target"] in after:
            chain.append(after[chain[-1]["target"]])
        found.append(chain)
    return found


def _choice(copies: Rows, own: str, other: str, name: str) -> dict[str, Any]:
    """Of the nearest site the largest copy: of the next one forward, of the last one backward."""
    way = 1 if own == "source" else -1
    mine = [e for e in copies if e[own] == name]
    return min(mine, key=lambda e: (e["span"], way * ORDER.index(e[other].rpartition("_F")[0].partition(".")[2]), -e["copy"], e[other]))


def members(chain: Rows) -> list[str]:
    """Short ids, in the order of their sites."""
    return [chain[0]["source"], *(e["target"] for e in chain)]


def heads(edges: Rows) -> dict[str, str]:
    """Member of a family → its first member."""
    return {name: chain[0]["source"] for chain in chains(edges) for name in members(chain)}
