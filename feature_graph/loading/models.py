"""A language model as a HookedTransformer: the hub's, a local folder in transformers' format, or the bundled one."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformer_lens import HookedTransformer
from transformer_lens.loading_from_pretrained import get_official_model_name, get_pretrained_model_config, get_pretrained_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from feature_graph.config import BUNDLED_MODEL, Config
from feature_graph.loading.bundled import load_bundled_model
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.hub import Need, access

log = logging.getLogger(__name__)

#: Weight processing, off unless the dictionaries ask for it: the residual stream is then the one the model computes.
PROCESSING = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")


def resolve_device(name: str) -> str:
    """The torch device of a configuration; ``auto`` takes a GPU if there is one.

    Raises:
        LoadingError: If the device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        raise LoadingError(f"device: got {name!r}, which this machine does not have; use cpu or auto")
    return name


def load_model(cfg: Config, settings: Mapping[str, Any] | None = None) -> HookedTransformer:
    """Load ``cfg.model_name``, float32, with its tokenizer if it has one.

    Args:
        cfg: The run's configuration.
        settings: What the dictionaries ask of the model, such as ``{"center_writing_weights": True}``.

    Raises:
        LoadingError: If the name is unknown, or a setting is.
        OfflineError: If it is neither on this machine nor reachable.
    """
    asked = dict(settings or {})
    device = resolve_device(cfg.device)
    with _deprecation_known(), _prints_to_log():
        if cfg.model_name.startswith("bundled:"):
            model = _bundled(cfg, asked, device)
        elif Path(cfg.model_name).is_dir():
            model = _local(Path(cfg.model_name), asked, device)
        else:
            model = _from_hub(cfg.model_name, asked, device)
    return model.eval().requires_grad_(False)


def _bundled(cfg: Config, asked: dict[str, Any], device: str) -> HookedTransformer:
    if cfg.model_name != BUNDLED_MODEL:
        raise LoadingError(f"model_name: got {cfg.model_name!r}; the bundled model is {BUNDLED_MODEL!r}")
    if any(asked.values()):
        raise LoadingError(f"the dictionaries ask for {asked}, but the bundled model is used as it is; they belong to another model")
    return load_bundled_model(device)


def _local(folder: Path, asked: dict[str, Any], device: str) -> HookedTransformer:
    if not (folder / "config.json").is_file():
        raise LoadingError(f"model_name: {folder} has no config.json; expected a folder in transformers' format (save_pretrained)")
    processing, other = _split(asked)
    path = str(folder.resolve())
    try:
        model_cfg = get_pretrained_model_config(path, device=device, dtype=torch.float32, fold_ln=processing["fold_ln"], **other)
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise LoadingError(f"model_name: TransformerLens cannot take {folder / 'config.json'}: {error}") from error
    model_cfg.model_name = folder.name
    # Given a path alone, TransformerLens takes any with "bert" or "t5" in it for such a model, and folders below /home/albert are many.
    hf_model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    state = get_pretrained_state_dict(path, model_cfg, hf_model=hf_model, dtype=torch.float32)
    model_cfg.tokenizer_name = None  # else an empty tokenizer is made up where the folder has none
    tokenizer = AutoTokenizer.from_pretrained(path) if any((folder / name).is_file() for name in _TOKENIZER_FILES) else None
    model = HookedTransformer(model_cfg, tokenizer=tokenizer, move_to_device=False)
    model.load_and_process_state_dict(state, **processing)
    model.to(device, print_details=False)
    return model


def _from_hub(name: str, asked: dict[str, Any], device: str) -> HookedTransformer:
    try:
        official = get_official_model_name(name)
    except ValueError as error:
        raise LoadingError(
            f"model_name: got {name!r}; expected a name that TransformerLens knows (such as gpt2-small), an existing folder in "
            f"transformers' format, or {BUNDLED_MODEL}"
        ) from error
    processing, other = _split(asked)
    with access(Need(f"model {name}", official, local_way="a local folder in transformers' format as model_name")):
        return HookedTransformer.from_pretrained_no_processing(name, device=device, dtype=torch.float32, **processing, **other)


def _split(asked: dict[str, Any]) -> tuple[dict[str, bool], dict[str, Any]]:
    processing = {key: bool(asked.pop(key, False)) for key in PROCESSING}
    return processing, asked


@contextlib.contextmanager
def _deprecation_known() -> Iterator[None]:
    """HookedTransformer is used knowingly: its successor cannot yet start at a layer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="HookedTransformer", category=DeprecationWarning)
        yield


@contextlib.contextmanager
def _prints_to_log() -> Iterator[None]:
    """TransformerLens prints; a library does not."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield
    for line in text.getvalue().splitlines():
        log.debug("%s", line)
