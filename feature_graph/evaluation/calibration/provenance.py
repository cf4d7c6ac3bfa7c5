"""What a calibration's numbers depend on: this library's code, and the packages that it computes with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from feature_graph.utils import sha256_file, sha256_json

_PACKAGES = ("torch", "transformer-lens", "sae-lens", "numpy", "scipy", "statsmodels")


def code_key() -> str:
    """Hash over this library's source files and the versions of what it computes with: any change makes every part old."""
    folder = Path(str(files("feature_graph")))
    sources = {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*.py"))}
    return sha256_json({"sources": sources, "python": platform.python_version(), "packages": versions()})


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers."""
    return {name: version(name) for name in _PACKAGES}
