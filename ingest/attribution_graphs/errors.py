"""What can be wrong with an attribution graph."""

from __future__ import annotations

from ingest.errors import IngestError


class GraphError(IngestError, ValueError):
    """A file that is no attribution graph, a damaged one, or several that do not go together; and what is expected."""
