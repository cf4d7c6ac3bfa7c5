"""The tensors that dictionaries read and write are those of transformers' own modules, on random models of every architecture."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from feature_graph.dictionaries import LoadingError, TensorName, is_parallel, output_weights, read_tensors, tensor_hook, width_of
from feature_graph.loading import relative
from tests.support.component_models import TOKENS, added_to, as_bridge, as_hooked, block_of, own_tensors, transformers_model

FORMS = {"HookedTransformer": as_hooked, "TransformerBridge": as_bridge}
BOTH = ("gpt2", "gpt_neox", "gpt_neox serial", "gptj", "llama", "llama head_dim", "qwen3", "gemma2", "gemma3", "olmo2 ungrouped")
BRIDGED = ("phi", "stablelm", "stablelm parallel", "granite", "gemma", "olmo", "mistral window", "qwen2", "olmo2 head_dim")
CASES = [(form, name) for name in BOTH for form in FORMS] + [("TransformerBridge", name) for name in BRIDGED]
PARALLEL = {"gpt_neox", "gptj", "phi", "stablelm parallel"}
NAMES: tuple[TensorName, ...] = get_args(TensorName)


def available(name: str) -> list[TensorName]:
    """The tensors that an architecture has."""
    lacking = {"resid_mid"} if name in PARALLEL else set()
    return [tensor for tensor in NAMES if tensor not in (lacking | ({"mlp_normalized"} if name.startswith("olmo2") else set()))]


@pytest.mark.parametrize(("form", "name"), CASES)
@pytest.mark.parametrize("block", [1, 2])
def test_tensors_equal_those_of_the_modules(form: str, name: str, block: int) -> None:
    model: Any = FORMS[form](name)
    truth = own_tensors(transformers_model(name), block)
    truth |= {"resid_mid": truth["mlp_stream"]}
    hooks = {tensor: tensor_hook(model, tensor, block) for tensor in available(name)}
    found = read_tensors(model, TOKENS, hooks.values())
    for tensor, hook in hooks.items():
        expected = truth[tensor] * residual_multiplier(name) if tensor in ("attn_out", "mlp_out") else truth[tensor]
        assert found[hook].shape == (*TOKENS.shape, width_of(model, tensor))
        assert relative(found[hook], expected) < 1e-5, tensor
    assert is_parallel(model) == (name in PARALLEL)


@torch.no_grad()
@pytest.mark.parametrize(("form", "name"), CASES)
def test_what_is_written_at_z_goes_through_the_output_weights_and_a_norm(form: str, name: str) -> None:
    theirs = transformers_model(name)
    weights, block = output_weights(FORMS[form](name), 1), block_of(theirs, 1)
    norm = block.post_attention_layernorm if hasattr(block, "post_feedforward_layernorm") else None
    before, change = own_tensors(theirs, 1), torch.randn(len(weights), generator=torch.Generator().manual_seed(5))
    with added_to(theirs, 1, "z", change):
        after = own_tensors(theirs, 1)
    if norm is None:
        moved = (after["attn_out"] - before["attn_out"]) * residual_multiplier(name)
        assert relative(moved, (change @ weights).expand_as(moved)) < 1e-5
    else:
        assert relative(after["attn_out"], norm((before["z"] + change) @ weights)) < 1e-5
        assert relative(before["attn_out"], norm(before["z"] @ weights)) < 1e-5


def residual_multiplier(name: str) -> float:
    """What Granite multiplies by before it adds to the stream."""
    return 0.5 if name == "granite" else 1.0


def test_the_middle_of_the_stream_and_norms_that_do_not_exist_are_refused() -> None:
    with pytest.raises(LoadingError, match="block 1: resid_mid: attention and MLP of this model both read the stream before the block"):
        tensor_hook(as_bridge("gpt_neox"), "resid_mid", 1)
    for form in FORMS.values():
        with pytest.raises(LoadingError, match="mlp_normalized: no norm stands before the MLP"):
            tensor_hook(form("olmo2 ungrouped"), "mlp_normalized", 1)
    with pytest.raises(LoadingError, match="block 4: the model has blocks 0 to 3"):
        tensor_hook(as_bridge("llama"), "z", 4)
    attention_only = HookedTransformer(HookedTransformerConfig(n_layers=1, d_model=8, n_ctx=8, d_head=4, d_vocab=9, attn_only=True))
    with pytest.raises(LoadingError, match="the model has no MLPs"):
        tensor_hook(attention_only, "mlp_out", 0)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_hook_mlp_in_of_transformer_lens_is_the_stream_before_the_norm(name: str) -> None:
    model = as_hooked(name)
    model.set_use_hook_mlp_in(True)
    _, cache = model.run_with_cache(TOKENS)
    stream = tensor_hook(model, "mlp_stream", 1)
    assert relative(cache["blocks.1.hook_mlp_in"], stream.read(cache)) == 0
    assert relative(cache["blocks.1.hook_mlp_in"], tensor_hook(model, "mlp_in", 1).read(cache)) > 0.1


@pytest.mark.parametrize(("name", "form"), [(name, form) for name in ("gpt2", "llama", "gpt_neox", "gemma2") for form in FORMS])
def test_a_gain_that_is_folded_away_cannot_be_read(name: str, form: str) -> None:
    """Without the gain the tensor is the same as before; what the MLP read with it is gone."""
    plain, folded = FORMS[form](name), folded_norms(form, name)
    wanted = tensor_hook(plain, "mlp_normalized", 1)
    found = read_tensors(folded, TOKENS, [tensor_hook(folded, "mlp_normalized", 1)])
    assert relative(next(iter(found.values())), read_tensors(plain, TOKENS, [wanted])[wanted]) < 1e-5
    with pytest.raises(LoadingError, match=r"mlp_in: the gain of the norm .* is folded .* load the model without fold_ln"):
        tensor_hook(folded, "mlp_in", 1)


def folded_norms(form: str, name: str) -> Any:
    """The model with the gains of its norms folded into the weights that follow, and nothing else processed."""
    if form == "TransformerBridge":
        model = as_bridge(name)
        model.process_weights(fold_ln=True, center_writing_weights=False, center_unembed=False, fold_value_biases=False)
        return model
    return as_hooked(name, fold_ln=True)


def test_the_output_of_olmo_2_is_not_folded() -> None:
    """Its norms stand after attention and MLP, so that processing leaves them alone."""
    model, truth = as_bridge("olmo2 head_dim"), own_tensors(transformers_model("olmo2 head_dim"), 1)
    with pytest.warns(UserWarning, match="does not support fold_ln"):
        model.process_weights(fold_ln=True, center_writing_weights=False, center_unembed=False, fold_value_biases=False)
    hook = tensor_hook(model, "mlp_in", 1)
    assert relative(read_tensors(model, TOKENS, [hook])[hook], truth["mlp_in"]) < 1e-5


def test_heads_side_by_side_are_flattened() -> None:
    bridge = as_bridge("qwen3")
    bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    hook = tensor_hook(bridge, "z", 1)
    _, cache = bridge.run_with_cache(TOKENS)
    assert cache[hook.hook].shape == (*TOKENS.shape, 4, 16)
    assert relative(hook.read(cache), own_tensors(transformers_model("qwen3"), 1)["z"]) < 1e-5


def test_a_model_without_norms_shows_its_stream_to_the_mlp() -> None:
    cfg = HookedTransformerConfig(
        n_layers=2, d_model=8, n_ctx=8, d_head=4, n_heads=2, d_vocab=9, d_mlp=12, act_fn="relu", normalization_type=None, seed=0
    )
    model = HookedTransformer(cfg)
    tokens = torch.arange(1, 8)[None]
    read, stream = tensor_hook(model, "mlp_in", 1), tensor_hook(model, "resid_mid", 1)
    found = read_tensors(model, tokens, [read, stream])
    assert torch.equal(found[read], found[stream])
    with pytest.raises(LoadingError, match="no norm stands before the MLP"):
        tensor_hook(model, "mlp_normalized", 1)
