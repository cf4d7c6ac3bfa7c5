"""Part files: a block that was measured is read back instead of measured again, if everything it depends on is the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_graph.utils import whole_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """A folder of part files.

    Attributes:
        folder: Where they lie; None keeps nothing.
        key: Hash of everything that a block's result depends on. Parts with another key are measured again.
    """

    folder: Path | None
    key: str

    def has(self, name: str) -> bool:
        """Whether a trustworthy part lies there."""
        return self._read_key(name) == self.key

    def get(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The part ``name``, made and written if it does not lie there."""
        if self.folder is None:
            return make()
        if self.has(name):
            return pq.read_table(self._path(name)).to_pandas()
        frame = make()
        table = pa.Table.from_pandas(frame, preserve_index=False)
        with whole_file(self._path(name)) as part:
            pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"key": self.key.encode()}), part)
        return frame

    def read(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        """A part that was made before, or some of its columns."""
        return pq.read_table(self._path(name), columns=columns).to_pandas()

    def rows_of(self, name: str) -> int:
        """Rows of a part."""
        return int(pq.read_metadata(self._path(name)).num_rows)

    def bytes_of(self, name: str) -> int:
        """Size of a part's file."""
        return self._path(name).stat().st_size

    def _path(self, name: str) -> Path:
        if self.folder is None:
            raise ValueError("these parts are not kept")
        return self.folder / f"{name}.parquet"

    def _read_key(self, name: str) -> str:
        if self.folder is None or not self._path(name).is_file():
            return ""
        try:
            metadata = pq.read_schema(self._path(name)).metadata or {}
        except (pa.ArrowInvalid, OSError) as error:
            log.warning("%s is damaged (%s) and is measured again", self._path(name), error)
            return ""
        return str(metadata.get(b"key", b"").decode())
