"""How large a run will be in the store, and whether the disk has enough space: asked before the first write."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ingest.connection import Database
from ingest.errors import NotEnoughDisk

logger = logging.getLogger(__name__)

# Measured with every property (docs/performance.md). Logs are kept until the next checkpoint, at most 15 minutes away.
EDGE_BYTES, FEATURE_BYTES = 560, 2_500
LOG_EDGE_BYTES, LOG_MOST = 950, 12 * 10**9
_SPARE = 100 * 10**6


@dataclass(frozen=True)
class DiskSpace:
    """What a load needs, in bytes.

    Attributes:
        store: What stays in the store.
        logs: Transaction logs on top, while it is loaded.
        free: Free on the server's disk; None if the server is on another machine.
        folder: The server's data folder; empty if it is on another machine.
    """

    store: int
    logs: int
    free: int | None
    folder: str

    @property
    def needed(self) -> int:
        """Free bytes that there must be."""
        return self.store + self.logs + _SPARE


def expected_bytes(features: int, edges: int) -> tuple[int, int]:
    """Bytes in the store, and in transaction logs while loading, of so many features and edges."""
    return edges * EDGE_BYTES + features * FEATURE_BYTES, min(edges * LOG_EDGE_BYTES, LOG_MOST)


def space_for(database: Database, features: int, edges: int) -> DiskSpace:
    """What so many features and edges need, and what the server's disk has, if it is this machine's."""
    folder = _data_folder(database)
    return DiskSpace(*expected_bytes(features, edges), shutil.disk_usage(folder).free if folder else None, folder)


def check_space(database: Database, features: int, edges: int) -> DiskSpace:
    """The same, logged.

    Raises:
        NotEnoughDisk: If the disk has less than is needed.
    """
    space = space_for(database, features, edges)
    free = "the server's disk is not this machine's" if space.free is None else f"{_size(space.free)} are free"
    logger.info("%d features and %d edges take about %s in the store, %s of logs on the way; %s", features, edges, *_both(space), free)
    if space.free is not None and space.free < space.needed:
        raise NotEnoughDisk(
            f"the disk of {space.folder} has {_size(space.free)} free; {features} features and {edges} edges need about "
            f"{_size(space.needed)} ({_size(space.store)} in the store, {_size(space.logs)} of logs while loading). Nothing was written. "
            "Free some space, choose a home on another disk, or load a part (--limit, --min-strength, --top-k-per-source)"
        )
    return space


def _both(space: DiskSpace) -> tuple[str, str]:
    return _size(space.store), _size(space.logs)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"


def _data_folder(database: Database) -> str:
    """The server's data folder, if it lies on this machine; a container's path that happens to exist here holds no database."""
    rows = database.read("SHOW SETTINGS 'server.directories.data' YIELD value RETURN value")
    folder = str(rows[0]["value"]) if rows else ""
    return folder if folder and os.access(Path(folder) / "databases", os.R_OK) else ""
