"""dictionary_learning's folders (saprmarks): ``config.json`` and ``ae.pt``, the class of the dictionary named in the settings.

Each class by its own ``encode``; W, b, b′ stand for encoder, encoder bias and decoder bias:

- AutoEncoder: relu(W (x − b′) + b); AutoEncoderNew: relu(W x + b);
- AutoEncoderTopK: the k largest of relu(W (x − b′) + b);
- BatchTopKSAE, MatryoshkaBatchTopKSAE: relu(W (x − b′) + b) where above one threshold, else 0;
- JumpReluAutoEncoder: W x + b where above each feature's threshold (and 0), else 0;
- GatedAutoEncoder: relu(e^r ∘ W (x − b′) + b_mag) where W (x − b′) + b_gate > 0, else 0.

What is read is the output of a module of the transformers model, or its input (``buffer.io``); which module, the settings say, else the
folders' names: ``resid_out_layer3/10_32768``, ``mlp_out_layer3``, ``attn_out_layer_8/trainer_0``, ``gpt_neox.layers.3.mlp``.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feature_graph.dictionaries import hook_in
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families.files import read_settings, read_torch
from feature_graph.loading.families.parts import DictionaryParts

log = logging.getLogger(__name__)
CFG, WEIGHTS = "config.json", "ae.pt"
_NAMES = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
    "bias": "b_dec",
    "decoder_bias": "b_dec",
    "gate_bias": "b_gate",
    "mag_bias": "b_mag",
}
_TRANSPOSED = ("encoder.weight", "decoder.weight")
_COMPONENTS = (
    re.compile(r"(?P<what>attention|attn|att|mlp)(?:_(?P<side>out|in))?_layer_?(?P<block>\d+)"),
    re.compile(r"(?:\w+\.)*(?:layers|h|blocks)\.(?P<block>\d+)\.(?P<what>self_attn|attention|attn|mlp)(?P<side>)"),
)
#: Part of a block, side of the module → the hook; attention's input is no place at which dictionaries are read.
_HOOKS = {("attn", "out"): "attn.hook_out", ("mlp", "out"): "mlp.hook_out", ("mlp", "in"): "mlp.hook_in"}
_ELSEWHERE = re.compile(r"att|mlp|embed|coder|query|key|value|head", re.IGNORECASE)
#: Class → SAELens' architecture, and whether b′ is taken off the input.
_CLASSES = {
    "AutoEncoder": ("standard", True),
    "AutoEncoderNew": ("standard", False),
    "AutoEncoderTopK": ("topk", True),
    "BatchTopKSAE": ("jumprelu", True),
    "MatryoshkaBatchTopKSAE": ("jumprelu", True),
    "JumpReluAutoEncoder": ("jumprelu", False),
    "GatedAutoEncoder": ("gated", True),
}
#: Old settings name the trainer and not the class.
_OF_TRAINER = {
    "StandardTrainer": "AutoEncoder",
    "StandardTrainerAprilUpdate": "AutoEncoder",
    "PAnnealTrainer": "AutoEncoder",
    "TrainerTopK": "AutoEncoderTopK",
    "TopKTrainer": "AutoEncoderTopK",
    "BatchTopKTrainer": "BatchTopKSAE",
    "MatryoshkaBatchTopKTrainer": "MatryoshkaBatchTopKSAE",
    "GatedSAETrainer": "GatedAutoEncoder",
    "GatedAnnealTrainer": "GatedAutoEncoder",
    "JumpReluTrainer": "JumpReluAutoEncoder",
}


def read(folder: Path) -> DictionaryParts:
    """Read one folder.

    Raises:
        LoadingError: If a file is missing or damaged, or settings and weights do not fit.
        UnsupportedSAEError: If the class of the dictionary is not one of those above, or its place cannot be told.
    """
    raw, file = read_settings(folder / CFG), folder / WEIGHTS
    trainer = _group(raw, "trainer") or raw
    name = str(trainer.get("dict_class") or _OF_TRAINER.get(str(trainer.get("trainer_class")), trainer.get("trainer_class")))
    if name == "None":
        raise LoadingError(f"{folder / CFG} names no trainer.dict_class, which says of what kind the weights are")
    if name not in _CLASSES:
        raise UnsupportedSAEError(f"{folder / CFG}: dict_class {name!r} is not read; expected {', '.join(_CLASSES)}")
    tensors = read_torch(file)
    weights = {_NAMES.get(key, key): value.T if key in _TRANSPOSED else value for key, value in tensors.items()}
    settings = _settings(name, trainer, weights, file) | {
        "d_in": trainer.get("activation_dim"),
        "d_sae": trainer.get("dict_size"),
        "metadata": _metadata(raw, trainer, folder),
    }
    return DictionaryParts(settings, {key: value for key, value in weights.items() if key not in ("k", "group_sizes")}, file)


def _group(raw: dict[str, Any], key: str) -> dict[str, Any]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def _metadata(raw: dict[str, Any], trainer: dict[str, Any], folder: Path) -> dict[str, Any]:
    buffer = _group(raw, "buffer")
    io = buffer.get("io", "out")
    if io not in ("in", "out"):
        raise UnsupportedSAEError(f"{folder / CFG}: the buffer recorded io = {io!r}: it reads one place and writes another")
    place = str(trainer.get("submodule_name") or "")
    hook = _hook(place, io, folder) or _hook(f"{folder.parent.name}/{folder.name}", io, folder)
    if hook is None and isinstance(trainer.get("layer"), int) and not _ELSEWHERE.search(place):
        hook = f"blocks.{trainer['layer']}.hook_resid_post"
    if hook is not None and io == "in":
        hook = hook.replace("hook_resid_post", "hook_resid_pre")
    model = str(trainer.get("lm_name") or "").split("/")[-1]
    said = {"hook_name": hook or place, "model_name": model, "context_size": buffer.get("ctx_len"), "prepend_bos": True}
    return {key: value for key, value in said.items() if value not in (None, "")}


def _hook(name: str, io: str, folder: Path) -> str | None:
    """The hook that a name of a module or a folder means; None if it means none.

    Raises:
        UnsupportedSAEError: If name and settings disagree on the side of the module, or it is attention's input.
    """
    match = next((found for pattern in _COMPONENTS for part in name.split("/") if (found := pattern.fullmatch(part))), None)
    if match is None:
        return hook_in(name)
    side, what = match["side"] or io, "mlp" if match["what"] == "mlp" else "attn"
    if side != io or (what, side) not in _HOOKS:
        raise UnsupportedSAEError(
            f"{folder / CFG}: the buffer recorded io = {io!r} of {match[0]}; read are attention's output and an MLP's input and output"
        )
    return f"blocks.{match['block']}.{_HOOKS[what, side]}"


def _settings(name: str, trainer: dict[str, Any], weights: dict[str, Tensor], file: Path) -> dict[str, Any]:
    """SAELens' settings of a class; ``weights`` are brought to the shapes that go with them."""
    architecture, centred = _CLASSES[name]
    if name == "AutoEncoderTopK":
        weights.pop("threshold", None)  # kept by the family for another way to encode, not used by its encode()
        return {"architecture": architecture, "apply_b_dec_to_input": centred, "k": _k(trainer, weights, file)}
    threshold = weights.get("threshold")
    if name in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE") and threshold is not None and threshold.numel() == 1 and "b_enc" in weights:
        if float(threshold) < 0:
            log.warning("%s: the threshold was never set in training: every positive feature counts as active", file)
        weights["threshold"] = torch.full(weights["b_enc"].shape, float(threshold))
    return {"architecture": architecture, "apply_b_dec_to_input": centred}


def _k(trainer: dict[str, Any], weights: dict[str, Tensor], file: Path) -> int:
    said, held = trainer.get("k"), weights.get("k")
    k = said if held is None else int(held)
    if not isinstance(k, int) or k < 1:
        raise LoadingError(f"{file}: neither the file nor {CFG} says k, the number of features per token")
    if said is not None and said != k:
        raise LoadingError(f"{file} says k = {k}, but {CFG} next to it says k = {said}; the two files do not belong together")
    return k
