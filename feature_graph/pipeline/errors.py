"""What can go wrong with the stages of a run; every message says what to do."""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """A run whose stages cannot be done as asked."""

    exit_code: ClassVar[int] = 1


class RunLocked(PipelineError, RuntimeError):
    """Another process writes into the run directory; the message says which."""


class ManifestError(PipelineError, ValueError):
    """A manifest that cannot be read; the message names it and says what to do."""


class StaleInput(PipelineError, ValueError):
    """A stage was asked for alone, but an earlier one is not up to date."""


class StageError(PipelineError, ValueError):
    """Stages were asked for that do not exist or exclude each other."""

    exit_code: ClassVar[int] = 2
