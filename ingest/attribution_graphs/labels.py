"""The label of each feature, from its nodes in all files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ingest.attribution_graphs.read import AttributionGraph


def labels_of(nodes: pd.DataFrame, graphs: Sequence[AttributionGraph]) -> tuple[pd.Series, int]:
    """Id of a feature → label, and how many features have nodes whose labels differ.

    The first that is not empty, in the order of the files and of the nodes in them: what somebody wrote beside the node
    (``qParams.clerps``), else the node's own text (``clerp``), else the name of the supernode that it is in.
    """
    given = [_given(graph) for graph in graphs]
    grouped = [graph_names(graph) for graph in graphs]
    texts = [
        given[i].get(node) or own or grouped[i].get(node, "")
        for i, node, own in zip(nodes["graph"], nodes["node_id"], nodes["label"], strict=True)
    ]
    # Unpaired surrogates, which JSON can hold, are not text that a file can.
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    by_place = nodes.assign(text=pd.Series(clean, index=nodes.index, dtype=object))
    said = by_place[by_place["text"] != ""].groupby("id")["text"].agg(["first", "nunique"])
    return said["first"].reindex(by_place["id"].unique(), fill_value=""), int((said["nunique"] > 1).sum())


def _given(graph: AttributionGraph) -> dict[str, str]:
    return {name: text.strip() for name, text in graph.labels.items() if text.strip()}


def graph_names(graph: AttributionGraph) -> dict[str, str]:
    """Node → name of the supernode that it is in."""
    return {node: name.strip() for name, nodes in reversed(graph.supernodes) for node in nodes}
