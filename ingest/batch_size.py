"""How many rows a transaction carries: between one block and a ceiling, less after a memory error, slowly more after successes."""

from __future__ import annotations

import logging
from threading import Lock

from ingest.rundir import BLOCK_ROWS

logger = logging.getLogger(__name__)

#: Rows of the first transactions, and the most that one carries: more does not make a server faster, and costs it memory.
FIRST_ROWS, MOST_ROWS = 10_000, 20_000
#: Bytes of a transaction's rows in memory, whatever their number.
MOST_BYTES = 16 * 2**20
_SUCCESSES_BEFORE_MORE = 4


class BatchSize:
    """Rows per transaction, shared by all writers of a load.

    Args:
        most: Rows that a transaction carries at most.
    """

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = max(most, BLOCK_ROWS)
        self._rows = min(FIRST_ROWS, self._most)
        self._successes = 0
        self._lock = Lock()

    @property
    def rows(self) -> int:
        """Rows that the next transaction may carry."""
        return self._rows

    def succeeded(self) -> None:
        """A transaction was committed."""
        with self._lock:
            self._successes += 1
            if self._successes >= _SUCCESSES_BEFORE_MORE and self._rows < self._most:
                self._rows, self._successes = min(self._rows + BLOCK_ROWS, self._most), 0

    def out_of_memory(self, rows: int) -> None:
        """The server had too little memory for a transaction of so many rows."""
        with self._lock:
            self._rows, self._successes = max(BLOCK_ROWS, min(self._rows, rows) // 2), 0
        logger.warning("the server has too little memory for %d rows at once; going on with %d", rows, self._rows)
