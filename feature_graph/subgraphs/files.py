"""``behaviors.json``: the behaviours of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feature_graph.artifacts import ArtifactError
from feature_graph.subgraphs.result import BehaviorSubgraph
from feature_graph.utils import write_json

KIND, VERSION = "behaviors", 1


def save_behaviors(path: str | Path, behaviors: Sequence[BehaviorSubgraph]) -> None:
    """Write ``behaviors.json``; numbers that were not measured (NaN) become null."""
    write_json(path, {"kind": KIND, "version": VERSION, "behaviors": [_plain(behavior.to_dict()) for behavior in behaviors]})


def load_behaviors(path: str | Path) -> list[dict[str, Any]]:
    """Read ``behaviors.json``, one dict a behaviour.

    Raises:
        ArtifactError: If the file is missing or not in its format.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; expected {KIND} version {VERSION}, written by `feature-graph run`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict) or (values.get("kind"), values.get("version")) != (KIND, VERSION):
        raise ArtifactError(f"{path}: expected kind {KIND} version {VERSION}")
    return list(values["behaviors"])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
