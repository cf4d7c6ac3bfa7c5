"""The base of what this package refuses."""

from __future__ import annotations

from typing import ClassVar


class SubgraphError(ValueError):
    """Behaviours or subgraphs that are not as they should be; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 1
