"""Doing the stages: what is up to date is left alone, what was cut off goes on, what changed is done again.

1. The run directory is locked and the configuration saved.
2. Stage by stage, ``plan.why_stale`` compares the files and the configuration with the manifest.
3. A stale stage is recorded as running. Part files of an earlier attempt with the same key (what the blocks depend on: inputs and the
   configuration) are kept, so that the stage resumes where it was cut off; those with another key are removed.
4. When it ends well its artifacts are hashed into the manifest; only then are the part files removed (those of measuring are kept: another
   significance level then needs no measuring).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from feature_graph.artifacts import RunPaths, keep_only
from feature_graph.config import Config
from feature_graph.pipeline.errors import StageError, StaleInput
from feature_graph.pipeline.fingerprint import FileMark
from feature_graph.pipeline.lock import locked
from feature_graph.pipeline.manifest import Manifest, StageRecord, now
from feature_graph.pipeline.plan import Situation, situation, why_stale
from feature_graph.pipeline.stage_functions import STAGE_FUNCTIONS, RunContext, StageFunctions, StageResult
from feature_graph.pipeline.stages import STAGE_NAMES, Stage, StageName, stage_named, stages_of
from feature_graph.utils import set_seed, sha256_json

log = logging.getLogger(__name__)

PACKAGES = ("feature-graph", "torch", "transformer-lens", "sae-lens", "transformers", "numpy", "scipy", "statsmodels", "h5py", "pyarrow")


@dataclass(frozen=True)
class StageOutcome:
    """What became of one stage in this call.

    Attributes:
        stage: Its name.
        action: ``done`` now, or ``kept`` because it was up to date.
        reason: Why it was done; empty if kept.
        seconds: Duration (of the attempt that made the artifacts, if kept).
        rows: Rows of its main artifact.
        counts: Further figures.
    """

    stage: StageName
    action: Literal["done", "kept"]
    reason: str
    seconds: float
    rows: int
    counts: dict[str, int]


@dataclass(frozen=True)
class RunResult:
    """What :func:`run` did.

    Attributes:
        run_dir: The run directory.
        outcomes: One per stage, in order; stages that were not asked for are missing.
    """

    run_dir: Path
    outcomes: tuple[StageOutcome, ...]

    @property
    def done(self) -> list[StageName]:
        """Stages that were done in this call."""
        return [outcome.stage for outcome in self.outcomes if outcome.action == "done"]


def run(cfg: Config, only: StageName | None = None, from_: StageName | None = None) -> RunResult:
    """Bring the run directory ``cfg.output_dir`` up to date.

    Args:
        cfg: The configuration. Another one than last time is fine: what depends on the change is done again.
        only: Do this stage and no other.
        from_: Do this stage and all after it again, even if up to date.

    Raises:
        StageError: If a stage is unknown, or both arguments are given.
        StaleInput: If a stage before ``only`` or ``from_`` is not up to date.
        RunLocked: If another process writes into the run directory.
        ManifestError: If the manifest is damaged.
        BehaviorError: If a behaviour is unknown or its file is malformed.
    """
    from feature_graph.subgraphs.behaviors import find_behavior

    for name in cfg.behaviors:  # said now, not after hours of measuring
        find_behavior(name)
    return run_with(STAGE_FUNCTIONS, cfg, only, from_)


def run_with(work: StageFunctions, cfg: Config, only: StageName | None = None, from_: StageName | None = None) -> RunResult:
    """:func:`run` with other work in the stages: what each stage does is given by ``work``."""
    if only is not None and from_ is not None:
        raise StageError("only, from_: got both; give one of them")
    wanted = _wanted(cfg, only, from_)
    paths = RunPaths.of(cfg.output_dir)
    with locked(paths.lock):
        _sweep(paths)
        manifest = Manifest.load(paths.manifest)
        _check_earlier(wanted[0], cfg, paths, manifest)
        _save_config(cfg, paths)
        if from_ is not None:
            _forget(wanted, paths, manifest)
        context = RunContext(cfg, paths)
        outcomes = [_bring_up_to_date(stage, work, context, manifest) for stage in wanted]
    return RunResult(paths.root, tuple(outcomes))


def _wanted(cfg: Config, only: str | None, from_: str | None) -> list[Stage]:
    first = STAGE_NAMES.index(stage_named(only or from_ or STAGE_NAMES[0]).name)
    found = [stage for stage in stages_of(cfg) if STAGE_NAMES.index(stage.name) >= first]
    if only is None:
        return found
    return found[:1] if found and found[0].name == only else [stage_named(only)]  # one that the run leaves out may be asked for by name


def _before(stage: Stage, cfg: Config) -> list[Stage]:
    at = STAGE_NAMES.index(stage.name)
    return [earlier for earlier in stages_of(cfg) if STAGE_NAMES.index(earlier.name) < at]


def _sweep(paths: RunPaths) -> None:
    """Remove the half files (``utils.whole_file``) that a killed process left; nobody else writes here while we hold the lock."""
    for half in [*paths.root.glob(".*.part"), *paths.root.glob("*.parts/.*.part")]:
        half.unlink()


def _check_earlier(first: Stage, cfg: Config, paths: RunPaths, manifest: Manifest) -> None:
    for stage in _before(first, cfg):
        reason = why_stale(stage, cfg, paths.root, manifest)
        if reason and set(stage.outputs) & _needs(first, cfg):
            raise StaleInput(f"{first.name} needs {stage.name}, which is not up to date in {paths.root} ({reason}); run {stage.name} first")


def _needs(stage: Stage, cfg: Config) -> set[str]:
    """Files the stage reads, directly or through the stages that make them."""
    files = set(stage.inputs)
    for earlier in reversed(_before(stage, cfg)):
        if files & set(earlier.outputs):
            files |= set(earlier.inputs)
    return files


def _save_config(cfg: Config, paths: RunPaths) -> None:
    if paths.config.is_file():
        old = Config.load(paths.config).model_dump()
        changed = [name for name, value in cfg.model_dump().items() if old[name] != value]
        if changed:
            log.info("configuration changed since the last run here: %s", ", ".join(changed))
    cfg.save(paths.config)


def _forget(stages: list[Stage], paths: RunPaths, manifest: Manifest) -> None:
    for stage in stages:
        manifest.stages.pop(stage.name, None)
        shutil.rmtree(paths.parts(stage.name), ignore_errors=True)
    manifest.save(paths.manifest)


def _bring_up_to_date(stage: Stage, work: StageFunctions, context: RunContext, manifest: Manifest) -> StageOutcome:
    reason = why_stale(stage, context.cfg, context.paths.root, manifest)
    if not reason:
        record = manifest.stages[stage.name]
        log.info("%s: up to date", stage.name)
        return StageOutcome(stage.name, "kept", "", record.seconds, record.rows, record.counts)
    log.info("%s: begun (%s): %s", stage.name, reason, stage.meaning)
    record = _do(stage, work, context, manifest)
    made = ", ".join(str(context.paths.root / name) for name in stage.outputs)
    log.info("%s: finished in %.1f s, %s rows: %s", stage.name, record.seconds, f"{record.rows:,}", made)
    return StageOutcome(stage.name, "done", reason, record.seconds, record.rows, record.counts)


def _do(stage: Stage, work: StageFunctions, context: RunContext, manifest: Manifest) -> StageRecord:
    paths = context.paths
    here = situation(stage, context.cfg, paths.root, manifest)
    keep_only(paths.parts(stage.name), _key(here))
    record = StageRecord("running", here.config_hash, dict(here.config), here.inputs, now())
    _note(manifest, stage, record, context, here)
    begun = time.monotonic()
    with _failure_noted(manifest, stage, record, context):
        set_seed(context.cfg.seed)
        done = work[stage.name](context)
        marks = {name: FileMark.of(paths.root / name) for name in stage.outputs}
    seconds = round(time.monotonic() - begun, 3)
    record = replace(record, state="done", finished=now(), seconds=seconds, rows=done.rows, counts=dict(done.counts), artifacts=marks)
    _note(manifest, stage, record, context, here, done)
    if not stage.finishing:
        shutil.rmtree(paths.parts(stage.name), ignore_errors=True)
    return record


def _key(here: Situation) -> str:
    return sha256_json({"config": here.block_hash, "inputs": here.inputs})


@contextmanager
def _failure_noted(manifest: Manifest, stage: Stage, record: StageRecord, context: RunContext) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        state: Literal["interrupted", "failed"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        manifest.stages[stage.name] = replace(record, state=state, finished=now(), error=f"{type(error).__name__}: {error}")
        manifest.save(context.paths.manifest)
        raise


def _note(
    manifest: Manifest, stage: Stage, record: StageRecord, context: RunContext, here: Situation, done: StageResult | None = None
) -> None:
    manifest.stages[stage.name] = record
    manifest.seed, manifest.config_hash = context.cfg.seed, context.cfg.digest()
    manifest.versions = package_versions()
    manifest.sources |= here.sources
    if done is not None:
        for name, value in done.facts.items():
            setattr(manifest, name, value)
    manifest.save(context.paths.manifest)


def package_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed versions, without importing anything; packages that are not installed are missing."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
