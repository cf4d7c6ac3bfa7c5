"""The demo's command at a small size, and a run between residual SAEs of that size."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Small enough for two cores; everything else as shipped.
SMALL: dict[str, object] = {
    "n_tokens": 6_000,
    "response_samples": 6,
    "shortlist_sources": 12,
    "shortlist_pairs": 600,
    "n_intervention_samples": 16,
    "importance_tokens": 512,
    "behaviors": "[factual_recall]",
}
#: Three of the eight sites of the band, and three of the seven layers of the residual SAEs.
BAND = {"sites": "[" + ", ".join(f"{{layer: {n}, kind: transcoder, id: 'blocks.{n}.transcoder'}}" for n in (8, 11, 15)) + "]"}
RESIDUAL = {"layers": "[11,19,27]"}


@dataclass(frozen=True)
class Demo:
    """Where the demo worked, and what its first call said."""

    folder: Path
    said: subprocess.CompletedProcess[str]

    @property
    def run_dir(self) -> Path:
        return self.folder / "outputs" / "bundled"

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
        return self.command("demo", *_settings(SMALL | BAND))

    def residual_run(self) -> Path:
        """A run between residual SAEs, in no database."""
        said = self.command("run", "bundled-residual", *_settings(SMALL | RESIDUAL))
        assert said.returncode == 0, said.stderr[-3000:]
        return self.folder / "outputs" / "bundled-residual"


def _settings(values: dict[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
