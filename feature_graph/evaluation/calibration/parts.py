"""Part files: a cell that was run is read back, if the code and the packages that it depends on are the same."""

from __future__ import annotations

import json
import logging
import platform
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from feature_graph.evaluation.calibration.cells import Cell
from feature_graph.utils import sha256_file, sha256_json, write_json

log = logging.getLogger(__name__)
_PACKAGES = ("torch", "transformer-lens", "sae-lens", "numpy", "scipy", "statsmodels")


def code_key() -> str:
    """Hash over this library's source files and the versions of what it computes with: any change makes every part old."""
    folder = Path(str(files("feature_graph")))
    sources = {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*.py"))}
    return sha256_json({"sources": sources, "python": platform.python_version(), "packages": versions()})


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers."""
    return {name: version(name) for name in _PACKAGES}


class PartFiles:
    """A folder with one JSON file a cell.

    Args:
        folder: Where they lie; None keeps nothing.
        key: From :func:`code_key`; parts with another are run again.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder, self.key = folder, key

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """The cell's result, or None if it must be run."""
        if self.folder is None or not (self.folder / cell.file).is_file():
            return None
        path = self.folder / cell.file
        try:
            part = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            log.warning("%s is damaged (%s) and is run again", path, error)
            return None
        if not isinstance(part, dict) or part.get("key") != self.key or not isinstance(part.get("result"), dict):
            return None
        return part["result"]

    def write(self, cell: Cell, result: dict[str, Any]) -> None:
        """Keep a result."""
        if self.folder is not None:
            write_json(self.folder / cell.file, {"key": self.key, "result": result})
