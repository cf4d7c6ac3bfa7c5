"""What would have been computed from any direction: a ridge map from directions to the computed part of their responses.

J̄ minimises Σ ‖d_k J̄ − c_k‖² + λ‖J̄‖² over the sources k of a site, c_k the computed part (response − direction). For source i it is fitted
without i and without every source whose direction has |cos| ≥ 0.3 with that of i. Fitting anew for each source is not needed: with the hat
matrix H = D (DᵀD + λ)⁻¹ Dᵀ, the residuals e of the full fit and N = i and its parallels, the residuals without N are (I − H_NN)⁻¹ e_N,
exactly. λ is chosen once per pair of sites, by generalised cross-validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import ResponseStore, ResponseWriter

Floats = NDArray[np.float64]
#: Sources whose directions have at least this |cos| are left out together.
PARALLEL = 0.3
#: λ as multiples of the mean eigenvalue of DᵀD.
_GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
#: Rows whose cosines are computed at a time.
_ROWS = 1024
#: Maps kept at a time, those of one source site.
_KEPT = 16


def write_generic(writer: ResponseWriter, directions: Mapping[int, Tensor]) -> None:
    """Fit and write the generic responses of every pair of sites that the writer holds.

    Args:
        writer: Holds the responses.
        directions: Layer → decoder rows [d_sae, d_model], of norm 1.
    """
    for source, target in writer.pairs():
        d = directions[source].double().cpu().numpy()[writer.index(source)]
        carried = writer.carried(source, target)
        writer.generic(source, target, generic_responses(d, writer.means(source, target) - (d if carried is None else carried)))


def generic_responses(directions: Floats, computed: Floats) -> Floats:
    """J̄ d of every source, J̄ fitted to the sources that are not parallel to it.

    Args:
        directions: [n, d_model], of norm 1.
        computed: [n, d_in], computed part of their responses.

    Returns:
        float64 [n, d_in], residual units per unit of the source. 0 where no other source is left.
    """
    fit = _Fit.of(directions, computed)
    hat = (directions @ fit.vectors) / np.sqrt(fit.values + fit.ridge)  # H = hat hatᵀ
    errors = computed - hat @ (hat.T @ computed)
    left = np.empty_like(errors)
    for first in range(0, len(directions), _ROWS):
        block = slice(first, min(first + _ROWS, len(directions)))
        for i, group in enumerate(_groups(directions, block), start=first):
            inner = np.eye(len(group)) - hat[group] @ hat[group].T
            row = np.linalg.solve(inner, (group == i).astype(np.float64))  # symmetric: a row of the inverse
            left[i] = row @ errors[group]
    return computed - left


def generic_map(directions: Floats, computed: Floats) -> Floats:
    """J̄ itself, fitted to all sources: for directions that are none of them.

    Args:
        directions: [n, d_model], of norm 1.
        computed: [n, d_model], computed part of their responses.

    Returns:
        float64 [d_model, d_model]; a direction times it is what is computed of it.
    """
    fit = _Fit.of(directions, computed)
    return np.asarray(fit.vectors @ (fit.projected / (fit.values + fit.ridge)[:, None]), dtype=np.float64)


class GenericMaps:
    """What would have been computed from any direction between two sites, of a run whose responses were measured.

    Args:
        store: The run's responses.
        directions: Layer → decoder rows [d_sae, d_model], of norm 1.

    Its methods raise ArtifactError if the sources of a site were not followed to the target's.
    """

    def __init__(self, store: ResponseStore, directions: Mapping[int, Tensor]) -> None:
        self._store, self._directions = store, {layer: rows.double().cpu().numpy() for layer, rows in directions.items()}
        self._map = lru_cache(maxsize=_KEPT)(self._fitted)

    def of_sources(self, source: int, target: int, index: NDArray[np.int64]) -> Floats:
        """J̄ d of some features of a site, each fitted without it and its parallels; float64 [n, d_model].

        A feature without a response had no part in the map, and is carried by the whole of it.
        """
        known = self._store.sources[source].index if source in self._store.sources else np.zeros(0, dtype=np.int32)
        carried = self.of_directions(source, target, self._directions[source][index])
        measured, place = np.isin(index, known), np.searchsorted(known, index)
        if measured.any():
            rows, back = np.unique(place[measured], return_inverse=True)
            carried[measured] = self._store.generic(source, target, rows)[back]
        return carried

    def of_directions(self, source: int, target: int, directions: Floats) -> Floats:
        """J̄ u of directions that are no features; float64 [n, d_model]."""
        return np.asarray(directions @ self._map(source, target), dtype=np.float64)

    def _fitted(self, source: int, target: int) -> Floats:
        if source not in self._store.sources:
            return np.zeros((self._directions[source].shape[1], self._store.sites[target].d_in))  # no feature of the site has a response
        d = self._directions[source][self._store.sources[source].index]
        carried = self._store.carried(source, target)
        if carried is None:
            return generic_map(d, self._store.means(source, target) - d)
        return generic_map(d, self._store.means(source, target).astype(np.float64) - carried)


@dataclass(frozen=True)
class _Fit:
    """Eigenvalues and eigenvectors of DᵀD, eigenvectorsᵀ DᵀC, and λ."""

    values: Floats
    vectors: Floats
    projected: Floats
    ridge: float

    @classmethod
    def of(cls, directions: Floats, computed: Floats) -> _Fit:
        values, vectors = np.linalg.eigh(directions.T @ directions)
        values = np.maximum(values, 0.0)
        projected = (directions @ vectors).T @ computed
        return cls(values, vectors, projected, _choose(values, projected, float((computed**2).sum()), len(directions)))


def _choose(values: Floats, projected: Floats, total: float, n: int) -> float:
    """λ with the smallest generalised cross-validation error.

    Args:
        values: Eigenvalues of DᵀD.
        projected: Eigenvectorsᵀ DᵀC.
        total: ‖C‖².
        n: Sources.
    """
    strength = (projected**2).sum(axis=1)
    found = {}
    for ridge in (share * max(values.mean(), 1e-12) for share in _GRID):
        rss = total - (strength * (values + 2 * ridge) / (values + ridge) ** 2).sum()
        freedom = (values / (values + ridge)).sum()
        if freedom < n:
            found[ridge] = rss / (n - freedom) ** 2
    return min(found, key=found.__getitem__) if found else float(max(values.mean(), 1e-12))


def _groups(directions: Floats, block: slice) -> list[NDArray[np.int64]]:
    """The sources that are left out with each source of a block, itself among them."""
    near = sp.csr_matrix(np.abs(directions[block] @ directions.T) >= PARALLEL)
    groups = np.split(near.indices.astype(np.int64), near.indptr[1:-1])
    return [np.union1d(group, [block.start + k]) for k, group in enumerate(groups)]
