"""Run directories for tests, written in the formats of ``ingest.formats`` from made-up interactions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_graph.artifacts import InteractionSet
from ingest.formats import FEATURES, INTERACTIONS, write_table
from tests.strategies import random_features, random_interactions


def dense(interactions: InteractionSet, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and interactions with fids renumbered 0, 1, 2 … so that every feature occurs."""
    features = random_features(interactions, seed).sort_values("fid", ignore_index=True)
    new = pd.Series(range(len(features)), index=features["fid"])
    frame = interactions.frame.copy()
    for end in ("src_fid", "tgt_fid"):
        frame[end] = new.loc[frame[end]].to_numpy()
    features["fid"] = np.arange(len(features))
    return features, frame.sort_values(["src_fid", "tgt_fid", "method"], ignore_index=True)


def agreeing(interactions: pd.DataFrame) -> pd.DataFrame:
    """Changed rows with every column that follows from the strengths, and what passed, made to follow again."""
    frame = interactions.copy()
    mean, by = frame["mean_strength"], frame["significant_by"]
    frame["computed_strength"] = mean - frame["copy_strength"]
    lead = frame["later_strength"].where(by == "later", frame["direct_strength"].where(by.str.startswith("direct"), mean))
    passed_on = (frame["interaction_type"] == "pass_through") & (mean >= 0)
    frame["interaction_type"] = np.where(passed_on, "pass_through", np.where(lead < 0, "inhibitory", "excitatory"))
    frame["abs_strength"] = mean.abs()
    half = (frame["ci_high"] - frame["ci_low"]).abs() / 2
    frame["ci_low"], frame["ci_high"] = mean - half, mean + half
    frame["confirm_strength"] = frame["confirm_strength"].where(~(frame["confirm_strength"] * mean < 0), -frame["confirm_strength"])
    if "confirm_computed" in frame:  # files of earlier versions do not have it
        frame["floor_computed"] = np.minimum(frame["floor_computed"], frame["computed_strength"].abs())
        again, computed = frame["confirm_computed"], frame["computed_strength"]
        frame["confirm_computed"] = again.where(~(again * computed < 0), -again)
    return frame


def write_files(root: Path, features: pd.DataFrame, interactions: pd.DataFrame, meta: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """Write config.json, features.parquet and interactions.parquet."""
    root.mkdir(parents=True, exist_ok=True)
    config = {"model_name": "toy", "sae_release": "toy-res", "dataset": "builtin:sotu", "seed": seed, "significance_level": 0.05}
    (root / "config.json").write_text(json.dumps(config))
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    write_table(root / INTERACTIONS.name, INTERACTIONS, pa.Table.from_pandas(interactions, preserve_index=False), meta)
    return root


def by_direct_alone(interactions: pd.DataFrame, edges: int) -> pd.DataFrame:
    """With so many edges over several sites that their direct effect alone let in, its sign opposite to the total one's."""
    frame = interactions.copy()
    at = frame.index[frame["significant"] & (frame["span"] > 1)][:edges]
    assert len(at) == edges
    frame.loc[at, "direct_strength"] = -np.sign(frame.loc[at, "mean_strength"]) * (frame.loc[at, "floor_direct"] + 0.1)
    frame.loc[at, ["q_value", "q_direct", "q_later"]] = 0.9, 0.01, 0.9
    frame.loc[at, "significant_by"] = "direct"
    return agreeing(frame)


def with_erased(interactions: pd.DataFrame, edges: int) -> pd.DataFrame:
    """With so many edges between successive layers that erase a copy: next to nothing is left of it, in either direction."""
    frame = interactions.copy()
    at = frame.index[frame["significant"] & (frame["span"] == 1)][:edges]
    assert len(at) == edges
    turns = np.where(np.arange(edges) % 3 == 0, -1.0, 1.0)
    frame.loc[at, "significant_by"] = "computed"
    frame.loc[at, "copy_strength"] = 0.2 * turns
    frame.loc[at, "mean_strength"] = frame.loc[at, "direct_strength"] = 0.004 * np.where(np.arange(edges) % 2 == 0, -1.0, 1.0)
    frame.loc[at, ["q_value", "q_direct", "q_later", "q_computed"]] = 0.9, 0.9, 0.9, 0.01
    before = frame["interaction_type"]
    frame = agreeing(frame).assign(interaction_type=before)
    frame.loc[at, "interaction_type"] = "erases_copy"
    frame.loc[at, "specific_strength"] = frame.loc[at, "computed_strength"] / 2
    return frame


def random_run(
    root: Path,
    n_layers: int = 4,
    n_features: int = 12,
    n_edges: int = 120,
    seed: int = 0,
    window: int = 2,
    direct_alone: int = 0,
    erased: int = 0,
) -> Path:
    """A run directory with random interactions.

    ``direct_alone`` of its edges were let in by their direct effect alone, ``erased`` of them erase a copy.
    """
    made = random_interactions(n_layers, n_features, n_edges, seed, window)
    features, frame = dense(made, seed)
    frame = by_direct_alone(frame, direct_alone) if direct_alone else frame
    frame = with_erased(frame, erased) if erased else frame
    return write_files(root, features, frame, made.meta, seed)
