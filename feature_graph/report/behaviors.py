"""Behaviours of a run for the report: what a behaviour must say, and what it may leave out (docs/artifacts.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feature_graph.artifacts import ArtifactError
from feature_graph.utils import read_object

_MAY = {"description": "", "clean": None, "corrupted": None, "ablated": None, "accuracy": None, "confirmed": False}
_SEED_MAY = {"label": "", "effect": None, "ci_low": None, "ci_high": None, "confirmed": None, "in_graph": None}


def read_behaviors(path: Path) -> list[dict[str, Any]]:
    """The behaviours of ``behaviors.json``, every field that the report shows present.

    Raises:
        ArtifactError: If the file is not JSON, or a behaviour has no name or a seed no id.
    """
    listed = read_object(path, ArtifactError).get("behaviors", [])
    if not isinstance(listed, list):
        raise ArtifactError(f"{path}: behaviors: got {type(listed).__name__}; expected a list")
    return [_behavior(path, item) for item in listed]


def _behavior(path: Path, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise ArtifactError(f"{path}: a behaviour without a name; see docs/artifacts.md")
    seeds = [_seed(path, item["name"], seed) for seed in item.get("seeds") or []]
    lists = {name: [str(value) for value in item.get(name) or []] for name in ("members", "warnings")}
    return _MAY | {k: v for k, v in item.items() if v is not None} | lists | {"seeds": seeds}


def _seed(path: Path, name: str, seed: Any) -> dict[str, Any]:
    if not isinstance(seed, dict) or not isinstance(seed.get("id"), str):
        raise ArtifactError(f"{path}: {name}: a seed without an id; see docs/artifacts.md")
    return _SEED_MAY | {k: v for k, v in seed.items() if v is not None}
