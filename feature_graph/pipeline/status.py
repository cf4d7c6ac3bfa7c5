"""What a run directory contains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from feature_graph.artifacts import ArtifactError, RunPaths
from feature_graph.config import Config
from feature_graph.pipeline.lock import holder, is_locked
from feature_graph.pipeline.manifest import Manifest, StageRecord
from feature_graph.pipeline.plan import why_stale
from feature_graph.pipeline.stages import StageName, stages_of


@dataclass(frozen=True)
class StageStatus:
    """One stage: whether it is up to date, and if not, why.

    Attributes:
        stage: Its name.
        state: ``up to date``, ``running``, ``not up to date``.
        reason: Why it is not up to date; empty if it is.
        record: What the manifest says; None if it never ran.
        n_parts: Part files that the next run goes on from.
    """

    stage: StageName
    state: Literal["up to date", "running", "not up to date"]
    reason: str
    record: StageRecord | None
    n_parts: int


@dataclass(frozen=True)
class RunStatus:
    """A run directory.

    Attributes:
        run_dir: The directory.
        cfg: Its configuration.
        manifest: Its manifest.
        stages: One per stage, in order.
        holder: The process that writes here now, in words; empty if none.
    """

    run_dir: Path
    cfg: Config
    manifest: Manifest
    stages: tuple[StageStatus, ...]
    holder: str

    @property
    def complete(self) -> bool:
        """Whether every stage is up to date."""
        return all(stage.state == "up to date" for stage in self.stages)


def status(run_dir: str | Path) -> RunStatus:
    """Look at a run directory, without changing it.

    Raises:
        ArtifactError: If it is not a run directory.
        ConfigError: If its configuration cannot be read.
        ManifestError: If its manifest is damaged.
    """
    paths = RunPaths.of(run_dir)
    if not paths.config.is_file():
        raise ArtifactError(f"{paths.root}: no run directory (config.json is missing); `feature-graph run` makes one")
    cfg = Config.load(paths.config)
    manifest = Manifest.load(paths.manifest)
    busy = is_locked(paths.lock)
    stages = []
    for stage in stages_of(cfg):
        record = manifest.stages.get(stage.name)
        reason = why_stale(stage, cfg, paths.root, manifest)
        running = busy and record is not None and record.state == "running"
        state: Literal["up to date", "running", "not up to date"] = "running" if running else "not up to date" if reason else "up to date"
        parts = paths.parts(stage.name)
        n_parts = sum(1 for part in parts.glob("*") if part.name != "key.json") if parts.is_dir() else 0
        stages.append(StageStatus(stage.name, state, "" if running else reason, record, n_parts))
    return RunStatus(paths.root, cfg, manifest, tuple(stages), holder(paths.lock) if busy else "")
