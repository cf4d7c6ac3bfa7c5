"""One bundled run for all end-to-end tests: the demo's command, the real model and dictionaries, three of the seven sites."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from feature_graph.database import server
from tests.support.demo import Demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The session's bundled run, in a database of its own. Read it; write nothing into it."""
    folder = tmp_path_factory.mktemp("demo")
    try:
        yield Demo(folder, Demo(folder, subprocess.CompletedProcess([], 0, "", "")).demo())
    finally:
        server.stop(folder / ".feature-graph")
