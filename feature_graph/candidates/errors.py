"""The error of choosing."""

from __future__ import annotations

from typing import ClassVar


class CandidateError(ValueError):
    """Candidates that cannot be chosen from what was given; the message says what does not fit and what to do."""

    exit_code: ClassVar[int] = 1
