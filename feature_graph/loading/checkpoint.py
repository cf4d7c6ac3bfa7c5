"""A transformers model from a folder or from the hub's cache, with every weight it has, or a refusal that says which it lacks.

``from_pretrained`` fills what a checkpoint lacks with random numbers and leaves out what it does not know; both are asked for here. A
model whose weights are not numbers is refused before any dictionary is put on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError

from feature_graph.loading.errors import LoadingError

log = logging.getLogger(__name__)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
#: How transformers ends for files that it cannot read.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError, HFValidationError)
_SHOWN = 3
#: Traces of tools in the names of weights, and what undoes them.
_TRACES = (
    (("base_layer", "lora_", "base_model.model."), "an unmerged LoRA: merge it with PEFT's merge_and_unload() and save the model again"),
    (("_orig_mod.",), "saved from torch.compile: save model._orig_mod, or take _orig_mod. out of the names"),
    (("module.",), "saved from DataParallel: save model.module, or take module. out of the names"),
    (("_fsdp_wrapped_module", "_checkpoint_wrapped_module"), "saved from a wrapped model: save the full state dict"),
    (("SCB", "qweight", "qzeros", "weight_scale", "absmax"), "quantised: save the model dequantised"),
)


def read_checkpoint(source: str | Path, what: str, *, trust_remote_code: bool = False) -> Any:
    """The transformers model, float32, on the CPU, in evaluation mode.

    Args:
        source: A folder, or a repository whose files the caller has made available.
        what: In words, for messages.
        trust_remote_code: Run the model's own code, for the few repositories of TransformerLens' list that bring some.

    Raises:
        LoadingError: If it cannot be read, weights are missing, of another shape, left out or not finite.
    """
    from transformers import AutoModelForCausalLM

    if isinstance(source, Path):
        _refuse_adapter(source, what)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(source),
            config=_config(source, trust_remote_code),
            trust_remote_code=trust_remote_code,
            dtype=torch.float32,
            attn_implementation="eager",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except _UNREADABLE as error:
        raise LoadingError(f"model_name: transformers cannot load {what}: {_first_line(error)}") from error
    _refuse_other_weights(info, {name for name, _ in model.named_parameters()}, what)
    _refuse_broken(model, what)
    return model.eval().requires_grad_(False)


def read_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a folder (None if it has none), or of a repository.

    Raises:
        LoadingError: If it has files of one that cannot be read.
    """
    from transformers import AutoTokenizer

    if isinstance(source, Path) and not any((source / name).is_file() for name in _TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(str(source))
    except _UNREADABLE as error:
        raise LoadingError(f"model_name: transformers cannot read the tokenizer in {source}: {_first_line(error)}") from error


def _config(source: str | Path, trust_remote_code: bool) -> Any:
    """The configuration; older fine-tunes lack pad_token_id, which transformers 5 reads."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(source), trust_remote_code=trust_remote_code)
    if not hasattr(config, "pad_token_id"):
        config.pad_token_id = None
    return config


def _refuse_adapter(folder: Path, what: str) -> None:
    found = [name for name in _ADAPTER_FILES if (folder / name).is_file()]
    if found:
        raise LoadingError(
            f"model_name: {what} holds {found[0]}, an adapter that is not merged into the weights; merge it with PEFT's "
            "merge_and_unload(), save the model, and name that folder"
        )


def _refuse_other_weights(info: Mapping[str, Iterable[Any]], parameters: set[str], what: str) -> None:
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    mismatched = sorted(info["mismatched_keys"], key=str)
    if mismatched:
        name, saved, wanted = mismatched[0]
        raise LoadingError(
            f"model_name: {len(mismatched)} weights of {what} have another shape than its config.json says, such as {name}: "
            f"{tuple(saved)} in the file, {tuple(wanted)} by the configuration; config.json and the weights are not of one model"
        )
    if missing:
        raise LoadingError(
            f"model_name: {len(missing)} weights of {what} are missing ({_some(missing)}) and would be random"
            + (f"; the files hold {len(unexpected)} weights that the model does not know ({_some(unexpected)})" if unexpected else "")
            + (f": {cause}" if (cause := _cause(unexpected)) else "; config.json and the weights are not of one model")
        )
    _refuse_left_out(unexpected, parameters, what)


def _refuse_left_out(unexpected: list[str], parameters: set[str], what: str) -> None:
    """What the files hold and the model does not take: refuse biases of its own layers and LoRA; say the rest."""
    biases = [k for k in unexpected if k.endswith(".bias") and k.removesuffix("bias") + "weight" in parameters]
    cause = _cause(unexpected)
    if biases or cause:
        why = f": {cause}" if cause else ", and would be another model without; put the setting that adds them into config.json"
        left_out = biases or unexpected
        raise LoadingError(f"model_name: {what} holds {len(left_out)} weights that its config.json leaves out ({_some(left_out)}){why}")
    if unexpected:
        log.warning("%s: %d weights of the files are not part of the model and are not used (%s)", what, len(unexpected), _some(unexpected))


def _cause(names: list[str]) -> str:
    return next((cause for marks, cause in _TRACES if any(mark in name for mark in marks for name in names)), "")


def _refuse_broken(model: Any, what: str) -> None:
    broken = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if broken:
        raise LoadingError(
            f"model_name: weights of {what} are NaN or infinite ({_some(broken)}): the model's file is damaged, or its training diverged"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
