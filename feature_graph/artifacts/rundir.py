"""Names of the files in a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ingest.measures import MEASURES


@dataclass(frozen=True)
class RunPaths:
    """The files of one run directory (ARCHITECTURE.md, "The run directory")."""

    root: Path

    @classmethod
    def of(cls, root: str | Path) -> RunPaths:
        """From text or a path."""
        return cls(Path(root))

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.root / "config.json"

    @property
    def manifest(self) -> Path:
        """State, seconds, rows and hash of every stage."""
        return self.root / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes here."""
        return self.root / ".lock"

    @property
    def activations(self) -> Path:
        """Feature activations."""
        return self.root / "activations.h5"

    @property
    def atlas(self) -> Path:
        """Co-activation counts."""
        return self.root / "atlas.h5"

    @property
    def responses(self) -> Path:
        """Response vectors."""
        return self.root / "responses.h5"

    @property
    def seeds(self) -> Path:
        """Seeds of the run's behaviours, chosen before anything is measured."""
        return self.root / "seeds.json"

    @property
    def features(self) -> Path:
        """One row per feature."""
        return self.root / "features.parquet"

    @property
    def candidates(self) -> Path:
        """Pairs to measure."""
        return self.root / "candidates.parquet"

    @property
    def interactions(self) -> Path:
        """Measured pairs."""
        return self.root / "interactions.parquet"

    @property
    def graphml(self) -> Path:
        """The graph for other tools."""
        return self.root / "graph.graphml"

    @property
    def graph_json(self) -> Path:
        """The graph as node-link JSON."""
        return self.root / "graph.json"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.root / "report.html"

    @property
    def pruning_recall(self) -> Path:
        """What pruning loses, measured on an exhaustive slice."""
        return self.root / "pruning_recall.json"

    @property
    def validation(self) -> Path:
        """What the graph is worth: behaviours and steering, measured."""
        return self.root / "validation.json"

    @property
    def forecasts(self) -> Path:
        """Forecasts of steering compared with each other."""
        return self.root / "forecasts.json"

    def measure(self, kind: str) -> Path:
        """A further measure of chosen edges: gates, doses, insertions or mediation."""
        return self.root / MEASURES[kind].name

    def parts(self, stage: str) -> Path:
        """Folder of a stage's part files; those of collecting are removed when the stage is whole, those of measuring are kept."""
        return self.root / f"{stage}.parts"
