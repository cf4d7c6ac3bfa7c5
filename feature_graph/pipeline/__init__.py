"""The stages of a run in order, each resumed from its artifact in the run directory.

``run(cfg)`` does what is not done yet: collect → atlas → candidates → measure → graph → behaviors → report. A stage is left alone when the
files it reads, the part of the configuration it depends on and its own artifacts are what they were (``manifest.json`` says what).
"""

from feature_graph.pipeline.errors import ManifestError, PipelineError, RunLocked, StaleInput
from feature_graph.pipeline.lock import locked
from feature_graph.pipeline.manifest import Manifest, StageRecord
from feature_graph.pipeline.runner import RunResult, StageOutcome, package_versions, run
from feature_graph.pipeline.stages import STAGE_NAMES, STAGES, Stage, StageName, stages_of
from feature_graph.pipeline.status import RunStatus, StageStatus, status
from feature_graph.pipeline.vectors import write_decoders

__all__ = [
    "STAGES",
    "STAGE_NAMES",
    "Manifest",
    "ManifestError",
    "PipelineError",
    "RunLocked",
    "RunResult",
    "RunStatus",
    "Stage",
    "StageName",
    "StageOutcome",
    "StageRecord",
    "StageStatus",
    "StaleInput",
    "locked",
    "package_versions",
    "run",
    "stages_of",
    "status",
    "write_decoders",
]
