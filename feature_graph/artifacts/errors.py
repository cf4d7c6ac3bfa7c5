"""The one error of this folder."""

from __future__ import annotations

from typing import ClassVar


class ArtifactError(ValueError):
    """A file that is not what it should be; the message names it, what was got, what was expected and what to do."""

    exit_code: ClassVar[int] = 1


class SiteError(ArtifactError):
    """Sites that no model has, or that do not go together; the message names them."""

    exit_code: ClassVar[int] = 2


class FeatureIdError(ArtifactError):
    """A text that is not a feature id; the message says how one looks."""

    exit_code: ClassVar[int] = 2
