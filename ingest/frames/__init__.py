"""Your own edges as a run directory: from data frames, or from CSV, Parquet and GraphML files. docs/howto-own-edges.md shows how."""

from ingest.frames.files import is_edges, read_frames
from ingest.frames.write import from_frames

__all__ = [
    "from_frames",
    "is_edges",
    "read_frames",
]
