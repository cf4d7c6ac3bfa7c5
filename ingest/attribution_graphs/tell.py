"""What of the graphs became what, and what was left out: as facts of the run, and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ingest.attribution_graphs.nodes import OTHERS
from ingest.text import counted

if TYPE_CHECKING:
    from ingest.attribution_graphs.read import AttributionGraph


@dataclass(frozen=True)
class Imported:
    """What was written.

    Attributes:
        root: The run directory.
        features: Features.
        edges: Edges between them.
        facts: What was left out, and how much of the weight it carries.
    """

    root: Path
    features: int
    edges: int
    facts: dict[str, Any]


def facts_of(
    graphs: Sequence[AttributionGraph], nodes: pd.DataFrame, inner: pd.DataFrame, edges: pd.DataFrame, behaviors: list[dict[str, Any]]
) -> dict[str, Any]:
    """Facts of an import.

    Args:
        graphs: The graphs.
        nodes: The feature nodes that became features.
        inner: The links between them.
        edges: The edges that these became.
        behaviors: What was written of the target logits.
    """
    links = pd.concat([g.links for g in graphs])["weight"].abs()
    imported = [set(nodes.loc[nodes["graph"] == i, "node_id"]) for i in range(len(graphs))]
    others: Counter[str] = Counter()
    for graph in graphs:
        others.update(graph.others)
    grouped = [any(n in ids for n in members) for ids, g in zip(imported, graphs, strict=True) for _, members in g.supernodes]
    pins = [name in ids for ids, g in zip(imported, graphs, strict=True) for name in g.pinned]
    left = {OTHERS.get(kind, f"nodes of type {kind!r}"): n for kind, n in others.items()} | {
        "logits": sum(len(g.logits) for g in graphs) - len(behaviors),
        "ambiguous ids": sum(len(g.ambiguous) for g in graphs),
        "links of these": sum(len(g.links) + g.ambiguous_links for g in graphs) - len(inner),
        "supernodes without a feature": grouped.count(False),
        "pins on other nodes": pins.count(False),
        "influences (ranks of pruning, no effects)": sum(g.with_influence for g in graphs),
    }
    left |= dict(Counter(f"{name} of another form" for graph in graphs for name in graph.unread))
    return {
        "source": "attribution graph",
        "slug": ", ".join(str(g.metadata["slug"]) for g in graphs),
        "files": len(graphs),
        "nodes": {"features": len(nodes), "logits": sum(len(g.logits) for g in graphs)} | dict(others),
        "links": {"all": sum(len(g.links) + g.ambiguous_links for g in graphs), "between_features": len(inner), "edges": len(edges)},
        "share_of_weight_between_features": float(inner["weight"].abs().sum() / links.sum()) if links.sum() else 0.0,
        "ambiguous_nodes": sum(len(g.ambiguous) for g in graphs),
        "pinned": pins.count(True),
        "supernodes": grouped.count(True),
        "left_out": {what: n for what, n in left.items() if n},
    }


def in_words(done: Imported) -> list[str]:
    """Lines about an import, for people."""
    facts = done.facts
    files = f", from {facts['files']} files" if facts["files"] > 1 else ""
    lines = [f"{done.root}: {counted(done.features, 'feature')}, {counted(done.edges, 'edge')}{files}"]
    lines.append(f"{facts['share_of_weight_between_features']:.0%} of the links' weight lies between features")
    if facts["left_out"]:
        lines.append("left out: " + ", ".join(f"{n} {what}" for what, n in facts["left_out"].items()))
    if facts["ambiguous_nodes"]:
        stand = counted(facts["ambiguous_nodes"], "node id stands for two nodes", "node ids stand for two nodes each")
        lines.append(f"{stand} (an old circuit-tracer); their links were left out")
    if facts["pinned"]:
        lines.append(f"{counted(facts['pinned'], 'pinned node is a member', 'pinned nodes are members')} of the behaviour")
    if facts["supernodes"]:
        lines.append(f"{counted(facts['supernodes'], 'supernode')}: their names label features that had none")
    if facts["labels_that_differ"]:
        lines.append(f"{counted(facts['labels_that_differ'], 'feature has', 'features have')} several labels; the first was kept")
    return [*lines, f"Load it: feature-graph ingest {done.root}"]
