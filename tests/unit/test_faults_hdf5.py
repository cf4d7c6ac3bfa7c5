"""Damaged HDF5 artifacts: the error is ours, names the file and says what to do, whatever byte is wrong.

A byte of the numbers themselves cannot be told from the file alone; the pipeline compares the sha256 that manifest.json recorded.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from feature_graph.artifacts import ActivationStore, ArtifactError, CoactivationAtlas
from tests.support.one_site_store import matrix, write_store


def write_atlas(path: Path) -> Path:
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(1.0, (12, 9)))
    active = {0: np.arange(12), 1: np.arange(9)}
    CoactivationAtlas({(0, 1): counts}, {(0, 1): counts}, active, 10, 4).save(path)
    return path


def content(path: Path, kind: str) -> list[np.ndarray]:
    """All arrays of a file, read through its own door."""
    if kind == "atlas":
        atlas = CoactivationAtlas.load(path)
        return [array for counts in atlas.counts.values() for array in (counts.data, counts.indices, counts.indptr)]
    store = ActivationStore.load(path)
    return [array for counts in store.activations.values() for array in (counts.data, counts.indices)]


@pytest.mark.parametrize("kind", ["atlas", "activations"])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    _ = write_atlas(path) if kind == "atlas" else write_store(path, [matrix()])
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ArtifactError, match=r"x\.h5: not a readable HDF5 file .*; delete it and run the stage again"):
            content(path, kind)


@pytest.mark.parametrize("kind", ["atlas", "activations"])
def test_wrong_bytes_anywhere_give_no_error_but_ours(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    _ = write_atlas(path) if kind == "atlas" else write_store(path, [matrix()])
    whole, said = path.read_bytes(), []
    for at in np.linspace(0, len(whole) - 8, 150).astype(int).tolist():
        path.write_bytes(whole[:at] + bytes(b ^ 0xA5 for b in whole[at : at + 8]) + whole[at + 8 :])
        try:
            content(path, kind)
        except ArtifactError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(str(path) in text and re.search("run the (collect )?stage|expected", text) for text in said)
