"""The demo's command at a small size."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Small enough for two cores; everything else as shipped.
SMALL = {
    "layers": "[11,19,27]",
    "n_tokens": 6_000,
    "shortlist_sources": 12,
    "shortlist_pairs": 600,
    "n_intervention_samples": 16,
    "importance_tokens": 1_024,
    "behaviors": "[factual_recall]",
}


@dataclass(frozen=True)
class Demo:
    """Where the demo worked, and what its first call said."""

    folder: Path
    said: subprocess.CompletedProcess[str]

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def home(self) -> Path:
        return self.folder / ".feature-graph"

    def command(self, *arguments: str, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        own = {"COLUMNS": "180", "NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NEO4J_")}
        code = "from feature_graph.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=self.folder, env=kept | own, timeout=timeout
        )

    def demo(self) -> subprocess.CompletedProcess[str]:
        settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
        return self.command("demo", "--output-dir", "run", *settings)
