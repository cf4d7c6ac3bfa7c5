"""Disk: what the run will take, foretold from its first block, and a stop before the disk is full."""

from __future__ import annotations

import logging
import shutil

from feature_graph.artifacts import FrameFiles
from feature_graph.config import Config
from feature_graph.interactions.errors import MeasureError

log = logging.getLogger(__name__)
#: Bytes of a written edge in interactions.parquet (measured: 105 to 140 after compression).
EDGE_BYTES = 150
#: Left free for the rest of the machine.
RESERVE = 1 << 30


class DiskWatch:
    """Compares what the blocks so far took with what is left.

    Args:
        parts: Where part files lie.
        n_tests: Pairs in all.
        cfg: The configuration.
        n_targets: Features that can be targets, for the cut a target.
    """

    def __init__(self, parts: FrameFiles, n_tests: int, cfg: Config, n_targets: int) -> None:
        self._parts, self._n_tests, self._cap = parts, n_tests, cfg.max_edges_per_target
        self._n_targets = n_targets
        self._tests = self._rows = self._bytes = 0

    def look(self, name: str, rows: int, tests: int) -> None:
        """Take note of a block; the first one, and every one that changes the picture, is compared with the disk.

        Raises:
            MeasureError: If what is expected does not fit. Blocks measured so far stay, and a later run goes on from them.
        """
        first = self._tests == 0
        self._tests, self._rows = self._tests + tests, self._rows + rows
        self._bytes += self._parts.bytes_of(name)
        to_come = max(self._n_tests - self._tests, 0) / self._tests
        all_rows = self._rows * (1 + to_come)
        edges = all_rows if self._cap is None else min(all_rows, self._cap * self._n_targets)
        needed = self._bytes * to_come + edges * EDGE_BYTES
        free = shutil.disk_usage(self._parts.folder or ".").free
        if first:
            share = self._rows / self._tests
            log.info("%.1f %% of pairs are kept; about %.2f GB of disk are needed, %.1f GB are free", 100 * share, needed / 1e9, free / 1e9)
        if needed > free - RESERVE:
            raise MeasureError(
                f"disk: about {needed / 1e9:.1f} GB are needed ({all_rows:.3g} rows), {free / 1e9:.1f} GB are free at "
                f"{self._parts.folder}. "
                "Set max_edges_per_target, raise min_effect or lower significance_level, or give the run another disk"
            )
