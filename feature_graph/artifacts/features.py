"""The number of a feature within a run: its rank among the run's features, sorted by (layer, index).

Every stage that writes or reads a ``fid`` gets it here, so that features.parquet and interactions.parquet cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from feature_graph.artifacts.errors import ArtifactError
from feature_graph.artifacts.site_keys import keys_in
from feature_graph.artifacts.sites import feature_id


@dataclass(frozen=True)
class FeatureNumbers:
    """Distinct features, sorted by (layer, index); the position of a feature is its ``fid``.

    Attributes:
        layers: int64 [n], keys of the sites.
        indices: int64 [n].
    """

    layers: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def ids(self) -> list[str]:
        """Short ids, in order of ``fid``."""
        return [feature_id(layer, index) for layer, index in zip(self.layers.tolist(), self.indices.tolist(), strict=True)]

    def fids(self, layers: ArrayLike, indices: ArrayLike) -> NDArray[np.int64]:
        """The ``fid`` of each (layer, index) given.

        Raises:
            ArtifactError: If a feature is not numbered.
        """
        wanted = _keys(layers, indices)
        known = _keys(self.layers, self.indices)
        found = np.searchsorted(known, wanted)
        lost = found == len(known)
        lost[~lost] = known[found[~lost]] != wanted[~lost]
        if lost.any():
            names = [feature_id(int(key >> 32), int(key & 0xFFFFFFFF)) for key in wanted[lost][:5]]
            raise ArtifactError(f"features without a number: {int(lost.sum())}, such as {names}; number them with number_features")
        return found.astype(np.int64)

    def of_layer(self, layer: int) -> NDArray[np.int64]:
        """Indices of the numbered features of one layer, ascending."""
        return self.indices[self.layers == layer]


def number_features(layers: ArrayLike, indices: ArrayLike) -> FeatureNumbers:
    """Number the distinct features among those given (doubles are fine)."""
    keys = np.unique(_keys(layers, indices))
    return FeatureNumbers(keys >> 32, keys & 0xFFFFFFFF)


def number_pairs(frame: pd.DataFrame) -> FeatureNumbers:
    """Number every source and every target of a table of pairs (columns src_layer, src_index, tgt_layer, tgt_index)."""
    layers = np.concatenate([keys_in(frame, "src"), keys_in(frame, "tgt")])
    indices = np.concatenate([frame["src_index"].to_numpy(np.int64), frame["tgt_index"].to_numpy(np.int64)])
    return number_features(layers, indices)


def _keys(layers: ArrayLike, indices: ArrayLike) -> NDArray[np.int64]:
    return (np.asarray(layers, dtype=np.int64).ravel() << 32) | np.asarray(indices, dtype=np.int64).ravel()
