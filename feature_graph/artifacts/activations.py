"""Recorded feature activations: how active each feature was at each (document, position).

Rows of every matrix are ``document * context_length + position``. Rows that are not counted (BOS, padding, EOS, position 0 where the
model treats it as an outlier, other tokens with an outlying residual norm) are empty and ``False`` in ``valid``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.artifacts.errors import ArtifactError
from feature_graph.artifacts.hdf5 import mark, open_artifact, read_csr
from feature_graph.artifacts.site_keys import BySite, read_key
from feature_graph.artifacts.sites import Site
from feature_graph.artifacts.splits import split_documents
from feature_graph.utils import whole_file

KIND, VERSION = "activations", 1


class LazyLayers(Mapping[int, sp.csr_matrix]):
    """Layer (or site) → CSR [rows, d_sae] float32, read from the file on access; that of one is kept in memory at a time."""

    def __init__(self, path: Path, layers: list[int]) -> None:
        self._path = path
        self._layers = BySite((layer, layer) for layer in layers)
        self._kept: tuple[int, sp.csr_matrix] | None = None

    def __getitem__(self, layer: int) -> sp.csr_matrix:
        try:
            layer = self._layers[layer]
        except KeyError:
            raise KeyError(f"layer {layer} was not collected; the store has {list(self._layers)}") from None
        if self._kept is None or self._kept[0] != layer:
            with open_artifact(self._path, KIND, VERSION) as file:
                self._kept = (layer, read_csr(file[f"layers/{layer}"]))
        return self._kept[1]

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class ActivationStore:
    """Feature activations of one run, backed by an HDF5 file.

    What is by layer is by site where a run has dictionaries on components; ``[]`` then takes the site's name (``L5.tc``), too.

    Attributes:
        path: The store's file.
        tokens: int64 [n_docs, context].
        valid: bool [n_docs, context]; the tokens that are counted.
        splits: uint8 [n_docs]; SELECT, TEST or CONFIRM.
        sites: Layer → Site.
        layers: Layers in order.
        n_tokens: Number of counted tokens.
        activations: Layer → CSR [n_docs * context, d_sae], read lazily.
        feature_frequencies: Layer → float64 [d_sae], share of counted tokens at which the feature is active.
        max_activations: Layer → float32 [d_sae].
        mean_activations: Layer → float64 [d_sae], mean where active, 0 if never.
        thresholds: Layer → float32 [d_sae], *active* means above it.
        decoder_norms: Layer → float32 [d_sae], norm of the decoder rows as shipped.
        meta: Seed, dataset and whatever else the writer recorded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_artifact(self.path, KIND, VERSION) as file:
            if not file.attrs.get("complete", False):
                raise ArtifactError(f"{self.path}: collecting was not finished; run the collect stage again, it resumes")
            self.tokens: NDArray[np.int64] = file["tokens"][:]
            self.valid: NDArray[np.bool_] = file["valid"][:]
            self.meta: dict[str, Any] = json.loads(file.attrs["meta"])
            self.sites = BySite((read_key(n), Site.from_dict(json.loads(file["layers"][n].attrs["site"]))) for n in file["layers"])
            self.layers = sorted(self.sites)
            self.n_tokens = int(self.valid.sum())
            counts = {n: file[f"layers/{n}/active_count"][:] for n in self.layers}
            sums = {n: file[f"layers/{n}/active_sum"][:] for n in self.layers}
            self.max_activations = BySite((n, file[f"layers/{n}/active_max"][:]) for n in self.layers)
            self.thresholds = BySite((n, file[f"layers/{n}/threshold"][:]) for n in self.layers)
            self.decoder_norms = BySite((n, file[f"layers/{n}/decoder_norm"][:]) for n in self.layers)
        self.splits = split_documents(len(self.tokens), int(self.meta["seed"]))
        self.feature_frequencies = BySite((n, counts[n] / max(self.n_tokens, 1)) for n in self.layers)
        self.mean_activations = BySite((n, sums[n] / np.maximum(counts[n], 1)) for n in self.layers)
        self.activations = LazyLayers(self.path, self.layers)

    @property
    def context_length(self) -> int:
        """Tokens per document."""
        return int(self.tokens.shape[1])

    def rows_of(self, split: int) -> NDArray[np.int64]:
        """Counted rows of one split's documents, ascending."""
        mask = self.valid & (self.splits == split)[:, None]
        return np.flatnonzero(mask)

    def save(self, path: str | Path) -> None:
        """Copy the store to ``path``; nothing happens if it lies there already."""
        path = Path(path)
        if path.exists() and path.samefile(self.path):
            return
        with whole_file(path) as part:
            shutil.copyfile(self.path, part)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open a store.

        Raises:
            ArtifactError: If the file is missing, damaged, unfinished, or of another kind or version.
        """
        return cls(path)


class ActivationWriter:
    """Writes a store block by block; rows come in order, blocks hold whole documents.

    Use as a context manager. Without :meth:`finish` the file stays marked incomplete.
    """

    def __init__(
        self, path: str | Path, sites: Mapping[int, Site], tokens: NDArray[np.int64], valid: NDArray[np.bool_], meta: Mapping[str, Any]
    ) -> None:
        if "seed" not in meta:
            raise ArtifactError("meta: got no seed; the split of the documents depends on it")
        self._file = h5py.File(path, "w")
        mark(self._file, KIND, VERSION)
        self._file.attrs["complete"] = False
        self._file.attrs["meta"] = json.dumps(dict(meta), allow_nan=False)
        self._file.create_dataset("tokens", data=np.asarray(tokens, dtype=np.int64))
        self._file.create_dataset("valid", data=np.asarray(valid, dtype=bool))
        self._n_rows = int(np.asarray(tokens).size)
        self._sites = dict(sites)
        self._nnz = dict.fromkeys(self._sites, 0)
        self._indptr: dict[int, list[NDArray[np.int64]]] = {n: [np.zeros(1, dtype=np.int64)] for n in self._sites}
        self._stats = {n: _RunningStats(site.d_sae) for n, site in self._sites.items()}
        for layer, site in self._sites.items():
            group = self._file.create_group(f"layers/{layer}")
            group.attrs["site"] = json.dumps(site.to_dict())
            group.attrs["shape"] = (self._n_rows, site.d_sae)
            for name, dtype in (("data", np.float32), ("indices", np.int32)):
                group.create_dataset(name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(1 << 16,), compression="lzf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, layer: int, block: sp.csr_matrix) -> None:
        """Add the next rows of one layer: CSR [rows, d_sae] of active values only.

        Raises:
            ArtifactError: If the width differs or a value is not finite.
        """
        site = self._sites[layer]
        if block.shape[1] != site.d_sae:
            raise ArtifactError(f"layer {layer}: got a block of {block.shape[1]} features, the SAE has {site.d_sae}")
        if not np.isfinite(block.data).all():
            raise ArtifactError(f"layer {layer}: activations are NaN or infinite; check the model's precision and the SAE's files")
        group, start = self._file[f"layers/{layer}"], self._nnz[layer]
        for name, values in (("data", block.data), ("indices", block.indices)):
            group[name].resize((start + block.nnz,))
            group[name][start:] = values
        self._indptr[layer].append(start + np.asarray(block.indptr[1:], dtype=np.int64))
        self._nnz[layer] = start + block.nnz
        self._stats[layer].add(block)

    def count(self, valid: NDArray[np.bool_], facts: Mapping[str, Any]) -> None:
        """Replace the counted tokens by those that were found to count, and add to the metadata why."""
        self._file["valid"][...] = valid
        self._file.attrs["meta"] = json.dumps(json.loads(self._file.attrs["meta"]) | dict(facts), allow_nan=False)

    def finish(self, thresholds: Mapping[int, NDArray[np.float32]], decoder_norms: Mapping[int, NDArray[np.float32]]) -> None:
        """Write row pointers and statistics and mark the store complete.

        Raises:
            ArtifactError: If rows are missing.
        """
        for layer, stats in self._stats.items():
            indptr = np.concatenate(self._indptr[layer])
            if len(indptr) != self._n_rows + 1:
                raise ArtifactError(f"layer {layer}: got {len(indptr) - 1} rows, expected {self._n_rows}")
            group = self._file[f"layers/{layer}"]
            group.create_dataset("indptr", data=indptr)
            group.create_dataset("active_count", data=stats.count)
            group.create_dataset("active_sum", data=stats.sum)
            group.create_dataset("active_max", data=stats.max)
            group.create_dataset("threshold", data=np.asarray(thresholds[layer], dtype=np.float32))
            group.create_dataset("decoder_norm", data=np.asarray(decoder_norms[layer], dtype=np.float32))
        self._file.attrs["complete"] = True


class _RunningStats:
    """Count, sum and maximum of active values per feature."""

    def __init__(self, d_sae: int) -> None:
        self.count = np.zeros(d_sae, dtype=np.int64)
        self.sum = np.zeros(d_sae, dtype=np.float64)
        self.max = np.zeros(d_sae, dtype=np.float32)

    def add(self, block: sp.csr_matrix) -> None:
        self.count += np.bincount(block.indices, minlength=len(self.count))
        self.sum += np.bincount(block.indices, weights=block.data, minlength=len(self.sum))
        np.maximum.at(self.max, block.indices, block.data)
