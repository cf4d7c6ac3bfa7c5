"""Dictionaries that come with the package: one folder per release, in it one per id, in SAELens' format."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from feature_graph.config import BUNDLED_SAES, BUNDLED_TRANSCODERS
from feature_graph.loading.errors import LoadingError

#: Release → its folder beside this module.
BUNDLED_RELEASES = {BUNDLED_SAES: "bundled_saes", BUNDLED_TRANSCODERS: "bundled_transcoders"}


def release_folder(release: str) -> Path:
    """Folder of a bundled release (package data).

    Raises:
        LoadingError: If there is no such release.
    """
    if release not in BUNDLED_RELEASES:
        raise LoadingError(f"got release {release!r}; the bundled dictionaries are {' and '.join(map(repr, BUNDLED_RELEASES))}")
    return Path(str(resources.files("feature_graph.loading") / BUNDLED_RELEASES[release]))
