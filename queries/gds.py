"""What the Graph Data Science library means when it fails: its own messages name classes of Java."""

from __future__ import annotations

import re

_PROCEDURE = re.compile(r"procedure `?(gds\.[\w.]+?)(?:\.(?:stream|mutate|write|stats))?`?:")
_CAUSE = re.compile(r"Caused by: [\w.]+(?:: (.*))?", re.DOTALL)
_JAVA = re.compile(r"Exception|org\.neo4j|Cannot invoke")


def gds_failure(error: BaseException) -> str | None:
    """One sentence for a failure of one of the library's procedures; None for any other error."""
    text = str(error)
    found = _PROCEDURE.search(text)
    if found is None:
        return None
    name = found[1]
    if "graphNameAsString" in text:  # nothing was projected, so there is no graph to name
        return f"{name} has nothing to compute on: the run has no edges of the kind asked for"
    if name == "gds.leiden" and "NullPointerException" in text:
        return (
            f"{name} has no weights to use: every edge asked for has the effect 0, as direct effects have that were not measured; "
            "ask for all edges by their totals (edges=all, --edges all), or for groups by wcc"
        )
    cause = _CAUSE.search(str(getattr(error, "message", None) or text))
    said = " ".join((cause[1] or "").split()) if cause else ""
    reason = f": {said[:200]}" if said and not _JAVA.search(said) else ""
    return f"{name} failed on the edges asked for{reason}; ask for other edges, or another measure"
