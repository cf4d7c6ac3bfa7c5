"""Tensors inside the blocks of slices: read, they are transformers' own; changed, the model goes on as transformers' does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from feature_graph.dictionaries import TensorName
from feature_graph.interventions import BlockTaps, ModelSlices
from feature_graph.loading import relative
from tests.support.component_models import TOKENS, added_to, as_bridge, as_hooked, own_tensors, transformers_model

BLOCK = 1
MODELS = [
    (as_hooked, "gpt2"),
    (as_bridge, "gpt2"),
    (as_hooked, "gpt_neox"),
    (as_bridge, "gpt_neox"),
    (as_hooked, "llama head_dim"),
    (as_bridge, "llama head_dim"),
    (as_hooked, "qwen3"),
    (as_bridge, "gemma2"),
    (as_bridge, "gemma3"),
    (as_bridge, "olmo2 head_dim"),
    (as_bridge, "granite"),
    (as_bridge, "phi"),
]
#: What can be changed from outside at one of transformers' modules.
CHANGED: tuple[TensorName, ...] = ("z", "attn_out", "mlp_in", "mlp_out", "resid_pre", "resid_post")


def tensors_of(name: str) -> list[TensorName]:
    parallel, post_norm = name in ("gpt_neox", "phi"), name.startswith("olmo2")
    every: list[TensorName] = ["resid_pre", "z", "attn_out", "mlp_stream", "mlp_in", "mlp_out", "resid_post"]
    return every + (["resid_mid"] if not parallel else []) + (["mlp_normalized"] if not post_norm else [])  # type: ignore[list-item]


def added(name: str, tensor: TensorName, truth: torch.Tensor) -> torch.Tensor:
    """What Granite's modules give is added to the stream scaled."""
    return truth * 0.5 if name == "granite" and tensor in ("attn_out", "mlp_out") else truth


@torch.no_grad()
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_tensors_of_slices_equal_those_of_the_modules(form: Any, name: str) -> None:
    slices = ModelSlices(form(name))
    truth = own_tensors(transformers_model(name), BLOCK)
    truth |= {"resid_mid": truth["mlp_stream"]}
    whole = BlockTaps(read=[(BLOCK, tensor) for tensor in tensors_of(name)])
    start = slices.residuals(TOKENS, [0], range(2)).residuals[0]
    untouched = slices.run(start, 0, 2)
    assert torch.allclose(slices.run(start, 0, 2, taps=whole), untouched, rtol=1e-5, atol=1e-5)
    for tensor in tensors_of(name):
        assert relative(whole.found[BLOCK, tensor], added(name, tensor, truth[tensor])) < 1e-5, tensor
    assert set(whole.found) == {(BLOCK, tensor) for tensor in tensors_of(name)}


@torch.no_grad()
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_after_a_cached_prefix_they_are_the_same(form: Any, name: str) -> None:
    slices = ModelSlices(form(name))
    truth = own_tensors(transformers_model(name), BLOCK)
    clean = slices.residuals(TOKENS, [0], range(2))
    documents, positions = torch.arange(len(TOKENS)), torch.tensor([5, 9])
    x = torch.stack([clean.residuals[0][d, p : p + 3] for d, p in zip(documents, positions, strict=True)])[:, None]
    taps = BlockTaps(read=[(BLOCK, "z"), (BLOCK, "mlp_in")])
    slices.advance(x, 0, 2, clean, documents, positions, taps)
    for tensor in ("z", "mlp_in"):
        expected = torch.stack([truth[tensor][d, p : p + 3] for d, p in zip(documents, positions, strict=True)])[:, None]
        assert relative(taps.found[BLOCK, tensor], expected) < 1e-5, tensor


@torch.no_grad()
@pytest.mark.parametrize("tensor", CHANGED)
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_what_is_changed_goes_on_as_in_the_model_itself(form: Any, name: str, tensor: TensorName) -> None:
    theirs, slices = transformers_model(name), ModelSlices(form(name))
    change = torch.randn(own_tensors(theirs, BLOCK)[tensor].shape[-1], generator=torch.Generator().manual_seed(5))
    with added_to(theirs, BLOCK, tensor, change):
        expected = theirs(TOKENS, use_cache=False).logits
    taps = BlockTaps(change={(BLOCK, tensor): lambda x: x + added(name, tensor, change)})
    x = slices.run(slices.embed(TOKENS), 0, slices.n_blocks, taps=taps)
    assert relative(slices.logits(x), expected) < 2e-5
    assert relative(slices.logits_from(0, slices.embed(TOKENS)), expected) > 1e-3


@torch.no_grad()
def test_a_change_before_the_norm_of_the_mlp_is_seen_by_the_mlp_alone() -> None:
    """``mlp_stream`` is the beginning of the MLP's branch, not the stream: what is added there is not carried on."""
    slices = ModelSlices(as_hooked("llama"))
    change = torch.randn(slices.d_model, generator=torch.Generator().manual_seed(5))
    after, reads = {}, [(BLOCK, "mlp_in"), (BLOCK, "mlp_out"), (BLOCK, "resid_mid"), (BLOCK, "resid_post")]
    start = slices.embed(TOKENS)
    for name in ("mlp_stream", "resid_mid", "none"):
        taps = BlockTaps(read=reads, change={(BLOCK, name): lambda x: x + change} if name != "none" else None)  # type: ignore[dict-item, arg-type]
        slices.run(start, 0, 2, taps=taps)
        after[name] = taps.found
    assert torch.equal(after["mlp_stream"][BLOCK, "mlp_in"], after["resid_mid"][BLOCK, "mlp_in"])
    assert torch.equal(after["mlp_stream"][BLOCK, "resid_mid"], after["none"][BLOCK, "resid_mid"])
    carried = after["resid_mid"][BLOCK, "resid_post"] - after["mlp_stream"][BLOCK, "resid_post"]
    assert torch.allclose(carried, change.expand_as(carried), atol=1e-5)
