"""Tiny random models in two forms, and the tensors inside their blocks as transformers' own modules give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gemma_weights, convert_olmo2_weights
from transformers import Olmo2Config, Olmo2ForCausalLM

from feature_graph.loading.conversion import PROCESSING, to_bridge, to_hooked
from tests.architectures import CONTEXT, PLAIN, VOCABULARY, WIDE, WIDTH, random_model, randomise

TOKENS = torch.randint(3, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))
_COMMON: dict[str, Any] = {
    "model_name": "tiny",
    "n_layers": 4,
    "d_model": WIDTH,
    "n_heads": 4,
    "d_mlp": 48,
    "d_vocab": VOCABULARY,
    "n_ctx": CONTEXT,
    "eps": 1e-6,
    "normalization_type": "RMS",
    "positional_embedding_type": "rotary",
    "gated_mlp": True,
    "final_rms": True,
    "default_prepend_bos": False,
}
_GEMMA: dict[str, Any] = _COMMON | {
    "d_head": 16,
    "n_key_value_heads": 2,
    "act_fn": "gelu_pytorch_tanh",
    "rotary_dim": 16,
    "attn_scale": 8**0.5,
    "use_normalization_before_and_after": True,
    "window_size": 8,
    "use_local_attn": True,
    "attn_types": ["local", "global", "local", "global"],
}
#: What loading runs on a bridge, by TransformerLens' own conversion: name → (configuration, converter).
_HAND_MADE: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "gemma2": (
        _GEMMA | {"original_architecture": "Gemma2ForCausalLM", "attn_scores_soft_cap": 50.0, "output_logits_soft_cap": 30.0},
        convert_gemma_weights,
    ),
    "gemma3": (
        _GEMMA | {"original_architecture": "Gemma3ForCausalLM", "use_qk_norm": True, "rotary_base": 1_000_000, "rotary_base_local": 10_000},
        convert_gemma_weights,
    ),
    "olmo2 ungrouped": (
        _COMMON
        | {
            "original_architecture": "Olmo2ForCausalLM",
            "d_head": 8,
            "act_fn": "silu",
            "rotary_dim": 8,
            "eps": 1e-5,
        },
        convert_olmo2_weights,
    ),
}

#: OLMo 2 that TransformerLens can convert, and with heads × d_head unlike d_model, which it cannot.
_OLMO2 = {"olmo2 ungrouped": PLAIN, "olmo2 head_dim": WIDE}


def transformers_model(name: str) -> Any:
    """A random model of ``tests.architectures``, or an OLMo 2 of :data:`_OLMO2`."""
    if name not in _OLMO2:
        return random_model(name)
    torch.manual_seed(0)
    model = Olmo2ForCausalLM(Olmo2Config(**_OLMO2[name])).eval()
    randomise(model)
    return model


def as_bridge(name: str) -> Any:
    """A TransformerBridge around such a model."""
    return to_bridge(transformers_model(name), "tiny", None)


def as_hooked(name: str, *, fold_ln: bool = False) -> HookedTransformer:
    """A HookedTransformer with the same weights, otherwise unprocessed."""
    processing = dict.fromkeys(PROCESSING, False) | {"fold_ln": fold_ln}
    if name not in _HAND_MADE:
        return to_hooked(transformers_model(name), "tiny", None, processing, {}, 48)
    values, convert = _HAND_MADE[name]
    cfg = HookedTransformerConfig(**values | ({"normalization_type": "RMSPre"} if fold_ln else {}))
    made = HookedTransformer(cfg)
    made.load_and_process_state_dict(convert(transformers_model(name), cfg), **processing)
    return made.eval()


def block_of(theirs: Any, index: int) -> Any:
    """A block of a transformers model."""
    base = theirs.base_model
    return (base.h if hasattr(base, "h") else base.layers)[index]


@torch.no_grad()
def own_tensors(theirs: Any, block: int, tokens: Tensor = TOKENS) -> dict[str, Tensor]:
    """The tensors of one block from transformers' modules, by torch's hooks; names of ``feature_graph.dictionaries.tensors``."""
    kept: dict[str, Tensor] = {}
    with _listening(_modules(block_of(theirs, block)), kept):
        theirs(tokens, use_cache=False)
    if "mlp_norm" in kept:
        norm = _modules(block_of(theirs, block))["mlp_norm"][0]
        bias = getattr(norm, "bias", None)
        kept["mlp_normalized"] = (kept.pop("mlp_norm") - (0.0 if bias is None else bias)) / _gain(norm)
    return kept


@contextmanager
def changed_at(theirs: Any, block: int, tensor: str, document: int, position: int, change: Tensor) -> Iterator[None]:
    """Add a vector [width] to a tensor of one block at one token of :data:`TOKENS`."""
    every = torch.zeros(*TOKENS.shape, len(change))
    every[document, position] = change
    with added_to(theirs, block, tensor, every):
        yield


@contextmanager
def added_to(theirs: Any, block: int, tensor: str, change: Tensor) -> Iterator[None]:
    """Add a vector [width], or one for each token, to a tensor of one block where a module takes or gives it."""
    module, side = _modules(block_of(theirs, block))[tensor]
    if side == "in":
        handle = module.register_forward_pre_hook(lambda _, args: (args[0] + change, *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _, __, out: (out[0] + change, *out[1:]) if isinstance(out, tuple) else out + change)
    try:
        yield
    finally:
        handle.remove()


def _gain(norm: nn.Module) -> Tensor | float:
    weight = getattr(norm, "weight", 1.0)  # OLMo's norm has none
    return weight + 1.0 if "Gemma" in type(norm).__name__ else weight


def _modules(block: Any) -> dict[str, tuple[nn.Module, str]]:
    """Name of a tensor → the module that takes or gives it."""
    attention = getattr(block, "attn", None) or getattr(block, "attention", None) or block.self_attn
    output = next(getattr(attention, name) for name in ("c_proj", "o_proj", "dense", "out_proj") if hasattr(attention, name))
    after = hasattr(block, "post_feedforward_layernorm")
    found = {
        "resid_pre": (block, "in"),
        "resid_post": (block, "out"),
        "z": (output, "in"),
        "attn_out": (block.post_attention_layernorm if after else attention, "out"),
        "mlp_in": (block.mlp, "in"),
        "mlp_out": (block.post_feedforward_layernorm if after else block.mlp, "out"),
    }
    before = _norm_before_mlp(block)
    if before is not None:
        found |= {"mlp_stream": (before, "in"), "mlp_norm": (before, "out")}
    elif after:  # OLMo 2
        found["mlp_stream"] = (block.mlp, "in")
    return found


def _norm_before_mlp(block: Any) -> nn.Module | None:
    if hasattr(block, "post_feedforward_layernorm"):
        return getattr(block, "pre_feedforward_layernorm", None)
    names = ("ln_2", "post_attention_layernorm", "ln_1", "input_layernorm")  # the last two where attention and MLP share one
    return next(norm for name in names if (norm := getattr(block, name, None)) is not None)


@contextmanager
def _listening(modules: dict[str, tuple[nn.Module, str]], kept: dict[str, Tensor]) -> Iterator[None]:
    def keep(name: str, side: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            value = (args[0] if args else kwargs["hidden_states"]) if side == "in" else out
            kept[name] = (value[0] if isinstance(value, tuple) else value).detach().clone()

        return hook

    handles = [module.register_forward_hook(keep(name, side), with_kwargs=True) for name, (module, side) in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
