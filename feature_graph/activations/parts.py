"""Part files: one block of documents each, trusted only if it was made from the same model, dictionaries, tokens and configuration."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from feature_graph.activations.forward import Quality
from feature_graph.utils import whole_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Block:
    """Active features of a block of documents.

    Attributes:
        features: Layer → CSR [rows of the block, d_sae].
        quality: Layer → how well its dictionary does here.
    """

    features: dict[int, sp.csr_matrix]
    quality: dict[int, Quality]


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

    def load(self, number: int, widths: Mapping[int, int]) -> Block | None:
        """The block, or None if it must be made (again)."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if about["key"] != self._key:
                    log.info("%s was made from other inputs; the block is collected again", path.name)
                    return None
                arrays = {n: tuple(file[f"{n}/{name}"] for name in ("data", "indices", "indptr")) for n in widths}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            log.warning("%s cannot be read (%s); the block is collected again", path.name, error)
            return None
        features = {n: sp.csr_matrix(parts, shape=(len(parts[2]) - 1, widths[n])) for n, parts in arrays.items()}
        return Block(features, {int(n): Quality(**values) for n, values in about["quality"].items()})

    def save(self, number: int, block: Block) -> None:
        """Keep a block, whole or not at all."""
        about = {"key": self._key, "quality": {n: asdict(q) for n, q in block.quality.items()}}
        arrays = {f"{n}/{name}": getattr(m, name) for n, m in block.features.items() for name in ("data", "indices", "indptr")}
        with whole_file(self._path(number)) as part, part.open("wb") as handle:
            np.savez(handle, about=np.array(json.dumps(about)), **arrays)

    def remove(self) -> None:
        """Delete the part files, and the folder if nothing else lies in it."""
        for path in self._folder.glob("block-*.npz"):
            path.unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / f"block-{number:06d}.npz"
