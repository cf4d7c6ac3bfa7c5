"""Gemma Scope's folders: ``params.npz`` (Gemma 2), and ``params.safetensors`` with ``config.json`` (Gemma Scope 2).

All are JumpReLU dictionaries: x W_enc + b_enc where above each feature's threshold (and 0), else 0; decoded by W_dec and b_dec. Only the
place in the model is told by the folder (``layer_20/width_16k/average_l0_71``), by the release's name, or by ``config.json``.
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
_DEPTH = 6
_ELSEWHERE = {
    "att": "attention heads",
    "attn": "attention heads",
    "attention": "attention heads",
    "mlp": "an MLP",
    "embedding": "the embedding",
}
_PARTS = re.compile(r"(?:^|[-_])(att|attn|attention|mlp|transcoders?|clt|crosscoders?|embedding)(?=$|[-_])")


def read(folder: Path) -> DictionaryParts:
    """Read one folder.

    Raises:
        LoadingError: If a file is missing or damaged, or the folder names no layer.
        UnsupportedSAEError: If it is not on the residual stream.
    """
    new = (folder / SAFETENSORS).exists()
    file = folder / (SAFETENSORS if new else NPZ)
    hook = _hook_of_config(folder) if new else None
    hook = hook or _hook_of_folders(folder)
    tensors = read_safetensors(file) if new else read_npz(file)
    weights: dict[str, Tensor] = {f"W_{key[2:]}" if key.startswith("w_") else key: value for key, value in tensors.items()}
    metadata: dict[str, Any] = {"hook_name": hook, "prepend_bos": True, "context_size": 1024}
    return DictionaryParts({"architecture": "jumprelu", "apply_b_dec_to_input": False, "metadata": metadata}, weights, file)


def _hook_of_config(folder: Path) -> str | None:
    if not (folder / CFG).is_file():
        return None
    raw = read_json(folder / CFG)
    if raw.get("architecture", "jump_relu") != "jump_relu":
        raise UnsupportedSAEError(f"{folder / CFG}: architecture {raw['architecture']!r}; expected jump_relu")
    place, out = str(raw.get("hf_hook_point_in") or ""), raw.get("hf_hook_point_out")
    if out and out != place:
        raise UnsupportedSAEError(f"{folder / CFG}: it reads {place} and writes {out}: a transcoder")
    return (module_hook(place) or place) if place else None


def _hook_of_folders(folder: Path) -> str:
    for part in folder.resolve().parts[-_DEPTH:]:
        other = _PARTS.search(part)
        if other:
            place = _ELSEWHERE.get(other[1], f"a {other[1].rstrip('s')}")
            raise UnsupportedSAEError(f"{folder}: {part!r} names a dictionary on {place}; only those on the residual stream are read")
    layer = re.search(r"layer_(\d+)", "/".join(folder.resolve().parts[-_DEPTH:]))
    if layer is None:
        raise LoadingError(f"{folder}: no folder of its path is named layer_N, which says where the dictionary reads")
    return f"blocks.{layer[1]}.hook_resid_post"
