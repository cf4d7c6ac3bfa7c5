"""The errors of models, dictionaries and text: what was got, what was expected, what to do."""

from __future__ import annotations

from typing import ClassVar


class LoadingError(RuntimeError):
    """A model, a dictionary or a text that cannot be loaded, or does not fit the others."""

    exit_code: ClassVar[int] = 1


class UnsupportedSAEError(LoadingError):
    """A kind of dictionary that this library does not analyse."""


class QualityError(LoadingError):
    """A dictionary that does not describe the residual stream it is put on."""
