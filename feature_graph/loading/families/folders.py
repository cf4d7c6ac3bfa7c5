"""Which folders hold a dictionary, and of which family each is."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_graph.loading.errors import LoadingError
from feature_graph.loading.families import circuit_tracer, dictionary_learning, gemma_scope, saelens, sparsify
from feature_graph.loading.families.parts import DictionaryParts, build
from feature_graph.loading.families.scaling import fold_scaling

if TYPE_CHECKING:
    from sae_lens import SAE

log = logging.getLogger(__name__)

#: Files by which a folder is known to hold a dictionary, the first that is there deciding.
MARKERS = (saelens.WEIGHTS, sparsify.WEIGHTS, dictionary_learning.WEIGHTS, gemma_scope.NPZ, gemma_scope.SAFETENSORS, saelens.CFG)
_DEEPEST = 8
_CROSS_LAYER = re.compile(r"W_(?:enc|dec)_\d+\.safetensors|params_layer_\d+\.(?:safetensors|npz)")


def find_dictionaries(root: Path) -> frozenset[str]:
    """Folders below ``root`` (``.`` for itself) that hold a dictionary, and files that are one, by their path; links are followed."""
    return frozenset(_found(root))


def _found(root: Path) -> Iterator[str]:
    for here, below, files in os.walk(root, followlinks=True):
        depth = len(Path(here).relative_to(root).parts)
        if depth > _DEEPEST or (depth and Path(here).samefile(root)):
            below.clear()
            continue
        if any(name in files for name in MARKERS):
            yield Path(here).relative_to(root).as_posix()
        if circuit_tracer.CFG in files:
            yield from ((Path(here).relative_to(root) / name).as_posix() for name in circuit_tracer.files_of(Path(here)))


def read_dictionary(folder: Path, device: str, overrides: dict[str, Any] | None = None, factor: float | None = None) -> SAE[Any]:
    """Read the dictionary in ``folder``, float32, whatever its family.

    Args:
        folder: Holds the files of one dictionary; or one of circuit-tracer's files.
        device: Torch device.
        overrides: Settings of SAELens' registry that go over those of a SAELens file.
        factor: The input's scaling where the registry states it.

    Raises:
        LoadingError: Naming the file that is missing, damaged or inconsistent.
        UnsupportedSAEError: If it is of a kind that is not analysed.
    """
    parts = _parts(folder, overrides)
    if parts.settings["architecture"] in saelens.TRAINING:
        return _trained(parts, folder, device, factor)
    sae = build(parts, device)
    fold_scaling(sae, folder, factor)
    return sae


def read_member(config: Path, layer: int, file: Path, device: str) -> SAE[Any]:
    """Read one transcoder of a circuit-tracer set, float32.

    Args:
        config: ``config.yaml`` of the set.
        layer: Block of the transcoder.
        file: Its weights.
        device: Torch device.

    Raises:
        LoadingError: Naming the file that is missing, damaged or inconsistent.
        UnsupportedSAEError: If it is of a kind that is not analysed.
    """
    return build(circuit_tracer.read_member(config, layer, file), device)


def _parts(folder: Path, overrides: dict[str, Any] | None) -> DictionaryParts:
    def there(name: str) -> bool:
        return (folder / name).exists() or (folder / name).is_symlink()

    if circuit_tracer.is_file(folder):
        return circuit_tracer.read(folder)
    if there(sparsify.WEIGHTS) and not there(saelens.WEIGHTS):
        return sparsify.read(folder)
    if there(saelens.WEIGHTS) or there(saelens.CFG):
        return saelens.read(folder, overrides)
    if there(dictionary_learning.WEIGHTS):
        return dictionary_learning.read(folder)
    if there(gemma_scope.NPZ) or there(gemma_scope.SAFETENSORS):
        return gemma_scope.read(folder)
    raise LoadingError(f"{folder} {what_is_there(folder)}")


def what_is_there(folder: Path) -> str:
    """The rest of a sentence: what a folder that is not a dictionary holds, and what was expected."""
    if not folder.is_dir():
        return "is not a folder" if folder.exists() else "does not exist"
    names = sorted(p.name for p in folder.iterdir())
    if crossing := cross_layer_file(folder):
        return f"holds {crossing.name}, a part of a cross-layer transcoder, whose features write to several layers; not supported"
    return (
        f"holds no dictionary; expected {saelens.CFG} with {saelens.WEIGHTS} (SAELens) or {sparsify.WEIGHTS} (sparsify), "
        f"{dictionary_learning.CFG} with {dictionary_learning.WEIGHTS} (dictionary_learning), {circuit_tracer.CFG} with "
        f"layer_N.safetensors (circuit-tracer), or {gemma_scope.NPZ} (Gemma Scope); "
        f"there is {', '.join(names[:6]) or 'nothing'}{' …' if len(names) > 6 else ''}"
    )


def cross_layer_file(root: Path) -> Path | None:
    """A file below ``root`` of a cross-layer transcoder, in the layout of circuit-tracer or Gemma Scope 2; None if there is none."""
    for here, below, files in os.walk(root):
        if len(Path(here).relative_to(root).parts) >= _DEEPEST:
            below.clear()
        found = sorted(name for name in files if _CROSS_LAYER.fullmatch(name))
        if found:
            return Path(here) / found[0]
    return None


def _trained(parts: DictionaryParts, folder: Path, device: str, factor: float | None) -> SAE[Any]:
    """A checkpoint of training whose features compete across the batch, as SAELens saves it when training ends: a JumpReLU dictionary."""
    from sae_lens.saes.sae import TrainingSAE

    settings = dict(parts.settings, architecture="batchtopk", dtype="float32", device="cpu")
    settings.setdefault("rescale_acts_by_decoder_norm", False)  # not in the files of the versions that did not rescale
    if "topk_threshold" not in parts.weights:
        raise LoadingError(f"{parts.file} has no topk_threshold, the activation above which a feature counts once training has ended")
    weights, threshold = dict(parts.weights), parts.weights["topk_threshold"]
    del weights["topk_threshold"]
    if threshold.numel() != 1:
        raise LoadingError(f"{parts.file}: topk_threshold has shape {tuple(threshold.shape)}, expected one number")
    if float(threshold) <= 0:
        log.warning("%s: training has not set topk_threshold yet: every positive feature counts as active", parts.file)
    plain = build(DictionaryParts({**settings, "architecture": "standard"}, weights, parts.file), "cpu")
    training = TrainingSAE.from_dict({**settings, "d_in": plain.cfg.d_in, "d_sae": plain.cfg.d_sae})
    training.load_state_dict({**plain.state_dict(), "topk_threshold": threshold.double().reshape(())})
    fold_scaling(training, folder, factor)
    state = training.state_dict()
    training.process_state_dict_for_saving_inference(state)
    return build(DictionaryParts(training.cfg.get_inference_sae_cfg_dict(), state, parts.file), device)
