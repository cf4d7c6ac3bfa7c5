"""Part files of responses: half-means of a block of sources at every later site, packed as they lie in ``responses.h5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts.responses import pack


@dataclass(frozen=True)
class ResponseBlock:
    """Half-means of a block of sources.

    Attributes:
        values: float16 [later sites, sources, 2, d_model].
        scale: float32 [later sites, sources, 2].
    """

    values: NDArray[np.float16]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, means: NDArray[np.floating[Any]]) -> Self:
        """Pack half-means [later sites, sources, 2, d_model].

        Raises:
            ArtifactError: If a value cannot be stored.
        """
        return cls(*pack(means))


class ResponseParts:
    """Blocks as part files, one NumPy archive each."""

    suffix = ".npz"

    def write(self, path: Path, value: ResponseBlock, key: str) -> None:
        """See :class:`feature_graph.artifacts.PartFormat`."""
        with path.open("wb") as handle:
            np.savez(handle, key=np.array(key), values=value.values, scale=value.scale)

    def read_key(self, path: Path) -> str:
        """See :class:`feature_graph.artifacts.PartFormat`."""
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return str(file["key"])

    def read(self, path: Path) -> ResponseBlock:
        """See :class:`feature_graph.artifacts.PartFormat`."""
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return ResponseBlock(file["values"], file["scale"])
