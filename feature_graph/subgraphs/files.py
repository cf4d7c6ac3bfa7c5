"""``behaviors.json``, the behaviours of a run, and ``seeds.json``, their seeds, chosen beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from feature_graph.artifacts import ArtifactError, feature_id, is_component_key, layer_of, read_key
from feature_graph.subgraphs.result import BehaviorSubgraph
from feature_graph.subgraphs.seeds import Chosen
from feature_graph.utils import read_object, write_json

KIND, VERSION = "behaviors", 1
SEEDS = "seeds"


def save_behaviors(path: str | Path, behaviors: Sequence[BehaviorSubgraph]) -> None:
    """Write ``behaviors.json``; numbers that were not measured (NaN) become null."""
    write_json(path, {"kind": KIND, "version": VERSION, "behaviors": [_plain(behavior.to_dict()) for behavior in behaviors]})


def save_seeds(path: str | Path, seeds: Mapping[str, Sequence[Chosen]]) -> None:
    """Write ``seeds.json``: per behaviour its features, by the effect of ablating them on the choosing half, descending.

    Where a run has dictionaries on components, ``site`` names that of each feature.
    """
    listed = [{"name": name, "seeds": [_written(seed) for seed in chosen]} for name, chosen in seeds.items()]
    write_json(path, {"kind": SEEDS, "version": VERSION, "behaviors": listed})


def load_seeds(path: str | Path) -> dict[str, list[Chosen]]:
    """Read ``seeds.json``: behaviour → its seeds.

    Raises:
        ArtifactError: If it is missing, no JSON, or of another kind or version.
    """
    values = read_object(Path(path), ArtifactError)
    if (got := (values.get("kind"), values.get("version"))) != (SEEDS, VERSION):
        raise ArtifactError(f"{path}: got kind {got[0]} version {got[1]}; expected {SEEDS} version {VERSION}")
    return {one["name"]: [_read(seed) for seed in one["seeds"]] for one in values["behaviors"]}


def _written(seed: Chosen) -> dict[str, Any]:
    named = {"site": str(seed.layer)} if is_component_key(seed.layer) else {}
    return {"id": feature_id(seed.layer, seed.index), **named, **_plain(asdict(seed)), "layer": layer_of(seed.layer)}


def _read(values: Mapping[str, Any]) -> Chosen:
    layer = read_key(values["site"]) if "site" in values else values["layer"]
    return Chosen(layer, values["index"], values["attribution"], values["effect"], values.get("integrated"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
