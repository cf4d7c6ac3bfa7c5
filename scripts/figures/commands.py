"""The library's own commands, as a user calls them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.figures.marks import ROOT

RUN = ["-c", "from feature_graph.cli import main; main()"]


def environment() -> dict[str, str]:
    """No database but the one that is named, and tables of one width."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEO4J_") and name != "FEATURE_GRAPH_HOME"}
    return kept | {"COLUMNS": "180", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}


def command(*arguments: str | Path, quiet: bool = True) -> str:
    """What ``feature-graph …`` prints; its progress goes to the terminal unless ``quiet``.

    Raises:
        RuntimeError: If it fails, with what it said.
    """
    words = [sys.executable, *RUN, *map(str, arguments)]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True, env=environment(), check=False
    )
    if done.returncode:
        raise RuntimeError(f"feature-graph {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr or ''}")
    return done.stdout
