"""Files of weights and settings, read whole or refused in one sentence that names the file."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from feature_graph.loading.errors import LoadingError

_POINTERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository",
    b"/annex/objects/": "a git-annex pointer, not the file itself; run `git annex get`",
}
_AGAIN = "copy or download it again"
#: What torch raises for objects that it will not read; by torch's name for it, since this library imports no unpickler.
_UNPICKLING: type[Exception] = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; a byte order mark and any line ends are accepted.

    Raises:
        LoadingError: If the file is missing, empty, a pointer, not JSON, or another kind of value.
    """
    return _settings(path, "JSON", "object", json.loads)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping.

    Raises:
        LoadingError: If the file is missing, empty, a pointer, not YAML, or another kind of value.
    """
    return _settings(path, "YAML", "mapping", yaml.safe_load)


def _settings(path: Path, language: str, kind: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    _refuse_no_file(path)
    try:
        values = parse(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise LoadingError(f"{path} is not {language} ({str(error).splitlines()[0]}); {_AGAIN}") from error
    if not isinstance(values, dict):
        raise LoadingError(
            f"{path}: got a {language} {type(values).__name__}, expected {'an' if kind[0] in 'aeiou' else 'a'} {kind} of settings"
        )
    return values


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that lie next to weights, by :func:`read_json`.

    Raises:
        LoadingError: If they are missing or cannot be read.
    """
    if not path.exists() and not path.is_symlink():
        raise LoadingError(
            f"{path.parent} holds weights but no {path.name}, which says of what kind they are; copy it from where the weights come from"
        )
    return read_json(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, on the CPU, as stored.

    Raises:
        LoadingError: If the file is missing, empty, a pointer, cut off or of another kind.
    """
    return _read(path, _safetensors, (SafetensorError, OSError, ValueError), "safetensors")


def read_tensor(path: Path, name: str) -> Tensor | None:
    """One tensor of a safetensors file that may be large; None if the file has no such one.

    Raises:
        LoadingError: As :func:`read_safetensors`.
    """
    _refuse_no_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise LoadingError(f"{path} cannot be read as safetensors: it is cut off or damaged ({error}); {_AGAIN}") from error


def read_torch(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file that ``torch.save`` wrote from a state dict, on the CPU. No code of the file is run.

    Raises:
        LoadingError: If the file is missing, empty, a pointer, cut off, or holds anything but tensors.
    """
    kinds = (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, _UNPICKLING, zipfile.BadZipFile)
    return _read(path, _torch, kinds, "state dict of torch")


def read_npz(path: Path) -> dict[str, Tensor]:
    """Every array of a NumPy archive as a tensor.

    Raises:
        LoadingError: If the file is missing, empty, a pointer, cut off, or holds pickled objects.
    """
    return _read(path, _npz, (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error), "NumPy archive")


def _read(path: Path, read: Callable[[Path], Mapping[Any, Any]], kinds: tuple[type[Exception], ...], what: str) -> dict[str, Tensor]:
    _refuse_no_file(path)
    try:
        values = read(path)
    except kinds as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise LoadingError(f"{path} cannot be read as a {what}: it is cut off, damaged, or something else ({first}); {_AGAIN}") from error
    tensors = {str(name).removeprefix("_orig_mod."): value for name, value in values.items() if isinstance(value, Tensor)}
    if not tensors:
        raise LoadingError(f"{path} holds no tensors by name; expected the weights of one dictionary")
    return tensors


def _safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _torch(path: Path) -> Mapping[Any, Any]:
    values = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(values, Mapping):
        raise TypeError(f"it holds a {type(values).__name__}, not tensors by name")
    return values


def _npz(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: torch.from_numpy(np.asarray(archive[name])) for name in archive.files}


def _refuse_no_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise LoadingError(f"{path} is a link to {path.readlink()}, which does not exist; {_AGAIN}")
    if not path.is_file():
        raise LoadingError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    with path.open("rb") as file:
        start = file.read(200)
    if not start:
        raise LoadingError(f"{path} is empty; {_AGAIN}")
    for mark, meaning in _POINTERS.items():
        if start.startswith(mark):
            raise LoadingError(f"{path} is {meaning}")
