"""Dictionaries that come with the package: one folder per release, in it one per id, in SAELens' format. Costs no model library."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from feature_graph.config import BUNDLED_SAES, BUNDLED_TRANSCODERS

#: Release → its folder in loading/.
BUNDLED_RELEASES = {BUNDLED_SAES: "bundled_saes", BUNDLED_TRANSCODERS: "bundled_transcoders"}


def release_folder(release: str) -> Path:
    """Folder of a bundled release (package data); KeyError if there is no such release."""
    return Path(str(resources.files("feature_graph"))) / "loading" / BUNDLED_RELEASES[release]
