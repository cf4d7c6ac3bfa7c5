"""The JSON of an attribution graph, checked: its nodes and links as tables.

The schema is that of Neuronpedia (``graph-schema.json``), of circuit-tracer's ``frontend/graph_models.py``, and of OpenMOSS' converter for
graphs of transcoders and Lorsa, seen in November 2026.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ingest.attribution_graphs.errors import GraphError
from ingest.attribution_graphs.nodes import LOGIT, feature_table, is_feature, logit_table
from ingest.text import HALF, half_characters

__all__ = ["AttributionGraph", "GraphError", "read_graph"]

_SHOWN = 20


@dataclass(frozen=True)
class AttributionGraph:
    """One attribution graph, without the ids that stand for several nodes.

    Attributes:
        path: The file.
        sha256: Its hash.
        metadata: As in the file: ``slug``, ``scan``, ``prompt``, ``prompt_tokens`` …
        features: Feature nodes (``nodes.COLUMNS``): ``kind`` is mlp or attention, ``activation`` NaN if not given.
        logits: Logit nodes: ``node_id``, ``token_prob``, ``target``, ``label``.
        others: Feature type → number of nodes that are neither.
        links: ``source``, ``target`` (node ids), ``weight``.
        ambiguous: Ids that more than one node has; their links cannot be told apart and are left out.
        ambiguous_links: How many links that are.
        pinned: Ids of the nodes that somebody pinned.
        supernodes: Names of groups of nodes that somebody made, with the ids in them.
        labels: Id → label that somebody gave (``qParams.clerps``).
        with_influence: Feature nodes that carry an influence.
        unread: Settings of ``qParams`` that are there in a form that is not known.
    """

    path: Path
    sha256: str
    metadata: dict[str, Any]
    features: pd.DataFrame
    logits: pd.DataFrame
    others: dict[str, int]
    links: pd.DataFrame
    ambiguous: frozenset[str]
    ambiguous_links: int = 0
    pinned: frozenset[str] = frozenset()
    supernodes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    with_influence: int = 0
    unread: tuple[str, ...] = ()


def read_graph(path: str | Path) -> AttributionGraph:
    """Read and check a file.

    Raises:
        GraphError: If it is not JSON, not in the schema, or a link leads nowhere, backwards, stands there twice, or has no finite weight.
    """
    path = Path(path)
    value, sha256 = _json(path)
    problems: list[str] = []
    metadata = _metadata(value["metadata"], problems)
    nodes = [n for i, n in enumerate(value["nodes"]) if _is_node(n, i, problems)]
    links = [e for i, e in enumerate(value["links"]) if _is_link(e, i, problems)]
    _stop(path, problems)
    counted = Counter(n["node_id"] for n in nodes)
    ambiguous = frozenset(name for name, times in counted.items() if times > 1)
    nodes = [n for n in nodes if n["node_id"] not in ambiguous]
    found = [n for n in nodes if is_feature(n)]
    features = feature_table(found, metadata.get("schema_version"), problems)
    table = pd.DataFrame(links, columns=["source", "target", "weight"]).astype({"weight": float})
    unclear = table["source"].isin(ambiguous) | table["target"].isin(ambiguous)
    _check_links(table[~unclear], set(counted), features, problems)
    _stop(path, problems)
    asked = value.get("qParams")
    settings: dict[str, Any] = asked if isinstance(asked, dict) else {}
    return AttributionGraph(
        path,
        sha256,
        metadata,
        features,
        logit_table([n for n in nodes if n["feature_type"] == LOGIT]),
        dict(Counter(str(n["feature_type"]) for n in nodes if not is_feature(n) and n["feature_type"] != LOGIT)),
        table[~unclear].reset_index(drop=True),
        ambiguous,
        int(unclear.sum()),
        frozenset(name for name in _list(settings, "pinnedIds") if isinstance(name, str)),
        tuple((str(g[0]), tuple(map(str, g[1:]))) for g in _list(settings, "supernodes") if isinstance(g, list) and len(g) > 1),
        {str(c[0]): str(c[1]) for c in _list(settings, "clerps") if isinstance(c, list) and len(c) == 2},
        sum(n.get("influence") is not None for n in found),
        tuple(f"qParams.{k}" for k in ("pinnedIds", "supernodes", "clerps") if settings.get(k) and not isinstance(settings[k], list)),
    )


def _list(settings: dict[str, Any], key: str) -> list[Any]:
    value = settings.get(key)
    return value if isinstance(value, list) else []


def _json(path: Path) -> tuple[dict[str, Any], str]:
    expected = "expected an attribution graph: a JSON object with metadata, nodes and links, as circuit-tracer and Neuronpedia write it"
    try:
        content = path.read_bytes()
        value = json.loads(content.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file; {expected}") from error
    except IsADirectoryError as error:
        raise GraphError(f"{path}: a folder; {expected}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GraphError(f"{path}: not JSON: {error}; {expected}") from error
    if not isinstance(value, dict):
        raise GraphError(f"{path}: got a JSON {type(value).__name__}; {expected}")
    wrong = [k for k, kind in (("metadata", dict), ("nodes", list), ("links", list)) if not isinstance(value.get(k), kind)]
    if wrong:
        raise GraphError(f"{path}: {', '.join(wrong)} missing or of another type; {expected}")
    if b"\\ud" in content.lower() and half_characters(json.dumps(value, ensure_ascii=False)):
        raise GraphError(f"{path}: {HALF}")
    return value, hashlib.sha256(content).hexdigest()


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


def _check_links(links: pd.DataFrame, known: set[str], features: pd.DataFrame, problems: list[str]) -> None:
    for end in ("source", "target"):
        for row in links.index[~links[end].isin(known)]:
            problems.append(f"links[{row}]: {end} {links[end][row]!r} is not a node of the graph")
    for row in links.index[links.duplicated(["source", "target"])]:
        problems.append(f"links[{row}]: {links['source'][row]!r} to {links['target'][row]!r} appears twice")
    # Attention comes before the MLP of its layer.
    places = features.set_index("node_id")[["layer", "position", "kind"]]
    both = links[links["source"].isin(places.index) & links["target"].isin(places.index)]
    source, target = (places.loc[both[end]].to_numpy() for end in ("source", "target"))
    for row, (a, p, kind), (b, q, other) in zip(both.index, source.tolist(), target.tolist(), strict=True):
        if (a, kind) >= (b, other) or p > q:
            problems.append(
                f"links[{row}]: from layer {a}, position {p} to layer {b}, position {q}; expected a later layer, no earlier position"
            )


def _stop(path: str | Path, problems: list[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise GraphError(f"{path} was not imported, nothing was written:\n" + "\n".join(f"  {p}" for p in [*problems[:_SHOWN], *more]))
