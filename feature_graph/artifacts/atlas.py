"""The co-activation atlas: for every ordered layer pair inside the window, how often two features are active together.

Stored are counts; probabilities are derived on access. Counts come from the select documents only, so that what chooses a pair is not
what tests it.

At 24,576 features and a million tokens one layer pair has tens of millions of stored pairs. So an atlas that lies in a file is read one
layer pair at a time, and :class:`AtlasWriter` writes it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import h5py
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts.hdf5 import mark, open_artifact, read_csr, write_csr
from feature_graph.artifacts.site_keys import BySite, as_key, read_key
from feature_graph.utils import whole_file

KIND, VERSION = "atlas", 1
LayerPair = tuple[int, int]


class Derived(Mapping[LayerPair, sp.csr_matrix]):
    """(source layer, target layer) → sparse matrix [source features, target features], computed from counts on access."""

    def __init__(self, pairs: list[LayerPair], compute: Callable[[LayerPair], sp.csr_matrix]) -> None:
        self._pairs = pairs
        self._compute = compute

    def __getitem__(self, pair: LayerPair) -> sp.csr_matrix:
        if pair not in self._pairs:
            raise KeyError(f"layer pair {pair} is not in the atlas; it has {self._pairs}")
        return self._compute(pair)

    def __iter__(self) -> Iterator[LayerPair]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class LazyPairs(Mapping[LayerPair, sp.csr_matrix]):
    """(source layer, target layer) → counts, read from the file on access; one layer pair is kept in memory at a time."""

    def __init__(self, path: Path, name: str, pairs: list[LayerPair]) -> None:
        self._path, self._name, self._pairs = path, name, pairs
        self._kept: tuple[LayerPair, sp.csr_matrix] | None = None

    def __getitem__(self, pair: LayerPair) -> sp.csr_matrix:
        if pair not in self._pairs:
            raise KeyError(f"layer pair {pair} is not in the atlas; it has {self._pairs}")
        if self._kept is None or self._kept[0] != pair:
            self._kept = None  # freed before the next one is read
            with open_artifact(self._path, KIND, VERSION) as file:
                self._kept = (pair, read_csr(file[f"{self._name}/{as_key(pair[0])}-{as_key(pair[1])}"]))
        return self._kept[1]

    def __iter__(self) -> Iterator[LayerPair]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


@dataclass(frozen=True)
class CoactivationAtlas:
    """Joint and single counts of active features.

    Attributes:
        counts: (source layer, target layer) → CSR int32 [d_source, d_target]: tokens at which both are active. From a file: read on access.
        later_counts: The same for "source active here, target active at one or more of the next ``horizon`` positions".
        active: Layer → int64 [d_sae]: tokens at which the feature is active.
        n_tokens: Tokens counted (select documents).
        horizon: Later positions looked at.
        min_count: Pairs whose two counts are both lower are not stored; 1 = every pair seen together at all.
    """

    counts: Mapping[LayerPair, sp.csr_matrix]
    later_counts: Mapping[LayerPair, sp.csr_matrix]
    active: dict[int, NDArray[np.int64]]
    n_tokens: int
    horizon: int
    min_count: int = 1
    layer_pairs: list[LayerPair] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_pairs", sorted(self.counts))

    @property
    def pmi(self) -> Mapping[LayerPair, sp.csr_matrix]:
        """Pointwise mutual information log P(i,j) / (P(i) P(j)) in nats, where the joint count is positive."""
        return Derived(self.layer_pairs, self._pmi)

    @property
    def conditional(self) -> Mapping[LayerPair, sp.csr_matrix]:
        """P(target active | source active) at the same position."""
        return Derived(self.layer_pairs, lambda pair: self._scaled(pair, target=False))

    @property
    def ratio(self) -> Mapping[LayerPair, sp.csr_matrix]:
        """P(target active | source active) / P(target active)."""
        return Derived(self.layer_pairs, lambda pair: self._scaled(pair, target=True))

    def _scaled(self, pair: LayerPair, *, target: bool) -> sp.csr_matrix:
        counts = self.counts[pair].tocoo()
        values = counts.data / self.active[pair[0]][counts.row]
        if target:
            values = values * self.n_tokens / self.active[pair[1]][counts.col]
        return sp.csr_matrix((values, (counts.row, counts.col)), shape=counts.shape)

    def _pmi(self, pair: LayerPair) -> sp.csr_matrix:
        ratio = self._scaled(pair, target=True)
        ratio.data = np.log(ratio.data)
        return ratio

    def save(self, path: str | Path) -> None:
        """Write the atlas as HDF5."""
        with whole_file(path) as part, AtlasWriter(part, self.n_tokens, self.horizon, self.min_count) as writer:
            for pair in self.layer_pairs:
                writer.append(pair, self.counts[pair], self.later_counts[pair])
            writer.finish(self.active)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open an atlas; its counts are read one layer pair at a time.

        Raises:
            ArtifactError: If the file is missing, damaged, or of another kind or version.
        """
        path = Path(path)
        with open_artifact(path, KIND, VERSION) as file:
            active = BySite((read_key(layer), file["active"][layer][:]) for layer in file.get("active", {}))
            pairs = {name: sorted(_pair(key) for key in file.get(name, {})) for name in ("counts", "later_counts")}
            scalars = (int(file.attrs[name]) for name in ("n_tokens", "horizon", "min_count"))
            return cls(LazyPairs(path, "counts", pairs["counts"]), LazyPairs(path, "later_counts", pairs["later_counts"]), active, *scalars)


class AtlasWriter:
    """Writes an atlas one layer pair at a time. Use as a context manager.

    Args:
        path: A new file.
        n_tokens: As in :class:`CoactivationAtlas`, like the others.
        horizon: Later positions looked at.
        min_count: Lowest count stored.
    """

    def __init__(self, path: str | Path, n_tokens: int, horizon: int, min_count: int) -> None:
        self._file = h5py.File(path, "w")
        mark(self._file, KIND, VERSION)
        self._file.attrs["n_tokens"], self._file.attrs["horizon"], self._file.attrs["min_count"] = n_tokens, horizon, min_count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, pair: LayerPair, counts: sp.csr_matrix, later: sp.csr_matrix) -> None:
        """Add the counts of one layer pair."""
        for name, matrix in (("counts", counts), ("later_counts", later)):
            write_csr(self._file.create_group(f"{name}/{as_key(pair[0])}-{as_key(pair[1])}"), matrix)

    def finish(self, active: Mapping[int, NDArray[np.int64]]) -> None:
        """Add how often each feature is active."""
        for layer, counts in active.items():
            self._file.create_dataset(f"active/{as_key(layer)}", data=counts)


def _pair(key: str) -> LayerPair:
    source, target = key.split("-")
    return read_key(source), read_key(target)
