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


def document(nodes: list[dict[str, Any]], links: list[dict[str, Any]], **metadata: Any) -> dict[str, Any]:
    """The whole file, as Neuronpedia converts it; ``metadata`` replaces parts of its metadata, None takes them away."""
    given = metadata
    metadata = {"slug": "texas", "scan": "gemma-2-2b", "prompt": "".join(TOKENS[1:]), "prompt_tokens": TOKENS, "node_threshold": 0.8}
    metadata |= {"feature_details": {"neuronpedia_source_set": "gemmascope-transcoder-16k"}, "schema_version": 1} | given
    metadata = {key: value for key, value in metadata.items() if value is not None}
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


def downloaded(nodes: list[dict[str, Any]], links: list[dict[str, Any]], source_set: str, slug: str = "texas") -> dict[str, Any]:
    """As Neuronpedia's download button gives it: the dictionaries' name stands in ``metadata.info``."""
    info = {
        "creator_name": "somebody",
        "creator_url": "https://neuronpedia.org",
        "source_urls": [f"https://neuronpedia.org/gemma-2-2b/{source_set}", "https://huggingface.co/google/gemma-scope-2b-pt-transcoders"],
        "generator": {"name": "circuit-tracer", "version": "0.1.0", "url": "https://github.com/safety-research/circuit-tracer"},
        "create_time_ms": 1751500000000,
        "neuronpedia_source_set": source_set,
    }
    return document(nodes, links, feature_details=None, info=info, slug=slug)


def crm_node(kind: str, layer: int, index: int, position: int, activation: float | None = 1.5) -> dict[str, Any]:
    """A node as OpenMOSS' converter writes it: layers are numbers, ``cro`` for transcoders and ``lor`` for attention in the id."""
    types = {"cro": "cross layer transcoder", "lor": "lorsa"}
    paired = (layer + index) * (layer + index + 1) // 2 + index
    node_id = f"{layer}_{kind}_{index}_{position}"
    values = {"node_id": node_id, "jsNodeId": node_id, "feature": paired, "feature_type": types[kind], "layer": layer}
    return values | {"ctx_idx": position, "clerp": f"F{paired}", "activation": activation, "influence": 0.4}


def crm_document() -> dict[str, Any]:
    """Transcoders and Lorsa together, with links within one layer (attention before the MLP), errors, tokens and a logit."""
    nodes: list[dict[str, Any]] = [crm_node("lor", 0, 5, 1), crm_node("cro", 0, 7, 1, 2.0), crm_node("lor", 1, 9, 1, 0.5)]
    nodes += [crm_node("cro", 1, 3, 1, 4.0)]
    plain = {"feature": None, "activation": None, "influence": 0.9, "clerp": ""}
    for node_id, kind, layer, position in (
        ("E_11_0", "embedding", "E", 0),
        ("E_12_1", "embedding", "E", 1),
        ("0_error_mlp_1", "mlp reconstruction error", 0, 1),
        ("1_error_attn_1", "lorsa error", 1, 1),
        ("1_bias_attn_bO_1", "bias", 1, 1),
    ):
        nodes.append(plain | {"node_id": node_id, "jsNodeId": node_id, "feature_type": kind, "layer": layer, "ctx_idx": position})
    logit = {"node_id": "2_42_1", "jsNodeId": "2_42_1", "feature": 42, "feature_type": "logit", "layer": 2, "ctx_idx": 1}
    nodes.append(plain | logit | {"token_prob": 0.6, "clerp": 'Logit " sat" (p=0.600)'})
    links = [link("E_12_1", "0_lor_5_1", 1.0), link("0_lor_5_1", "0_cro_7_1", 0.75), link("0_cro_7_1", "1_lor_9_1", -0.5)]
    links += [link("1_lor_9_1", "1_cro_3_1", 0.25), link("0_cro_7_1", "1_cro_3_1", 2.0), link("0_error_mlp_1", "1_cro_3_1", 0.1)]
    links += [link("1_cro_3_1", "2_42_1", 3.0)]
    details = {"neuronpedia_source_set": "transcoder-8x", "neuronpedia_lorsa_source_set": "lorsa-8x"}
    info = {"generator": {"name": "llamascopium (CRM) by OpenMOSS", "version": "2.0"}}
    names = {"slug": "crm", "scan": "qwen3-1.7b", "prompt": "The cat", "prompt_tokens": ["The", " cat"], "feature_details": details}
    return document(nodes, links, **names, info=info) | {"qParams": {}}


def write(path: Path, value: dict[str, Any]) -> Path:
    """As JSON."""
    path.write_text(json.dumps(value, indent=2))
    return path
