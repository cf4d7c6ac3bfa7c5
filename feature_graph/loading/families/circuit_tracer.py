"""circuit-tracer's folders of transcoders: ``config.yaml``, and for each block ``layer_N.safetensors``.

The family's formula: f(W_enc x + b_enc), W_enc [latents, d_in], decoded by W_dec [latents, d_out] and b_dec; f is JumpReLU where the file
holds thresholds, TopK or ReLU where config.yaml says so (``activation``, ``k``), else ReLU; with ``W_skip`` [d_out, d_in], W_skip x is
added.
``feature_input_hook`` and ``feature_output_hook`` say what is read and written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families.files import read_safetensors, read_yaml
from feature_graph.loading.families.parts import DictionaryParts

CFG = "config.yaml"
_LAYER = re.compile(r"layer_(\d+)\.safetensors")
_THRESHOLD = "activation_function.threshold"


def files_of(folder: Path) -> list[str]:
    """Names of the transcoders' files in a folder; none if it is not one of this family."""
    if not (folder / CFG).is_file():
        return []
    return sorted(path.name for path in folder.iterdir() if is_file(path))


def is_file(path: Path) -> bool:
    """Whether a path is one of this family's files."""
    return _LAYER.fullmatch(path.name) is not None and (path.parent / CFG).is_file()


def read(file: Path) -> DictionaryParts:
    """Read the transcoder of one block.

    Raises:
        LoadingError: If a file is missing or damaged, or settings and weights do not fit.
        UnsupportedSAEError: If it is a cross-layer transcoder, or its activation function is not known.
    """
    raw, match = read_yaml(file.parent / CFG), _LAYER.fullmatch(file.name)
    if match is None:
        raise LoadingError(f"{file}: expected a file named layer_N.safetensors")
    if raw.get("model_kind", "transcoder_set") != "transcoder_set":
        raise UnsupportedSAEError(f"{file.parent / CFG}: model_kind {raw['model_kind']!r}: its features write to several layers")
    tensors = read_safetensors(file)
    hooks = {key: raw.get(name) for key, name in (("hook_name", "feature_input_hook"), ("hook_name_out", "feature_output_hook"))}
    if not all(isinstance(hook, str) for hook in hooks.values()):
        raise LoadingError(f"{file.parent / CFG}: feature_input_hook and feature_output_hook must say what is read and written")
    metadata: dict[str, Any] = {key: f"blocks.{match[1]}.{hook}" for key, hook in hooks.items()}
    if raw.get("model_name"):
        metadata["model_name"] = str(raw["model_name"])
    settings = _activation(raw, tensors, file) | {"apply_b_dec_to_input": False, "metadata": metadata}
    return DictionaryParts(settings, _renamed(tensors), file)


def _activation(raw: dict[str, Any], tensors: dict[str, Tensor], file: Path) -> dict[str, Any]:
    """Architecture, and k of a TopK transcoder."""
    said, skip = raw.get("activation"), "skip_" if "W_skip" in tensors else ""
    if said not in (None, "relu", "topk", "jumprelu", "jump_relu"):
        raise UnsupportedSAEError(f"{file.parent / CFG}: activation {said!r}: only relu, topk and jumprelu are read")
    if said == "topk" or (said is None and "k" in tensors):
        k = raw.get("k") or (int(tensors["k"]) if "k" in tensors else None)
        return {"architecture": f"topk_{skip}transcoder", "k": k}
    if said != "relu" and _THRESHOLD in tensors:
        return {"architecture": f"jumprelu_{skip}transcoder"}
    if said in ("jumprelu", "jump_relu"):
        raise LoadingError(f"{file} holds no {_THRESHOLD}, which {CFG} says that it has (activation: {said})")
    return {"architecture": f"{skip}transcoder"}


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names and orientation of SAELens."""
    weights = {"threshold" if name == _THRESHOLD else name: tensor for name, tensor in tensors.items() if name != "k"}
    return weights | ({"W_enc": weights["W_enc"].T} if "W_enc" in weights else {})
