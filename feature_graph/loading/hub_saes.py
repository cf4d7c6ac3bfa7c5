"""Dictionaries of the hub: families that this library reads go through the same readers as local folders, the rest through SAELens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError
from safetensors import SafetensorError

from feature_graph.loading.errors import LoadingError
from feature_graph.loading.families import dictionary_learning, gemma_scope, read_dictionary, saelens, sparsify
from feature_graph.loading.families.files import read_json
from feature_graph.loading.families.scaling import SCALER, WHITENING

if TYPE_CHECKING:
    from sae_lens import SAE

if TYPE_CHECKING:
    from feature_graph.loading.releases import Release

#: SAELens' name of a loader → the files of a folder that our own reader takes.
_FILES = {
    "sae_lens": ((saelens.CFG, saelens.WEIGHTS),),
    "sparsify": ((sparsify.CFG, sparsify.WEIGHTS),),
    "dictionary_learning_1": ((dictionary_learning.CFG, dictionary_learning.WEIGHTS),),
}
_UNLISTED = (*(files for one in _FILES.values() for files in one), (gemma_scope.NPZ,), (gemma_scope.CFG, gemma_scope.SAFETENSORS))
_UNFOLDED = (True, "expected_average_only_in", "covariance_whitening")
_BROKEN = (KeyError, ValueError, TypeError, RuntimeError, SafetensorError, EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError)


def load_from_hub(release: Release, sae_id: str, device: str) -> SAE[Any]:
    """Load one dictionary of a registered release or of an unlisted repository, float32; call it where the hub or its cache is at hand.

    Raises:
        LoadingError: If a file is missing or cannot be read; file and repository are named.
        UnsupportedSAEError: If it is of a kind that is not analysed.
    """
    from sae_lens.loading.pretrained_saes_directory import get_config_overrides, get_norm_scaling_factor

    entry = release.entry
    loader = "sae_lens" if entry is None else entry.conversion_func or "sae_lens"
    if entry is not None and loader not in _FILES:
        return _by_saelens(release.name, sae_id, device)
    repo, path = (release.name, sae_id) if entry is None else (entry.repo_id, entry.saes_map[sae_id])
    with named_errors(sae_id, release.name):
        folder = _fetch(repo, path, _UNLISTED if entry is None else _FILES[loader])
    overrides = get_config_overrides(release.name, sae_id)
    sae = read_dictionary(folder, device, overrides, get_norm_scaling_factor(release.name, sae_id))
    if loader != "sae_lens":
        for key, value in overrides.items():
            sae.cfg.metadata[key] = value
    return sae


def _by_saelens(release: str, sae_id: str, device: str) -> SAE[Any]:
    from sae_lens import SAE

    with named_errors(sae_id, release):
        sae: SAE[Any] = SAE.from_pretrained(release, sae_id, device=device, dtype="float32")
    broken = [name for name, tensor in sae.named_parameters() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise LoadingError(f"SAE {sae_id} of {release}: NaN or infinite values in {', '.join(broken)}")
    return sae


def _fetch(repo: str, path: str, families: tuple[tuple[str, ...], ...]) -> Path:
    """The folder in the hub's cache, with the files of the first family that the repository has there."""
    lacking: EntryNotFoundError | None = None
    for files in families:
        try:
            found = [Path(hf_hub_download(repo, f"{path}/{name}")) for name in files]
        except EntryNotFoundError as error:
            lacking = lacking or error
            continue
        if files[0] == saelens.CFG and read_json(found[0]).get("normalize_activations") in _UNFOLDED:
            for name in (SCALER, WHITENING):
                with contextlib.suppress(EntryNotFoundError):
                    hf_hub_download(repo, f"{path}/{name}")
        return found[0].parent
    expected = " or ".join(" with ".join(files) for files in families)
    raise LoadingError(f"{repo}/{path} has no {expected}") from lacking


@contextlib.contextmanager
def named_errors(sae_id: str, release: str) -> Iterator[None]:
    """Turn what the hub's client and the readers of files raise into one sentence that names the dictionary.

    Raises:
        LoadingError: Instead of theirs.
    """
    try:
        yield
    except LoadingError:
        raise
    except _BROKEN as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LoadingError(f"SAE {sae_id} of {release} cannot be read: {first}") from error
