"""Every test: fixed thread count, no network for model hubs, nobody's database, nobody's home."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts a time. What `make test` tries is the same every time (scripts/run_tests.py asks for "same"); new examples are tried
# where pytest is called by itself, and by `make test-long`.
settings.register_profile("new", deadline=None)
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("new")

# Waiting threads sleep instead of spinning; OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Compiled modules are kept: without them every process that a test starts compiles torch and its kin again, which takes 12 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
for name in [n for n in os.environ if n.startswith("NEO4J_") or n == "FEATURE_GRAPH_HOME"]:
    del os.environ[name]


#: Fixture → mark of the tests that use it, and the folder in which `make test` looks for them; each starts a server.
_MARKS = {"neo4j_running": ("shared_server", "graph"), "demo": ("demo", "e2e")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they share, before they are chosen by their marks; refuse one where no group would look for it."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        for fixture, (mark, home) in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
                item.add_marker("graph")
                if folder != home:
                    raise pytest.UsageError(f"{item.nodeid}: uses {fixture}; make test looks for such tests in tests/{home}")
        if folder in {"causal", "unit"}:
            item.add_marker(folder)
        if folder not in {"graph", "e2e"} and item.get_closest_marker("graph"):
            raise pytest.UsageError(f"{item.nodeid}: starts a server; make test looks for such tests in tests/graph and tests/e2e")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Captured text may hold lone surrogates, on purpose; a test process cannot send these to the one that reports."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture
def in_tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Work in an empty folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.fixture(autouse=True)
def _log_handlers_end_with_the_test() -> Iterator[None]:
    """A command that sets up logging for people must not write into a later test's output."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
