"""circuit-tracer's sets of transcoders: ``config.yaml``, and for each block ``layer_N.safetensors`` or an entry of its list.

The family's formula: f(W_enc x + b_enc), W_enc [latents, d_in], decoded by W_dec [latents, d_out] and b_dec; f is JumpReLU where the file
holds thresholds, TopK or ReLU where config.yaml says so (``activation``, ``k``), else ReLU; with ``W_skip`` [d_out, d_in], W_skip x is
added.
``feature_input_hook`` and ``feature_output_hook`` say what is read and written.
``transcoders`` lists the files of blocks 0, 1, 2 … where they lie elsewhere: ``hf://owner/repo/path/file`` (``?revision=`` a branch, tag or
commit), or a path. The files are the family's own or Gemma Scope's, which their tensors tell.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families import gemma_scope
from feature_graph.loading.families.files import read_safetensors, read_yaml
from feature_graph.loading.families.parts import DictionaryParts

CFG, REMOTE = "config.yaml", "hf://"
_LAYER = re.compile(r"layer_(\d+)\.safetensors")
_MEMBER = re.compile(r"layer_(\d+)(?:\.safetensors)?")
_NAMED_LAYER = re.compile(r"(?:^|/)layer_(\d+)(?=[/._]|$)")
_LIST = re.compile(r"^[\"']?transcoders\b", re.MULTILINE)
_THRESHOLD = "activation_function.threshold"


def files_of(folder: Path) -> list[str]:
    """Names of a folder's transcoders: its files, and ``layer_N`` for what its list names elsewhere; none if it is not of this family."""
    config = folder / CFG
    if not config.is_file():
        return []
    own = [path.name for path in folder.iterdir() if is_file(path)]
    entries = listed(config) if _LIST.search(config.read_text(encoding="utf-8", errors="replace")) else []
    return sorted(own + [f"layer_{block}" for block, entry in enumerate(entries) if not _is_own(folder, block, entry)])


def _is_own(folder: Path, block: int, entry: str) -> bool:
    own = folder / f"layer_{block}.safetensors"
    return own.is_file() and not entry.startswith(REMOTE) and (folder / entry).resolve() == own.resolve()


def is_file(path: Path) -> bool:
    """Whether a path is one of this family's files."""
    return _LAYER.fullmatch(path.name) is not None and (path.parent / CFG).is_file()


def layer_named(name: str) -> int | None:
    """The block whose transcoder ``layer_5`` or ``layer_5.safetensors`` is; None for other names."""
    match = _MEMBER.fullmatch(name)
    return None if match is None else int(match[1])


def is_config(config: Path) -> bool:
    """Whether a file ``config.yaml`` is this family's, and not another program's."""
    return bool({"model_kind", "feature_input_hook", "transcoders"} & set(read_yaml(config)))


def listed(config: Path) -> list[str]:
    """What ``transcoders`` lists, by block; empty without a list.

    Raises:
        LoadingError: If it is not a list of texts, or one names another block than that of its place.
    """
    entries = read_yaml(config).get("transcoders")
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
        raise LoadingError(f"{config}: transcoders must be a list of files, one for each block")
    for place, entry in enumerate(entries):
        named = {int(number) for number in _NAMED_LAYER.findall(entry)}
        if named and place not in named:
            raise LoadingError(
                f"{config}: transcoders lists {entry} at place {place}, counted from 0, which makes it the transcoder of block {place}; "
                "list one file for every block from 0 on"
            )
    return entries


def refuse_other_sets(config: Path) -> None:
    """Refuse a set whose transcoders write to several layers, by its ``config.yaml`` alone.

    Raises:
        UnsupportedSAEError: Naming its kind.
    """
    kind = read_yaml(config).get("model_kind", "transcoder_set")
    if kind != "transcoder_set":
        raise UnsupportedSAEError(f"{config}: model_kind {kind!r}: its features write to several layers")


def read(file: Path) -> DictionaryParts:
    """Read the transcoder of one block, which lies next to ``config.yaml`` and is named after its block.

    Raises:
        LoadingError: If a file is missing or damaged, or settings and weights do not fit.
        UnsupportedSAEError: If it is a cross-layer transcoder, or its activation function is not known.
    """
    layer = layer_named(file.name)
    if layer is None or not is_file(file):
        raise LoadingError(f"{file}: expected a file named layer_N.safetensors next to {CFG}")
    return read_member(file.parent / CFG, layer, file)


def read_member(config: Path, layer: int, file: Path) -> DictionaryParts:
    """Read the transcoder of one block from wherever its file lies.

    Args:
        config: ``config.yaml`` of its set.
        layer: Its block.
        file: Its weights.

    Raises:
        LoadingError: As :func:`read`.
        UnsupportedSAEError: As :func:`read`.
    """
    refuse_other_sets(config)
    raw = read_yaml(config)
    hooks = {key: raw.get(name) for key, name in (("hook_name", "feature_input_hook"), ("hook_name_out", "feature_output_hook"))}
    if not all(isinstance(hook, str) for hook in hooks.values()):
        raise LoadingError(f"{config}: feature_input_hook and feature_output_hook must say what is read and written")
    metadata: dict[str, Any] = {key: f"blocks.{layer}.{hook}" for key, hook in hooks.items()}
    if raw.get("model_name"):
        metadata["model_name"] = str(raw["model_name"])
    tensors = _tensors(file)
    settings = _activation(raw, tensors, config, file) | {"apply_b_dec_to_input": False, "metadata": metadata}
    return DictionaryParts(settings, {name: tensor for name, tensor in tensors.items() if name != "k"}, file)


def _activation(raw: dict[str, Any], tensors: dict[str, Tensor], config: Path, file: Path) -> dict[str, Any]:
    """Architecture, and k of a TopK transcoder."""
    said, skip = raw.get("activation"), "skip_" if "W_skip" in tensors else ""
    if said not in (None, "relu", "topk", "jumprelu", "jump_relu"):
        raise UnsupportedSAEError(f"{config}: activation {said!r}: only relu, topk and jumprelu are read")
    if said == "topk" or (said is None and "k" in tensors):
        k = raw.get("k") or (int(tensors["k"]) if "k" in tensors else None)
        return {"architecture": f"topk_{skip}transcoder", "k": k}
    if said != "relu" and "threshold" in tensors:
        return {"architecture": f"jumprelu_{skip}transcoder"}
    if said in ("jumprelu", "jump_relu"):
        raise LoadingError(f"{file} holds no {_THRESHOLD}, which {CFG} says that it has (activation: {said})")
    return {"architecture": f"{skip}transcoder"}


def _tensors(file: Path) -> dict[str, Tensor]:
    """Names and orientation of SAELens."""
    if file.suffix == ".npz":
        return gemma_scope.read_tensors(file)
    tensors = read_safetensors(file)
    if "w_enc" in tensors:
        return gemma_scope.read_tensors(file)
    renamed = {"threshold" if name == _THRESHOLD else name: tensor for name, tensor in tensors.items()}
    return renamed | ({"W_enc": renamed["W_enc"].T} if "W_enc" in renamed else {})
