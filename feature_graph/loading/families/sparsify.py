"""sparsify's folders (EleutherAI): ``cfg.json`` and ``sae.safetensors``, hook points as modules of the transformers model.

The family's formula, of every version that wrote such files: the k largest of relu(W_enc (x − b_dec) + b_enc), decoded by W_dec [latents,
d_in] and b_dec. SAELens' own reader transposes W_dec and leaves b_dec out of the encoder, so it is not used. A transcoder
(``transcode``) does not take b_dec off what it reads, and may have a skip connection W_skip [d_out, d_in].
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families.files import read_json, read_safetensors, read_settings
from feature_graph.loading.families.parts import DictionaryParts

CFG, WEIGHTS = "cfg.json", "sae.safetensors"
_MLP = re.compile(r"(?:\w+\.)*(?:layers|h|blocks)\.(\d+)\.mlp")
_REFUSED = {
    "signed": "it keeps the features of largest magnitude, negative ones too",
}
_NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}


def read(folder: Path) -> DictionaryParts:
    """Read one folder.

    Raises:
        LoadingError: If a file is missing or damaged, or settings and weights do not fit.
        UnsupportedSAEError: If it is signed, not TopK, or an SAE with a skip connection.
    """
    raw, file = read_settings(folder / CFG), folder / WEIGHTS
    for key, why in _REFUSED.items():
        if raw.get(key):
            raise UnsupportedSAEError(f"{folder / CFG}: {key} is set: {why}")
    transcoder, skip = bool(raw.get("transcode")), bool(raw.get("skip_connection"))
    if skip and not transcoder:
        raise UnsupportedSAEError(f"{folder / CFG}: skip_connection is set: it has a skip connection in addition to its features")
    if raw.get("activation", "topk") != "topk":
        raise UnsupportedSAEError(f"{folder / CFG}: activation {raw['activation']!r}: only topk is read")
    if not isinstance(raw.get("k"), int) or raw["k"] < 1:
        raise LoadingError(f"{folder / CFG}: k = {raw.get('k')!r}; expected the number of features per token")
    if re.fullmatch(r"layer_\d+", folder.name):
        raise LoadingError(
            f"{folder}: the versions of sparsify that wrote folders named layer_N read the block's input in some and its output in others; "
            "rename the folder after the hook, such as blocks.5.hook_resid_post"
        )
    tensors = read_safetensors(file)
    weights = {_NAMES.get(key, key): value for key, value in tensors.items()}
    if "W_dec" not in weights:
        raise UnsupportedSAEError(f"{file} has no W_dec: an encoder alone has no directions to follow")
    if "W_enc" in weights:
        weights["W_enc"] = weights["W_enc"].T
    kind = f"topk_{'skip_' if skip else ''}transcoder" if transcoder else "topk"
    settings = {"architecture": kind, "k": raw["k"], "d_in": raw.get("d_in"), "d_sae": _latents(raw)}
    settings["apply_b_dec_to_input"] = not transcoder
    metadata = _metadata(folder) | (_places(folder) if transcoder else {})
    return DictionaryParts(settings | {"metadata": metadata}, _only_tensors(weights), file)


def _places(folder: Path) -> dict[str, str]:
    """What a transcoder in a folder named after an MLP (``layers.5.mlp``) reads and writes: that module's input and output."""
    match = _MLP.fullmatch(folder.name)
    return {} if match is None else {"hook_name": f"blocks.{match[1]}.mlp.hook_in", "hook_name_out": f"blocks.{match[1]}.mlp.hook_out"}


def _latents(raw: dict[str, Any]) -> int | None:
    said = raw.get("num_latents") or None
    if said is None and isinstance(raw.get("expansion_factor"), int) and isinstance(raw.get("d_in"), int):
        said = raw["d_in"] * raw["expansion_factor"]
    return said


def _metadata(folder: Path) -> dict[str, Any]:
    """What the run's own config.json, one folder up, says of model and text."""
    above = folder.parent / "config.json"
    run = read_json(above) if above.is_file() else {}
    said = {"model_name": run.get("model"), "context_size": run.get("ctx_len"), "dataset_path": run.get("dataset"), "prepend_bos": True}
    return {key: value for key, value in said.items() if value is not None}


def _only_tensors(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if value.ndim}
