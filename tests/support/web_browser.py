"""The web browser of this machine."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")


def chromium() -> str:
    """The executable; skips, or fails, where there is none."""
    named = os.environ.get("FEATURE_GRAPH_CHROMIUM")
    if named is not None and shutil.which(named) is None:
        pytest.fail(f"FEATURE_GRAPH_CHROMIUM is {named!r}, which is no executable")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found
    why = f"no web browser: none of {', '.join(NAMES)} is installed (apt-get install chromium), and FEATURE_GRAPH_CHROMIUM names none"
    if os.environ.get("FEATURE_GRAPH_NEEDS_CHROMIUM"):
        pytest.fail(why)
    pytest.skip(why)
