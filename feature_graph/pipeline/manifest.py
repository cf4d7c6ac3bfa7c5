"""``manifest.json``: what was done, when, from what, with which result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from feature_graph.pipeline.errors import ManifestError
from feature_graph.pipeline.fingerprint import FileMark
from feature_graph.utils import write_json

KIND, VERSION = "manifest", 1
State = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True)
class StageRecord:
    """What is known of one stage.

    Attributes:
        state: ``running`` also stands after a process was killed.
        config_hash: Hash of the stage's version and its part of the configuration.
        config: That part, so that a change can be named.
        inputs: Name → sha256 of what was read (files of the run directory, and local model, SAE or text files).
        started: ISO time.
        finished: ISO time; empty while not finished.
        seconds: Duration of the attempt that finished.
        rows: Rows of the main artifact.
        counts: Further figures.
        artifacts: File name → mark.
        error: What went wrong, if it did.
    """

    state: State
    config_hash: str
    config: dict[str, Any]
    inputs: dict[str, str]
    started: str
    finished: str = ""
    seconds: float = 0.0
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, FileMark] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``dataclasses.asdict``."""
        artifacts = {name: FileMark.from_dict(mark) for name, mark in values.pop("artifacts", {}).items()}
        return cls(**values, artifacts=artifacts)


@dataclass
class Manifest:
    """The record of a run directory.

    Attributes:
        seed: Seed of the run.
        config_hash: Hash over the whole configuration, without the fields that change only speed or place.
        created: ISO time of the first write.
        versions: Package → version that did the last stage.
        model: Name and weights hash.
        saes: Layer → what was really loaded.
        sae_quality: Layer → measured figures next to the published ones.
        sources: Absolute path → mark of local files (model, SAEs, text) the run read.
        stages: Stage → record.
    """

    seed: int = 0
    config_hash: str = ""
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    saes: dict[str, Any] = field(default_factory=dict)
    sae_quality: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, FileMark] = field(default_factory=dict)
    stages: dict[str, StageRecord] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest; an empty one if there is none yet.

        Raises:
            ManifestError: If the file is damaged or of another kind or version.
        """
        if not path.is_file():
            return cls(created=now())
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if (values.pop("kind"), values.pop("version")) != (KIND, VERSION):
                raise ManifestError(f"{path}: not a manifest of version {VERSION}; it was written by another version of this program")
            values.pop("updated", None)
            values["sources"] = {name: FileMark.from_dict(mark) for name, mark in values["sources"].items()}
            values["stages"] = {name: StageRecord.from_dict(record) for name, record in values["stages"].items()}
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ManifestError):
                raise
            raise ManifestError(f"{path} is damaged ({error!r}); delete it and run again: every stage is then run again") from error

    def save(self, path: Path) -> None:
        """Write the manifest whole or not at all."""
        write_json(path, {"kind": KIND, "version": VERSION, "updated": now()} | asdict(self))


def now() -> str:
    """The present time in UTC, ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
