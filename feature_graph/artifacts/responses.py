"""Response vectors: what one unit of a feature does to the residual stream at every later site, averaged over tokens where it is active.

One row serves every reader of a site: its inner product with an encoder column screens the effect on that feature. Each row is stored as
two half-means over documents, whose agreement says how reliable it is, in float16 with one scale per half.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts.errors import ArtifactError
from feature_graph.artifacts.hdf5 import mark, open_artifact
from feature_graph.artifacts.site_keys import as_key, read_key
from feature_graph.artifacts.sites import Site

KIND, VERSION = "responses", 1
HALVES = 2
#: What is kept of a pair of sites: what arrives, and the part of it that nothing computed, where that is not the source's direction.
_KINDS = ("responses", "carried")
#: Sources by their number within a site: a slice, or numbers in ascending order.
Rows = slice | NDArray[np.int64]
ALL = slice(None)
_COLUMNS = ("index", "n_tokens", "n_documents")


@dataclass(frozen=True)
class ResponseSources:
    """Sources of one site that were measured.

    Attributes:
        index: int32 [n], features, ascending.
        n_tokens: int32 [n], tokens averaged over.
        n_documents: int32 [n, 2], documents of each half.
    """

    index: NDArray[np.int32]
    n_tokens: NDArray[np.int32]
    n_documents: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.n_documents.shape != (len(self.index), HALVES) or len(self.n_tokens) != len(self.index):
            raise ArtifactError(
                f"sources: {len(self.index)} features with counts of shapes {self.n_tokens.shape} and {self.n_documents.shape}; "
                f"expected ({len(self.index)},) and ({len(self.index)}, {HALVES})"
            )


def pack(rows: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Rows as float16 times a scale each: entries lie in −1 to 1, so that none overflows; the rounding is at most 2⁻¹² of the largest.

    Args:
        rows: float [..., d].

    Returns:
        float16 [..., d] and float32 [...]; a row of zeros has scale 0.

    Raises:
        ArtifactError: If a value is NaN, infinite, or beyond float32.
    """
    scale = np.abs(rows).max(axis=-1, initial=0.0)
    if not np.isfinite(scale).all() or (scale > np.finfo(np.float32).max).any():
        raise ArtifactError("responses: a value is NaN, infinite or beyond float32; check the model's weights and precision")
    single = scale.astype(np.float32)
    unit = np.where(single > 0, single, np.float32(1)).astype(np.float64)
    return (rows / unit[..., None]).astype(np.float16), single


