"""What end-to-end tests share: the demo's run, by its command, one between residual SAEs, and a folder in the hub's cache layout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_graph.database import server
from tests import hublayout
from tests.support.demo import Demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The session's bundled run, in a database of its own. Read it; write nothing into it."""
    folder = tmp_path_factory.mktemp("demo")
    try:
        yield Demo(folder, Demo(folder, subprocess.CompletedProcess([], 0, "", "")).demo())
    finally:
        server.stop(folder / ".feature-graph")


@pytest.fixture(scope="session")
def residual_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's run between residual SAEs. Read it; write nothing into it."""
    folder = tmp_path_factory.mktemp("residual")
    return Demo(folder, subprocess.CompletedProcess([], 0, "", "")).residual_run()


@pytest.fixture(scope="session")
def hub_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment that makes the hub's libraries use a folder of ours: GPT-2-small's shape, dictionaries of the example's six layers."""
    return hublayout.build(tmp_path_factory.mktemp("hub"), layers=range(6))
