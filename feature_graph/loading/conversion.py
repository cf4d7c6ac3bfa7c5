"""From a transformers model to one with hooks: a HookedTransformer, or a TransformerBridge around the model itself.

Only the model's own configuration decides what it is. TransformerLens looks into the path of a folder for names of models ("llama",
"gemma-2-"); it is shown a neutral one.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from feature_graph.dictionaries import LoadingError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.model_bridge import TransformerBridge

#: Weight processing, off unless the dictionaries ask for it: the residual stream is then the one the model computes.
PROCESSING = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices")
#: Words in a path that TransformerLens takes for a model's name.
_TELLING = ("llama", "gemma", "wav2vec2")


class ConversionError(LoadingError):
    """TransformerLens has no way for this model; the message says why."""


def split_settings(asked: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, Any]]:
    """What dictionaries ask of the model: processing of weights, and everything else."""
    return {key: bool(asked.get(key, False)) for key in PROCESSING}, {k: v for k, v in asked.items() if k not in PROCESSING}


def to_hooked(
    model: Any, name: str, tokenizer: Any, processing: Mapping[str, bool], other: Mapping[str, Any], context_length: int
) -> HookedTransformer:
    """Convert by TransformerLens' own tables and converters; nothing is compared here.

    Args:
        model: The transformers model.
        name: What it is to be called.
        tokenizer: Its tokenizer, or None.
        processing: Of :data:`PROCESSING`.
        other: Further arguments of TransformerLens' configuration.
        context_length: Contexts that it must be able to read, if the model itself can.

    Raises:
        ConversionError: If TransformerLens does not know the architecture, or one of its settings.
    """
    from transformer_lens import HookedTransformer
    from transformer_lens.loading_from_pretrained import get_pretrained_model_config, get_pretrained_state_dict

    with _neutral_folder(model) as folder, refusals():
        cfg = get_pretrained_model_config(folder, device="cpu", dtype=torch.float32, fold_ln=processing["fold_ln"], **other)
        _amend(cfg, model.config.get_text_config(), context_length)
        state = get_pretrained_state_dict(folder, cfg, hf_model=model, dtype=torch.float32)
        cfg.model_name, cfg.tokenizer_name = name, None  # else an empty tokenizer is made up where the folder has none
        made = HookedTransformer(cfg, tokenizer=tokenizer, move_to_device=False)
        made.load_and_process_state_dict(state, **processing)
    return made.eval()


def to_bridge(model: Any, name: str, tokenizer: Any) -> TransformerBridge:
    """Put hooks around the transformers model itself; its weights are not copied.

    Raises:
        ConversionError: If TransformerLens has no bridge for the architecture.
    """
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    architecture = type(model).__name__
    if architecture not in SUPPORTED_ARCHITECTURES:
        raise ConversionError(f"TransformerLens has no bridge for {architecture}")
    with refusals():
        bridge = build_bridge_from_module(
            model, architecture, hf_config=model.config, tokenizer=tokenizer, dtype=torch.float32, device="cpu", model_name=name
        )
    return bridge.eval()


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """TransformerLens' converters, and the models they make, fail in many ways on what they do not know.

    Raises:
        ConversionError: With the first words of what ended them.
    """
    try:
        yield
    except ConversionError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = " ".join(lines[:2])[:160] or type(error).__name__
        raise ConversionError(detail) from error


@contextlib.contextmanager
def _neutral_folder(model: Any) -> Iterator[str]:
    """A folder with the model's config.json, in the words that TransformerLens reads, whose path names no model."""
    values = model.config.to_dict() | {"architectures": [type(model).__name__]}
    if values["model_type"] == "gpt2":
        values["n_ctx"] = values["n_positions"]
    for base in (None, "/tmp", "/var/tmp"):
        with tempfile.TemporaryDirectory(prefix="fg-", dir=base) as folder:
            if any(word in folder.lower() for word in _TELLING):
                continue
            Path(folder, "config.json").write_text(json.dumps(values, default=str))
            yield folder
            return
    raise ConversionError(f"no folder for temporary files is free of the words {', '.join(_TELLING)}; set TMPDIR to another")


def _amend(cfg: HookedTransformerConfig, text: Any, context_length: int) -> None:
    """Sizes that TransformerLens derives where the configuration states them."""
    hidden = getattr(text, "n_inner", None) if hasattr(text, "n_inner") else None
    hidden = getattr(text, "intermediate_size", None) if text.model_type == "gpt_neo" else hidden
    if hidden is not None:
        cfg.d_mlp = int(hidden)
    head = getattr(text, "head_dim", None)
    if head and int(head) != cfg.d_head:
        if cfg.rotary_dim == cfg.d_head:
            cfg.rotary_dim = int(head)
        cfg.d_head = int(head)
        cfg.attn_scale = cfg.d_head**0.5 if cfg.use_attn_scale else 1.0
    longest = getattr(text, "max_position_embeddings", None)
    if cfg.positional_embedding_type == "rotary" and longest and cfg.n_ctx < context_length:
        cfg.n_ctx = min(int(longest), context_length)
