"""What the nodes of an attribution graph stand for.

``node_id`` is ``<layer>_<index>_<position>`` in circuit-tracer, Neuronpedia and Anthropic's files, and ``<layer>_lor_<index>_<position>``
or ``<layer>_cro_…`` in graphs of transcoders and Lorsa together. Where an id has another form, ``feature`` is read: under schema version 1
it holds layer and index paired by Cantor's function (other versions put other things there, so it is no more than a second source).
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

#: Types of nodes that are features of a dictionary, and which dictionary: of the MLPs or of the attention.
FEATURES = {
    "cross layer transcoder": "mlp",
    "per layer transcoder": "mlp",
    "transcoder": "mlp",
    "unexplored node": "mlp",
    "lorsa": "attention",
}
LOGIT = "logit"
#: What nodes are called that are features of no dictionary.
OTHERS = {"embedding": "tokens", "mlp reconstruction error": "MLP errors", "lorsa error": "attention errors", "bias": "biases"}
COLUMNS = ["node_id", "kind", "layer", "index", "position", "activation", "label"]

_FEATURE_ID = re.compile(r"(\d+)_(?:(?:lor|cro)_)?(\d+)_(\d+)")


def is_feature(node: dict[str, Any]) -> bool:
    """Whether a node is a feature of a dictionary; Anthropic's unexplored nodes may also be tokens."""
    return node["feature_type"] in FEATURES and str(node.get("layer")) != "E"


def feature_table(nodes: list[dict[str, Any]], schema_version: Any, problems: list[str]) -> pd.DataFrame:
    """Feature nodes, one row each (``COLUMNS``); what contradicts itself is added to ``problems``."""
    rows = []
    for node in nodes:
        place = _place(node, schema_version)
        if place is None or place[0] != str(node.get("layer")) or place[2] != node["ctx_idx"]:
            problems.append(
                f"node {node['node_id']!r}: layer {node.get('layer')!r}, ctx_idx {node['ctx_idx']}; expected id <layer>_<index>_<ctx_idx>"
            )
            continue
        activation = node.get("activation")
        if activation is not None and not (isinstance(activation, int | float) and math.isfinite(activation)):
            problems.append(f"node {node['node_id']!r}: activation {activation!r}; expected a finite number or null")
            continue
        value = math.nan if activation is None else float(activation)
        rows.append([node["node_id"], FEATURES[node["feature_type"]], int(place[0]), *place[1:], value, _label(node)])
    return pd.DataFrame(rows, columns=COLUMNS)


def logit_table(nodes: list[dict[str, Any]]) -> pd.DataFrame:
    """Logit nodes: ``node_id``, ``token_prob``, ``target``, ``label``."""
    rows = [
        [n["node_id"], float(n.get("token_prob") or 0.0), bool(n.get("is_target_logit", False)), str(n.get("clerp") or n["node_id"])]
        for n in nodes
    ]
    return pd.DataFrame(rows, columns=["node_id", "token_prob", "target", "label"])


def _place(node: dict[str, Any], schema_version: Any) -> tuple[str, int, int] | None:
    """Layer as text, index and position; None if neither the id nor ``feature`` says it."""
    match = _FEATURE_ID.fullmatch(node["node_id"])
    if match is not None:
        return str(int(match[1])), int(match[2]), int(match[3])
    paired = node.get("feature")
    if schema_version != 1 or not isinstance(paired, int) or isinstance(paired, bool) or paired < 0:
        return None
    layer, index = unpair(paired)
    return str(layer), index, node["ctx_idx"]


def unpair(paired: int) -> tuple[int, int]:
    """Layer and index from their Cantor pairing (l + i)(l + i + 1)/2 + i."""
    diagonal = (math.isqrt(8 * paired + 1) - 1) // 2
    index = paired - diagonal * (diagonal + 1) // 2
    return diagonal - index, index


def _label(node: dict[str, Any]) -> str:
    """The node's text; one that only repeats the number of the feature says nothing."""
    text = str(node.get("clerp") or "").strip()
    return "" if text == f"F{node.get('feature')}" else text
