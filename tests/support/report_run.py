"""A run directory with every file that the report reads, and the visible words of a page."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pyarrow as pa

from feature_graph.artifacts import CandidateSet, RunPaths, StageCount
from feature_graph.config import Config
from feature_graph.graph import build_interaction_graph, save_graph
from feature_graph.utils import write_json
from ingest.formats import CANDIDATES, FEATURES, write_table
from tests.strategies import random_features, random_interactions


def make_run(root: Path, n_edges: int = 120, label: str | None = None) -> RunPaths:
    """A run directory with every file the report reads."""
    paths = RunPaths.of(root)
    interactions = random_interactions(4, 10, n_edges, seed=1)
    features = random_features(interactions)
    if label is not None:
        features["label"] = label
    Config(model_name="toy", layers=[0, 4, 8, 12]).save(paths.config)
    interactions.save(paths.interactions)
    write_table(paths.features, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    frame = pa.Table.from_pylist([], schema=CANDIDATES.schema).to_pandas()
    stages = (StageCount("importance", 1000, 400), StageCount("co-activation", 400, n_edges))
    CandidateSet(frame, stages=stages, facts={"alignment": "block"}).save(paths.candidates)
    graph = build_interaction_graph(interactions, features=features)
    save_graph(graph, paths.graph_json)
    save_graph(graph, paths.graphml)
    seed = {"id": "L4_F9", "label": label or "Paris", "effect": 0.4, "ci_low": 0.2, "ci_high": 0.6, "confirmed": True, "in_graph": False}
    behavior = {"name": "factual_recall", "description": "capitals", "clean": 2.5, "corrupted": -2.0, "ablated": 1.25, "accuracy": 0.9}
    behavior |= {"confirmed": True, "warnings": [], "seeds": [seed], "members": ["L4_F9"]}
    write_json(root / "behaviors.json", {"kind": "behaviors", "version": 1, "behaviors": [behavior]})
    stage = {"state": "done", "seconds": 12.3456, "rows": n_edges, "error": ""}
    quality = {"explained_variance": 0.871, "l0": 47.5, "expected_l0": None, "expected_explained_variance": 0.88}
    loaded = {"hook": "blocks.4.hook_resid_post", "release": "toy-res", "sae_id": "blocks.4", "d_sae": 2304}
    manifest = {"stages": {"measure": stage}, "versions": {"torch": "2.9.9"}, "saes": {"4": loaded}, "sae_quality": {"4": quality}}
    write_json(paths.manifest, {"kind": "manifest", "version": 1} | manifest)
    return paths


def words(page: Path) -> str:
    """The page's visible text."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())
