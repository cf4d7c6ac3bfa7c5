"""What was recorded of one block of documents, and how it is kept until all blocks are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


@dataclass(frozen=True)
class RecordedBlock:
    """What was recorded of a block of documents.

    Attributes:
        features: Layer → CSR [rows of the block, d_sae], active features.
        valid: bool [documents of the block, context], the tokens that are counted.
    """

    features: dict[int, sp.csr_matrix]
    valid: NDArray[np.bool_]


class BlockParts:
    """Blocks as part files, one NumPy archive each.

    Args:
        widths: Layer → features of its dictionary.
    """

    suffix = ".npz"

    def __init__(self, widths: Mapping[int, int]) -> None:
        self._widths = dict(widths)

    def write(self, path: Path, value: RecordedBlock, key: str) -> None:
        """See :class:`feature_graph.artifacts.PartFormat`."""
        arrays = {f"{n}/{name}": getattr(m, name) for n, m in value.features.items() for name in ("data", "indices", "indptr")}
        with path.open("wb") as handle:
            np.savez(handle, key=np.array(key), valid=value.valid, **arrays)

    def read_key(self, path: Path) -> str:
        """See :class:`feature_graph.artifacts.PartFormat`."""
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return str(file["key"])

    def read(self, path: Path) -> RecordedBlock:
        """See :class:`feature_graph.artifacts.PartFormat`."""
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            valid = np.asarray(file["valid"], dtype=bool)
            arrays = {n: tuple(file[f"{n}/{name}"] for name in ("data", "indices", "indptr")) for n in self._widths}
        return RecordedBlock({n: sp.csr_matrix(parts, shape=(len(parts[2]) - 1, self._widths[n])) for n, parts in arrays.items()}, valid)
