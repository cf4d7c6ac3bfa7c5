"""Attribution graphs as circuit-tracer and Neuronpedia write them, drawn from a seed: for tests only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

TOKENS = ["<bos>", "The", " capital", " of", " Texas", " is"]


def feature(layer: int, index: int, position: int, activation: float | None = 2.0, label: str = "") -> dict[str, Any]:
    """A feature node, with the layer and index paired in ``feature`` as circuit-tracer does."""
    paired = (layer + index) * (layer + index + 1) // 2 + index
    return node(f"{layer}_{index}_{position}", paired, str(layer), position, "cross layer transcoder", label) | {"activation": activation}


def node(node_id: str, number: int, layer: str, position: int, kind: str, label: str = "") -> dict[str, Any]:
    """Any node."""
    values = {"node_id": node_id, "feature": number, "layer": layer, "ctx_idx": position, "feature_type": kind, "clerp": label}
    return values | {"token_prob": 0.0, "is_target_logit": False, "jsNodeId": f"{node_id}-0", "influence": 0.5, "activation": None}


def link(source: str, target: str, weight: float) -> dict[str, Any]:
    """A link."""
    return {"source": source, "target": target, "weight": weight}


def document(nodes: list[dict[str, Any]], links: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole file."""
    metadata = {"slug": "texas", "scan": "gemma-2-2b", "prompt": "".join(TOKENS[1:]), "prompt_tokens": TOKENS, "node_threshold": 0.8}
    metadata |= {"feature_details": {"neuronpedia_source_set": "gemmascope-transcoder-16k"}, "schema_version": 1}
    settings = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": settings, "nodes": nodes, "links": links}


def random_document(seed: int = 0, layers: int = 5, per_layer: int = 6) -> dict[str, Any]:
    """Features at one to three positions, an error node a layer, tokens, two logits; links forward in layer and never back in position."""
    rng = np.random.default_rng(seed)
    features = []
    for layer in range(layers):
        for index in sorted(rng.choice(16_384, per_layer, replace=False).tolist()):
            for position in sorted(rng.choice(len(TOKENS), rng.integers(1, 4), replace=False).tolist()):
                features.append(feature(layer, index, position, round(float(rng.uniform(0.5, 9)), 4), f"about {TOKENS[position]}"))
    last = len(TOKENS) - 1
    errors = [node(f"{layer}_-1_{last}", -1, str(layer), last, "mlp reconstruction error") for layer in range(layers)]
    tokens = [node(f"E_{100 + i}_{i}", i, "E", i, "embedding") for i in range(len(TOKENS))]
    logits = [node(f"{layers + 1}_{700 + i}_{last}", 700 + i, str(layers + 1), last, "logit", f'Output " A{i}"') for i in range(2)]
    logits[0] |= {"token_prob": 0.6, "is_target_logit": True}
    logits[1] |= {"token_prob": 0.2}
    links = []
    for source in [*tokens, *errors, *features]:
        depth = -1 if source["layer"] == "E" else int(source["layer"])
        for target in [*features, *logits]:
            if int(target["layer"]) > depth and target["ctx_idx"] >= source["ctx_idx"] and rng.random() < 0.25:
                links.append(link(source["node_id"], target["node_id"], float(rng.normal())))
    return document([*features, *errors, *tokens, *logits], links)


def write(path: Path, value: dict[str, Any]) -> Path:
    """As JSON."""
    path.write_text(json.dumps(value, indent=2))
    return path
