"""What a file holds, by hash, without reading a file again that has not been touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from feature_graph.utils import sha256_file, sha256_json


@dataclass(frozen=True)
class FileMark:
    """A file's content and the traces by which a change is noticed.

    Attributes:
        sha256: Hex sha256 of the bytes.
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds.
    """

    sha256: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, known: FileMark | None = None) -> Self | FileMark:
        """Mark a file; ``known`` is given back as it is if size and time of change are still the same."""
        stat = path.stat()
        if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return known
        return cls(sha256_file(path), stat.st_size, stat.st_mtime_ns)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(str(values["sha256"]), int(values["size"]), int(values["mtime_ns"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def mark_files(paths: Iterable[Path], known: Mapping[str, FileMark]) -> dict[str, FileMark]:
    """Absolute path → mark, for files and for every file below the folders given; ``known`` saves reading."""
    found = {}
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = str(file.resolve())
            found[name] = FileMark.of(file, known.get(name))
    return found


def combined(marks: Mapping[str, FileMark]) -> str:
    """One hash over several files: their names and contents."""
    return sha256_json(sorted([Path(name).parent.name, Path(name).name, mark.sha256] for name, mark in marks.items()))
