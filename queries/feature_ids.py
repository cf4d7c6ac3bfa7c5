"""Feature ids as people type them; the one reader and writer of ids is ``ingest.feature_ids``, which nothing here may import."""

from __future__ import annotations

import re

_SITE = r"(?P<site>(?:\.[A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*?)?)"
_LOOSE = re.compile(rf"\s*[Ll]?0*(?P<layer>\d{{1,10}}){_SITE}[\s_:/-]*[Ff]0*(?P<index>\d{{1,10}})\s*")


def meant(text: str) -> str | None:
    """The id that a text stands for, mistyped (``l15_f2184``, ``L5F12``) or not; None if there is no telling."""
    match = _LOOSE.fullmatch(text)
    return None if match is None else f"L{match['layer']}{match['site']}_F{match['index']}"


def layer_of(text: str) -> int | None:
    """The layer that an id names."""
    match = re.match(r"L(\d{1,10})(?=[._])", text)
    return None if match is None else int(match[1])
