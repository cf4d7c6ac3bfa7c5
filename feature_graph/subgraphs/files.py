"""``behaviors.json``, the behaviours of a run, and ``seeds.json``, their seeds, chosen beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from feature_graph.artifacts import ArtifactError, feature_id
from feature_graph.subgraphs.result import BehaviorSubgraph
from feature_graph.subgraphs.seeds import Chosen
from feature_graph.utils import read_object, write_json

KIND, VERSION = "behaviors", 1
SEEDS = "seeds"


def save_behaviors(path: str | Path, behaviors: Sequence[BehaviorSubgraph]) -> None:
    """Write ``behaviors.json``; numbers that were not measured (NaN) become null."""
    write_json(path, {"kind": KIND, "version": VERSION, "behaviors": [_plain(behavior.to_dict()) for behavior in behaviors]})


def save_seeds(path: str | Path, seeds: Mapping[str, Sequence[Chosen]]) -> None:
    """Write ``seeds.json``: per behaviour its features, by the effect of ablating them on the choosing half, descending."""
    listed = [
        {"name": name, "seeds": [{"id": feature_id(seed.layer, seed.index), **_plain(asdict(seed))} for seed in chosen]}
        for name, chosen in seeds.items()
    ]
    write_json(path, {"kind": SEEDS, "version": VERSION, "behaviors": listed})


def load_seeds(path: str | Path) -> dict[str, list[Chosen]]:
    """Read ``seeds.json``: behaviour → its seeds.

    Raises:
        ArtifactError: If it is missing, no JSON, or of another kind or version.
    """
    values = read_object(Path(path), ArtifactError)
    if (got := (values.get("kind"), values.get("version"))) != (SEEDS, VERSION):
        raise ArtifactError(f"{path}: got kind {got[0]} version {got[1]}; expected {SEEDS} version {VERSION}")
    return {one["name"]: [Chosen(**{k: v for k, v in seed.items() if k != "id"}) for seed in one["seeds"]] for one in values["behaviors"]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
