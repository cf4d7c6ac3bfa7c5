"""``behaviors.json``: the behaviours of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feature_graph.subgraphs.result import BehaviorSubgraph
from feature_graph.utils import write_json

KIND, VERSION = "behaviors", 1


def save_behaviors(path: str | Path, behaviors: Sequence[BehaviorSubgraph]) -> None:
    """Write ``behaviors.json``; numbers that were not measured (NaN) become null."""
    write_json(path, {"kind": KIND, "version": VERSION, "behaviors": [_plain(behavior.to_dict()) for behavior in behaviors]})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
