"""Whether a stage's artifacts are still what they should be, and if not, why: in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from feature_graph.bundled import BUNDLED_RELEASES, release_folder
from feature_graph.config import Config
from feature_graph.pipeline.fingerprint import FileMark, combined, mark_files
from feature_graph.pipeline.manifest import Manifest, StageRecord
from feature_graph.pipeline.stages import Stage


@dataclass(frozen=True)
class Situation:
    """What a stage would run on now.

    Attributes:
        config_hash: Hash of its part of the configuration.
        block_hash: The same without what is applied after the blocks.
        config: That part.
        inputs: Name → sha256 of what it reads; an input that does not exist is missing here.
        sources: Marks of the local files that ``inputs`` come from.
    """

    config_hash: str
    block_hash: str
    config: dict[str, object]
    inputs: dict[str, str]
    sources: dict[str, FileMark]


def situation(stage: Stage, cfg: Config, root: Path, manifest: Manifest) -> Situation:
    """Look at the configuration and the files as they are now."""
    inputs: dict[str, str] = {}
    sources: dict[str, FileMark] = {}
    for name in stage.inputs:
        if (root / name).is_file():
            inputs[name] = FileMark.of(root / name, _known(manifest, name)).sha256
    for field in stage.sources:
        names = cfg.releases if field == "sae_release" else [str(getattr(cfg, field))]
        marks = mark_files([path for name in names for path in _local(field, name)], manifest.sources)
        if marks:
            inputs[field] = combined(marks)
            sources |= marks
    return Situation(stage.config_hash(cfg), stage.block_hash(cfg), stage.config_part(cfg), inputs, sources)


def why_stale(stage: Stage, cfg: Config, root: Path, manifest: Manifest) -> str:
    """Why the stage has to be done; empty if its artifacts are up to date."""
    record = manifest.stages.get(stage.name)
    if record is None:
        return "not done yet"
    now = situation(stage, cfg, root, manifest)
    changed = _changed_config(record, now.config) or (
        "this program computes it differently" if record.config_hash != now.config_hash else ""
    )
    if changed:
        return changed
    other = [name for name in sorted({*record.inputs, *now.inputs}) if record.inputs.get(name) != now.inputs.get(name)]
    if other:
        return "what it reads changed: " + ", ".join(other)
    if record.state != "done":
        return {"running": "was cut off", "failed": "failed last time", "interrupted": "was interrupted"}[record.state]
    return _changed_artifact(stage, record, root)


def _changed_config(record: StageRecord, values: Mapping[str, object]) -> str:
    names = [n for n in sorted({*record.config, *values}) if record.config.get(n) != values.get(n)]
    return ", ".join(f"{n} {record.config.get(n)!r} → {values.get(n)!r}" for n in names)


def _changed_artifact(stage: Stage, record: StageRecord, root: Path) -> str:
    for name in stage.outputs:
        mark = record.artifacts.get(name)
        if not (root / name).is_file() or mark is None:
            return f"{name} is missing"
        if FileMark.of(root / name, mark).sha256 != mark.sha256:
            return f"{name} is not what this stage wrote"
    return ""


def _known(manifest: Manifest, name: str) -> FileMark | None:
    for record in manifest.stages.values():
        if name in record.artifacts:
            return record.artifacts[name]
    return None


def _local(field: str, value: str) -> list[Path]:
    """Local files that a configuration value refers to: a folder or file of the user, or the bundled dictionaries."""
    if field == "sae_release" and value in BUNDLED_RELEASES:
        return [release_folder(value)]
    path = Path(value).expanduser()
    return [path] if path.exists() else []
