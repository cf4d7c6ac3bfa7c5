"""Gemma Scope's folders: ``params.npz`` (Gemma 2), and ``params.safetensors`` with ``config.json`` (Gemma Scope 2).

All are JumpReLU dictionaries: x W_enc + b_enc where above each feature's threshold (and 0), else 0; decoded by W_dec and b_dec. In Gemma
Scope 2's transcoders with a skip connection ("affine") x A is added, A [d_in, d_out]. Only the place in the model is told by the folder
(``layer_20/width_16k/average_l0_71``), by the release's name, or by ``config.json``:

- attention: the heads' outputs before W_O; MLP: what it adds to the stream;
- transcoders: to what the MLP adds, in Gemma Scope from the stream after the MLP's norm *without* its gain, in Gemma Scope 2 *with* it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from feature_graph.dictionaries import module_hook
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families.files import read_json, read_npz, read_safetensors
from feature_graph.loading.families.parts import DictionaryParts

NPZ, SAFETENSORS, CFG = "params.npz", "params.safetensors", "config.json"
_DEPTH, _SKIP = 6, "affine_skip_connection"
_WHY_NOT = {
    "embedding": "only dictionaries inside the blocks are read",
    "clt": "its features write to several layers",
    "crosscoder": "its features write to several layers",
}
_MLP_OUT, _NORMALIZED, _MLP_IN = "hook_mlp_out", "ln2.hook_normalized", "mlp.hook_in"
#: What a part of a folder's name says → hooks that are read and written.
_HOOKS = {
    **dict.fromkeys(("att", "attn", "attention"), ("attn.hook_z", None)),
    "mlp": (_MLP_OUT, None),
    "transcoder": (_NORMALIZED, _MLP_OUT),
}
_PARTS = re.compile(r"(?:^|[-_])(att|attn|attention|mlp|transcoders?|clt|crosscoders?|embedding)(?=$|[-_])")


def read(folder: Path) -> DictionaryParts:
    """Read one folder.

    Raises:
        LoadingError: If a file is missing or damaged, or the folder names no layer.
        UnsupportedSAEError: If it is on the embedding, or writes to several layers.
    """
    new = (folder / SAFETENSORS).exists()
    file = folder / (SAFETENSORS if new else NPZ)
    places = _places_of_config(folder) if new else {}
    places = places or _places_of_folders(folder, new)
    weights = read_tensors(file)
    metadata: dict[str, Any] = places | {"prepend_bos": True, "context_size": 1024}
    kind = "jumprelu" if "hook_name_out" not in places else f"jumprelu_{'skip_' if 'W_skip' in weights else ''}transcoder"
    return DictionaryParts({"architecture": kind, "apply_b_dec_to_input": False, "metadata": metadata}, weights, file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of one file, ``.npz`` or ``.safetensors``, by SAELens' names and orientation.

    Raises:
        LoadingError: If it is missing or damaged.
    """
    tensors = read_npz(file) if file.suffix == ".npz" else read_safetensors(file)
    weights = {f"W_{key[2:]}" if key.startswith("w_") else key: value for key, value in tensors.items()}
    if _SKIP in weights:
        weights["W_skip"] = weights.pop(_SKIP).T
    return weights


def _places_of_config(folder: Path) -> dict[str, Any]:
    if not (folder / CFG).is_file():
        return {}
    raw = read_json(folder / CFG)
    if raw.get("architecture", "jump_relu") != "jump_relu":
        raise UnsupportedSAEError(f"{folder / CFG}: architecture {raw['architecture']!r}; expected jump_relu")
    place, out = str(raw.get("hf_hook_point_in") or ""), raw.get("hf_hook_point_out")
    names = {"hook_name": module_hook(place) or place} if place else {}
    return names | ({"hook_name_out": str(out)} if out and out != place else {})


def _places_of_folders(folder: Path, new: bool) -> dict[str, Any]:
    parts = folder.resolve().parts[-_DEPTH:]
    layer = re.search(r"layer_(\d+)", "/".join(parts))
    if layer is None:
        raise LoadingError(f"{folder}: no folder of its path is named layer_N, which says where the dictionary reads")
    named = [(part, match[1].rstrip("s")) for part in parts if (match := _PARTS.search(part))]
    for part, what in named:
        if what not in _HOOKS:
            raise UnsupportedSAEError(f"{folder}: {part!r} names a {what}: {_WHY_NOT[what]}")
    read, written = _HOOKS[named[0][1]] if named else ("hook_resid_post", None)
    read = _MLP_IN if new and read == _NORMALIZED else read
    names = {"hook_name": read, "hook_name_out": written}
    return {key: f"blocks.{layer[1]}.{hook}" for key, hook in names.items() if hook is not None}
