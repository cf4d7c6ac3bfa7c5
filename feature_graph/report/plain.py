"""JSON files of a run directory as plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from feature_graph.artifacts import ArtifactError


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ArtifactError: If the file is not JSON, or something else than an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ArtifactError(f"{path}: got {type(values).__name__}; expected a JSON object")
    return values
