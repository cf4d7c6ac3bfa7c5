"""The JSON of an attribution graph, checked: its nodes and links as tables.

The schema is that of Neuronpedia (``graph-schema.json``) and of circuit-tracer's ``frontend/graph_models.py``, seen in November 2026. The
number in a node's ``feature`` is not used: some programs put the index there, circuit-tracer pairs it with the layer. ``node_id`` is
``<layer>_<index>_<position>`` in both.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

FEATURE, LOGIT, EMBEDDING = "cross layer transcoder", "logit", "embedding"
_FEATURE_ID = re.compile(r"(\d+)_(\d+)_(\d+)")
_SHOWN = 20


class GraphError(ValueError):
    """A file that is no attribution graph, or a damaged one; one line a problem, and what is expected."""


@dataclass(frozen=True)
class AttributionGraph:
    """One attribution graph.

    Attributes:
        metadata: As in the file: ``slug``, ``scan``, ``prompt``, ``prompt_tokens`` …
        features: Feature nodes: columns ``node_id``, ``layer``, ``index``, ``position``, ``activation`` (NaN if not given), ``label``.
        logits: Logit nodes: ``node_id``, ``token_prob``, ``target``, ``label``.
        others: Feature type → number of nodes that are neither.
        links: ``source``, ``target`` (node ids), ``weight``.
        ambiguous: Ids that more than one node has; their links cannot be told apart.
    """

    metadata: dict[str, Any]
    features: pd.DataFrame
    logits: pd.DataFrame
    others: dict[str, int]
    links: pd.DataFrame
    ambiguous: frozenset[str]


def read_graph(path: str | Path) -> AttributionGraph:
    """Read and check a file.

    Raises:
        GraphError: If it is not JSON, not in the schema, or a link leads nowhere, backwards, or has no finite weight.
    """
    value = _json(Path(path))
    problems: list[str] = []
    metadata = _metadata(value["metadata"], problems)
    nodes = [n for i, n in enumerate(value["nodes"]) if _is_node(n, i, problems)]
    links = [e for i, e in enumerate(value["links"]) if _is_link(e, i, problems)]
    _stop(path, problems)
    counted = pd.Series([n["node_id"] for n in nodes], dtype=object).value_counts()
    features = _features([n for n in nodes if n["feature_type"] == FEATURE], problems)
    logits = _logits([n for n in nodes if n["feature_type"] == LOGIT])
    table = pd.DataFrame(links, columns=["source", "target", "weight"]).astype({"weight": float})
    _check_links(table, set(counted.index), features, problems)
    _stop(path, problems)
    others = Counter(str(n["feature_type"]) for n in nodes if n["feature_type"] not in (FEATURE, LOGIT))
    return AttributionGraph(metadata, features, logits, dict(others), table, frozenset(counted.index[counted > 1]))


def _json(path: Path) -> dict[str, Any]:
    expected = "expected an attribution graph: a JSON object with metadata, nodes and links, as circuit-tracer and Neuronpedia write it"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file; {expected}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GraphError(f"{path}: not JSON: {error}; {expected}") from error
    if not isinstance(value, dict):
        raise GraphError(f"{path}: got a JSON {type(value).__name__}; {expected}")
    wrong = [k for k, kind in (("metadata", dict), ("nodes", list), ("links", list)) if not isinstance(value.get(k), kind)]
    if wrong:
        raise GraphError(f"{path}: {', '.join(wrong)} missing or of another type; {expected}")
    return value


def _metadata(metadata: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    for key, kind in (("slug", str), ("scan", str), ("prompt", str), ("prompt_tokens", list)):
        if not isinstance(metadata.get(key), kind) or not metadata[key]:
            problems.append(f"metadata.{key}: got {metadata.get(key)!r:.80}; expected a {kind.__name__} that is not empty")
    return metadata


def _is_node(node: Any, number: int, problems: list[str]) -> bool:
    kinds = {"node_id": str, "feature_type": str, "ctx_idx": int}
    wrong = [k for k, kind in kinds.items() if not isinstance(node.get(k), kind)] if isinstance(node, dict) else ["object"]
    if wrong:
        problems.append(f"nodes[{number}]: {', '.join(wrong)} missing or of another type")
    return not wrong


def _is_link(link: Any, number: int, problems: list[str]) -> bool:
    ends = isinstance(link, dict) and all(isinstance(link.get(k), str) for k in ("source", "target"))
    weight = link.get("weight") if isinstance(link, dict) else None
    number_like = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
    if not (ends and number_like):
        problems.append(f"links[{number}]: got {link!r:.120}; expected source and target (node ids) and a finite weight")
    return bool(ends and number_like)


def _features(nodes: list[dict[str, Any]], problems: list[str]) -> pd.DataFrame:
    rows = []
    for node in nodes:
        match = _FEATURE_ID.fullmatch(node["node_id"])
        if match is None or int(match[3]) != node["ctx_idx"] or str(node.get("layer")) != match[1]:
            problems.append(
                f"node {node['node_id']!r}: layer {node.get('layer')!r}, ctx_idx {node['ctx_idx']}; expected id <layer>_<index>_<ctx_idx>"
            )
            continue
        activation = node.get("activation")
        if activation is not None and not (isinstance(activation, int | float) and math.isfinite(activation)):
            problems.append(f"node {node['node_id']!r}: activation {activation!r}; expected a finite number or null")
            continue
        found = [int(part) for part in match.groups()]
        rows.append([node["node_id"], *found, math.nan if activation is None else float(activation), str(node.get("clerp") or "")])
    return pd.DataFrame(rows, columns=["node_id", "layer", "index", "position", "activation", "label"])


def _logits(nodes: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [
        [n["node_id"], float(n.get("token_prob") or 0.0), bool(n.get("is_target_logit", False)), str(n.get("clerp") or n["node_id"])]
        for n in nodes
    ]
    return pd.DataFrame(rows, columns=["node_id", "token_prob", "target", "label"])


def _check_links(links: pd.DataFrame, known: set[str], features: pd.DataFrame, problems: list[str]) -> None:
    for end in ("source", "target"):
        for row in links.index[~links[end].isin(known)]:
            problems.append(f"links[{row}]: {end} {links[end][row]!r} is no node of the graph")
    for row in links.index[links.duplicated(["source", "target"])]:
        problems.append(f"links[{row}]: {links['source'][row]!r} to {links['target'][row]!r} appears twice")
    places = features.drop_duplicates("node_id").set_index("node_id")[["layer", "position"]]
    both = links[links["source"].isin(places.index) & links["target"].isin(places.index)]
    source, target = (places.loc[both[end]].to_numpy() for end in ("source", "target"))
    for row, (a, p), (b, q) in zip(both.index, source.tolist(), target.tolist(), strict=True):
        if a >= b or p > q:
            problems.append(
                f"links[{row}]: from layer {a}, position {p} to layer {b}, position {q}; expected a later layer, no earlier position"
            )


def _stop(path: str | Path, problems: list[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise GraphError(f"{path} was not imported, nothing was written:\n" + "\n".join(f"  {p}" for p in [*problems[:_SHOWN], *more]))
