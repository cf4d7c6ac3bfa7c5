"""Part files: one block of documents each, trusted only if it was made from the same model, dictionaries, tokens and configuration."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.utils import whole_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedBlock:
    """What was recorded of a block of documents.

    Attributes:
        features: Layer → CSR [rows of the block, d_sae], active features.
        valid: bool [documents of the block, context], the tokens that are counted.
    """

    features: dict[int, sp.csr_matrix]
    valid: NDArray[np.bool_]


class Parts:
    """The part files of one folder.

    Args:
        folder: Where they lie; made if missing.
        key: Digest of everything the blocks depend on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key
        folder.mkdir(parents=True, exist_ok=True)

    def load(self, number: int, widths: Mapping[int, int]) -> RecordedBlock | None:
        """The block, or None if it must be made (again)."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                if str(file["key"]) != self._key:
                    log.info("%s was made from other inputs; the block is collected again", path.name)
                    return None
                valid = np.asarray(file["valid"], dtype=bool)
                arrays = {n: tuple(file[f"{n}/{name}"] for name in ("data", "indices", "indptr")) for n in widths}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            log.warning("%s cannot be read (%s); the block is collected again", path.name, error)
            return None
        return RecordedBlock({n: sp.csr_matrix(parts, shape=(len(parts[2]) - 1, widths[n])) for n, parts in arrays.items()}, valid)

    def save(self, number: int, block: RecordedBlock) -> None:
        """Keep a block, whole or not at all."""
        arrays = {f"{n}/{name}": getattr(m, name) for n, m in block.features.items() for name in ("data", "indices", "indptr")}
        with whole_file(self._path(number)) as part, part.open("wb") as handle:
            np.savez(handle, key=np.array(self._key), valid=block.valid, **arrays)

    def remove(self) -> None:
        """Delete the part files, and the folder if nothing else lies in it."""
        for path in self._folder.glob("block-*.npz"):
            path.unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / f"block-{number:06d}.npz"
