"""The cache of part files: what a long computation has made so far, trusted only under the key that it was made with.

Each part is one file that carries its key: a hash of everything that its contents depend on. A part with another key, or one that cannot
be read, is made again. Files are written under another name and renamed, so that a killed process leaves no half part.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_graph.artifacts.errors import ArtifactError
from feature_graph.utils import whole_file, write_json

log = logging.getLogger(__name__)
T = TypeVar("T")
#: What readers say of a file that is damaged.
_DAMAGE = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile)


class PartFormat(Protocol[T]):
    """How a part lies on disk.

    Attributes:
        suffix: Ending of its file, with the dot.
    """

    suffix: str

    def write(self, path: Path, value: T, key: str) -> None:
        """Write a part with its key."""
        ...

    def read_key(self, path: Path) -> str:
        """The key it was written with; "" if there is none."""
        ...

    def read(self, path: Path) -> T:
        """What was written."""
        ...


class PartFiles(Generic[T]):
    """A folder of part files.

    Args:
        folder: Where they lie, made at the first part; None keeps nothing.
        key: Hash of everything that the parts depend on; parts with another one are made again.
        form: How they lie on disk.
    """

    def __init__(self, folder: Path | None, key: str, form: PartFormat[T]) -> None:
        self.folder, self.key, self._form = folder, key, form

    def has(self, name: str) -> bool:
        """Whether a part with the right key lies there."""
        if self.folder is None or not self.path(name).is_file():
            return False
        try:
            return self._form.read_key(self.path(name)) == self.key
        except _DAMAGE as error:
            return self._damaged(name, error)

    def intact(self, name: str) -> bool:
        """Whether a part with the right key lies there and can be read to its end: what :meth:`has` says of the key, of all of it."""
        return self.load(name) is not None

    def load(self, name: str) -> T | None:
        """The part, or None if it must be made (again)."""
        if not self.has(name):
            return None
        try:
            return self._form.read(self.path(name))
        except _DAMAGE as error:
            self._damaged(name, error)
            return None

    def save(self, name: str, value: T) -> None:
        """Keep a part, whole or not at all."""
        if self.folder is not None:
            with whole_file(self.path(name)) as part:
                self._form.write(part, value, self.key)

    def get(self, name: str, make: Callable[[], T]) -> T:
        """The part, made and kept if it does not lie there."""
        found = self.load(name)
        if found is None:
            found = make()
            self.save(name, found)
        return found

    def path(self, name: str) -> Path:
        """Where a part lies, or would lie.

        Raises:
            ArtifactError: If parts are not kept.
        """
        if self.folder is None:
            raise ArtifactError(f"part {name}: parts are not kept; give a folder for them")
        return self.folder / f"{name}{self._form.suffix}"

    def remove(self) -> None:
        """Delete the part files, and the folder if nothing else lies in it."""
        if self.folder is None or not self.folder.is_dir():
            return
        for path in self.folder.glob(f"*{self._form.suffix}"):
            path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _damaged(self, name: str, error: Exception) -> bool:
        log.warning("%s is damaged (%s) and is made again", self.path(name), error)
        return False


class JsonParts:
    """Parts that are plain values, one JSON file each."""

    suffix = ".json"

    def write(self, path: Path, value: dict[str, Any], key: str) -> None:
        """See :class:`PartFormat`."""
        write_json(path, {"key": key, "result": value})

    def read_key(self, path: Path) -> str:
        """See :class:`PartFormat`."""
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])

    def read(self, path: Path) -> dict[str, Any]:
        """See :class:`PartFormat`."""
        return dict(json.loads(path.read_text(encoding="utf-8"))["result"])


class FrameParts:
    """Parts that are tables, one Parquet file each; pages carry checksums, so that a flipped byte is found when a part is read."""

    suffix = ".parquet"

    def write(self, path: Path, value: pd.DataFrame, key: str) -> None:
        """See :class:`PartFormat`."""
        table = pa.Table.from_pandas(value, preserve_index=False)
        with_key = table.replace_schema_metadata({**(table.schema.metadata or {}), b"key": key.encode()})
        pq.write_table(with_key, path, write_page_checksum=True)

    def read_key(self, path: Path) -> str:
        """See :class:`PartFormat`."""
        return str((pq.read_schema(path).metadata or {}).get(b"key", b"").decode())

    def read(self, path: Path) -> pd.DataFrame:
        """See :class:`PartFormat`."""
        return pq.read_table(path, page_checksum_verification=True).to_pandas()


class FrameFiles(PartFiles[pd.DataFrame]):
    """Part files that are tables, of which a column can be read alone."""

    def __init__(self, folder: Path | None, key: str) -> None:
        super().__init__(folder, key, FrameParts())

    def read(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A part that was made before, or some of its columns."""
        chosen = None if columns is None else list(columns)
        return pq.read_table(self.path(name), columns=chosen, page_checksum_verification=True).to_pandas()

    def rows_of(self, name: str) -> int:
        """Rows of a part."""
        return int(pq.read_metadata(self.path(name)).num_rows)

    def bytes_of(self, name: str) -> int:
        """Size of a part's file."""
        return self.path(name).stat().st_size


def keep_only(folder: Path, key: str) -> None:
    """Empty a folder of parts that were made under another key; the key lies next to them in ``key.json``."""
    mark = folder / "key.json"
    if folder.exists() and not (mark.is_file() and key in mark.read_text(encoding="utf-8")):
        log.info("%s: part files of another configuration are removed", folder)
        shutil.rmtree(folder)
    if not mark.is_file():
        write_json(mark, {"key": key})
