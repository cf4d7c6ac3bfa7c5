"""Opening HDF5 artifacts: every file carries its kind and version; sparse matrices lie as data / indices / indptr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse as sp

from feature_graph.artifacts.errors import ArtifactError


@contextmanager
def open_artifact(path: str | Path, kind: str, version: int) -> Iterator[h5py.File]:
    """Open an artifact for reading after checking what it is.

    Raises:
        ArtifactError: If the file is missing, no HDF5, damaged, or of another kind or version.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; expected {kind} version {version}. Run the stage that writes it")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ArtifactError(f"{path}: not a readable HDF5 file ({error}); delete it and run the stage again") from error
    try:
        with file:
            got = (str(file.attrs.get("kind", "none")), int(file.attrs.get("version", 0)))
            if got != (kind, version):
                raise ArtifactError(f"{path}: got kind {got[0]} version {got[1]}; expected {kind} version {version}")
            yield file
    except ArtifactError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # what h5py says of bytes that make no sense
        raise ArtifactError(f"{path}: damaged ({error}); delete it and run the stage again") from error


def mark(file: h5py.File, kind: str, version: int) -> None:
    """Write kind and version into a new file."""
    file.attrs["kind"] = kind
    file.attrs["version"] = version


def write_csr(group: h5py.Group, matrix: sp.csr_matrix | sp.csr_array) -> None:
    """Write a CSR matrix into a group."""
    group.attrs["shape"] = matrix.shape
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(matrix, name), compression="lzf" if matrix.nnz else None)


def read_csr(group: h5py.Group) -> sp.csr_matrix:
    """Read a CSR matrix from a group."""
    shape = tuple(int(n) for n in group.attrs["shape"])
    return sp.csr_matrix((group["data"][:], group["indices"][:], np.asarray(group["indptr"][:])), shape=shape)