def unpack(values: NDArray[np.float16], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of :func:`pack`, up to rounding."""
    return values.astype(np.float32) * scale[..., None]


class ResponseWriter:
    """Writes ``responses.h5`` one pair of sites, or a block of sources of one, at a time.

    Args:
        path: The file, or a temporary one (``utils.whole_file``).
        sites: Layer → its site.
        meta: Plain values: which dictionaries, text and configuration the responses belong to.
    """

    def __init__(self, path: str | Path, sites: Mapping[int, Site], meta: Mapping[str, Any]) -> None:
        self._file = h5py.File(path, "w")
        mark(self._file, KIND, VERSION)
        self._file.attrs["meta"] = json.dumps(dict(meta), sort_keys=True)
        for layer, site in sites.items():
            self._file.create_group(f"sites/{as_key(layer)}").attrs["site"] = json.dumps(site.to_dict(), sort_keys=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def sources(self, layer: int, sources: ResponseSources) -> None:
        """Say which features of a site follow."""
        group = self._file.create_group(f"sources/{as_key(layer)}")
        for name in _COLUMNS:
            group.create_dataset(name, data=getattr(sources, name))

    def begin(self, source: int, target: int, n: int, width: int, *, carried: bool = False) -> None:
        """Make room for ``n`` sources of a site at one later site; blocks of them follow by :meth:`put`.

        Args:
            source: Source site.
            target: Later site.
            n: Sources.
            width: Of what is read there.
            carried: Whether the part that nothing computed is kept, too; without, it is each source's direction.
        """
        for kind in _KINDS[: 1 + carried]:
            group = self._file.create_group(f"{kind}/{as_key(source)}-{as_key(target)}")
            group.create_dataset("values", shape=(n, HALVES, width), dtype=np.float16)
            group.create_dataset("scale", shape=(n, HALVES), dtype=np.float32)

    def put(self, source: int, target: int, first: int, values: NDArray[np.float16], scale: NDArray[np.float32]) -> None:
        """Write the packed half-means of the sources from number ``first`` on; with the part that nothing computed, its halves follow."""
        rows = slice(first, first + len(values))
        for k in range(values.shape[1] // HALVES):
            group, halves = self._file[f"{_KINDS[k]}/{as_key(source)}-{as_key(target)}"], slice(k * HALVES, (k + 1) * HALVES)
            width = group["values"].shape[-1]  # parts are as wide as the widest site
            group["values"][rows], group["scale"][rows] = values[:, halves, :width], scale[:, halves]

    def pair(self, source: int, target: int, halves: NDArray[np.floating[Any]]) -> None:
        """Write the half-means of all sources of a site at one later site: float [n, 2, d_model].

        Raises:
            ArtifactError: If a value cannot be stored.
        """
        self.begin(source, target, len(halves), halves.shape[-1])
        self.put(source, target, 0, *pack(halves))

    def generic(self, source: int, target: int, rows: NDArray[np.floating[Any]]) -> None:
        """Write what would have been computed there from any direction: float [n, d_model].

        Raises:
            ArtifactError: If a value cannot be stored.
        """
        values, scale = pack(rows)
        group = self._file.create_group(f"generic/{as_key(source)}-{as_key(target)}")
        group["values"], group["scale"] = values, scale

    def pairs(self) -> list[tuple[int, int]]:
        """(source layer, target layer) begun so far, ascending."""
        return sorted(_pair(name) for name in self._file.get("responses", {}))

    def index(self, layer: int) -> NDArray[np.int32]:
        """Features of a site that are sources."""
        return np.asarray(self._file[f"sources/{as_key(layer)}/index"][:])

    def means(self, source: int, target: int) -> NDArray[np.float64]:
        """Mean over all documents of what was written, float64 [n, d_model]."""
        return self._means("responses", source, target)

    def carried(self, source: int, target: int) -> NDArray[np.float64] | None:
        """The same of the part that nothing computed; None: it is each source's direction."""
        kept = f"carried/{as_key(source)}-{as_key(target)}" in self._file
        return self._means("carried", source, target) if kept else None

    def _means(self, kind: str, source: int, target: int) -> NDArray[np.float64]:
        group = self._file[f"{kind}/{as_key(source)}-{as_key(target)}"]
        counts = self._file[f"sources/{as_key(source)}/n_documents"][:]
        return mean_of_halves(unpack(group["values"][:], group["scale"][:]), counts)


def mean_of_halves(halves: NDArray[np.float32], counts: NDArray[np.int32]) -> NDArray[np.float64]:
    """Halves [n, 2, d] weighted by their documents [n, 2]."""
    weight = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.einsum("nhd,nh->nd", halves, weight)


class ResponseStore:
    """Response vectors of a run, read one pair of sites at a time.

    Attributes:
        path: The store's file.
        sites: Layer → site.
        sources: Layer → its measured sources.
        pairs: (source layer, target layer), ascending.
        meta: What the writer recorded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_artifact(self.path, KIND, VERSION) as file:
            self.meta: dict[str, Any] = json.loads(file.attrs["meta"])
            self.sites = {n: Site.from_dict(json.loads(group.attrs["site"])) for n, group in _by_layer(file, "sites")}
            self.sources = {n: ResponseSources(*(group[name][:] for name in _COLUMNS)) for n, group in _by_layer(file, "sources")}
            self.pairs: list[tuple[int, int]] = sorted(_pair(name) for name in file.get("responses", {}))

    def halves(self, source: int, target: int, rows: Rows = ALL) -> NDArray[np.float32]:
        """Both half-means of every source (or those in ``rows``) at one later site, float32 [n, 2, d_model].

        Residual units per unit of the source.

        Raises:
            ArtifactError: If the pair was not measured.
        """
        return unpack(*self._read("responses", source, target, rows))

    def means(self, source: int, target: int, rows: Rows = ALL) -> NDArray[np.float32]:
        """Mean over all documents, float32 [n, d_model]: the halves weighted by their documents."""
        return np.asarray(mean_of_halves(self.halves(source, target, rows), self.sources[source].n_documents[rows]), dtype=np.float32)

    def carried(self, source: int, target: int, rows: Rows = ALL) -> NDArray[np.float32] | None:
        """The part of :meth:`means` that nothing computed, [n, d_in]; None: it is each source's direction."""
        with open_artifact(self.path, KIND, VERSION) as file:
            if f"carried/{as_key(source)}-{as_key(target)}" not in file:
                return None
        halves = unpack(*self._read("carried", source, target, rows))
        return np.asarray(mean_of_halves(halves, self.sources[source].n_documents[rows]), dtype=np.float32)

    def generic(self, source: int, target: int, rows: Rows = ALL) -> NDArray[np.float32]:
        """What would have been computed there from any direction, float32 [n, d_model], residual units per unit of the source.

        Raises:
            ArtifactError: If it was not written, or the pair was not measured.
        """
        return unpack(*self._read("generic", source, target, rows))

    def _read(self, kind: str, source: int, target: int, rows: Rows) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        if (source, target) not in self.pairs:
            raise ArtifactError(f"{self.path}: has no responses of layer {source} at layer {target}; it holds {self.pairs}")
        with open_artifact(self.path, KIND, VERSION) as file:
            group = file[f"{kind}/{as_key(source)}-{as_key(target)}"]
            return group["values"][rows], group["scale"][rows]

    def reliability(self, source: int, target: int, rows: Rows = ALL) -> NDArray[np.float64]:
        """Cosine of the two half-means of each source, float64 [n]; NaN where a half is empty or 0."""
        one, two = (half.astype(np.float64) for half in np.moveaxis(self.halves(source, target, rows), 1, 0))
        length = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        return np.divide((one * two).sum(axis=1), length, out=np.full(len(one), np.nan), where=length > 0)


def _by_layer(file: h5py.File, name: str) -> list[tuple[int, h5py.Group]]:
    return sorted(((read_key(layer), group) for layer, group in file.get(name, {}).items()), key=lambda pair: pair[0])


def _pair(name: str) -> tuple[int, int]:
    source, target = name.split("-")
    return read_key(source), read_key(target)
