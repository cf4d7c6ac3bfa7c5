"""Folders in transformers' format: what runs computes what transformers computes, or is refused in one sentence; nothing in between."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as T

from feature_graph.config import Config
from feature_graph.dictionaries.tokens import random_tokens
from feature_graph.interventions import InterventionError, ModelSlices
from feature_graph.loading import LoadingError
from feature_graph.loading.models import load_model
from tests.architectures import CONTEXT, LLAMA, MODELS, WIDTH, random_model, randomise, write

HOOKED, BRIDGE = "HookedTransformer", "TransformerBridge"
#: Name → what runs it, for the everyday part.
CORE = {
    "gpt2": HOOKED,
    "gpt2 n_inner": HOOKED,
    "gpt2 quick_gelu": BRIDGE,
    "gpt_neox serial": HOOKED,
    "llama": HOOKED,
    "llama llama3": HOOKED,
    "llama head_dim": HOOKED,
    "llama linear": BRIDGE,
    "llama longrope": BRIDGE,
    "llama attention_bias": BRIDGE,
    "llama mlp_bias": BRIDGE,
    "mistral window": HOOKED,
    "qwen2 window": BRIDGE,
    "gemma2": BRIDGE,
    "gemma3 bases": BRIDGE,
    "phi": BRIDGE,
    "phi3 longrope": BRIDGE,
    "olmo2": BRIDGE,
    "granite": BRIDGE,
}
REST = {
    **dict.fromkeys(("gpt2 inverse layers", "gpt2 unscaled", "gpt2 relu untied", "gpt2 eps", "gpt_neo", "gpt_neo intermediate"), HOOKED),
    **dict.fromkeys(("gptj", "gptj n_inner", "gpt_neox", "gpt_neox partial", "gpt_neox base", "gpt_neox tied", "opt"), HOOKED),
    **dict.fromkeys(("llama tied", "llama theta", "llama gelu", "llama relu2", "mistral", "qwen2", "qwen2 theta", "qwen3"), HOOKED),
    **dict.fromkeys(("phi3", "phi3 window", "olmo3", "llama dynamic"), HOOKED),
    **dict.fromkeys(("llama yarn", "mistral linear", "qwen2 yarn", "qwen3 bias", "qwen3 window", "gemma", "gemma2 no caps"), BRIDGE),
    **dict.fromkeys(("gemma3", "phi grouped", "olmo", "olmo clip", "stablelm", "stablelm bias", "stablelm parallel"), BRIDGE),
    **dict.fromkeys(("starcoder2", "smollm3", "gpt_bigcode"), BRIDGE),
}
#: Name → words of the refusal.
REFUSED_AT_LOAD = {
    "gpt_neox no bias": "cannot be run with hooks",
    "opt post norm": "cannot be run with hooks",
    "phi qk norm": "cannot be run with hooks",
    "cohere": "on TransformerLens' bridge the residual stream before block 1 differs by .* of its norm on 64 tokens",
    "ministral": "TransformerLens has no bridge for MinistralForCausalLM",
}
REFUSED_BY_THE_ENGINE = {
    "bloom": "positional_embedding_type = 'alibi'",
    "mixtral": "num_experts = 2",
    "opt projection": "architecture OPTForCausalLM not supported",
    "opt no bias": "architecture OPTForCausalLM not supported",
    "falcon": "architecture FalconForCausalLM not supported",
    "falcon alibi": "architecture FalconForCausalLM not supported",
    "nemotron": "architecture NemotronForCausalLM not supported",
    "glm4": "architecture Glm4ForCausalLM not supported",
}


def load(folder: Path, context_length: int = 48) -> Any:
    return load_model(Config(model_name=str(folder), layers=[0, 1], context_length=context_length))


def worst(values: torch.Tensor, truth: torch.Tensor) -> float:
    return float(((values - truth).norm(dim=-1) / truth.norm(dim=-1)).max())


@torch.no_grad()
def assert_same(theirs: Any, folder: Path, kind: str) -> None:
    """The loaded model, and the slices over it, against the model that was saved, at two lengths: 24 and 48 tokens."""
    model = load(folder)
    assert type(model).__name__ == kind
    slices = ModelSlices(model)
    for length in (24, 48):
        tokens = torch.randint(3, 80, (2, length), generator=torch.Generator().manual_seed(length))
        assert slices.check(tokens) < 2e-5
        out = theirs(tokens, output_hidden_states=True, use_cache=False)
        clean = slices.residuals(tokens, range(slices.n_blocks))
        for point in range(slices.n_blocks):
            assert worst(clean.residuals[point], out.hidden_states[point]) < 2e-5, point
        assert worst(slices.logits_from(0, slices.embed(tokens)), out.logits) < 2e-5


@pytest.mark.parametrize("name", CORE)
def test_a_folder_gives_the_numbers_of_transformers(name: str, tmp_path: Path) -> None:
    assert_same(write(name, tmp_path), tmp_path, CORE[name])


@pytest.mark.long
@pytest.mark.parametrize("name", REST)
def test_every_other_architecture_gives_the_numbers_of_transformers(name: str, tmp_path: Path) -> None:
    assert_same(write(name, tmp_path), tmp_path, REST[name])


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED_AT_LOAD)
def test_what_nothing_computes_rightly_is_refused_at_load(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    with pytest.raises(LoadingError, match=REFUSED_AT_LOAD[name]) as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED_BY_THE_ENGINE)
def test_what_cannot_be_intervened_on_is_refused_by_the_engine(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    model = load(tmp_path)
    with pytest.raises(InterventionError, match=REFUSED_BY_THE_ENGINE[name]):
        ModelSlices(model)


def test_every_model_of_the_catalogue_has_its_line() -> None:
    named = [*CORE, *REST, *REFUSED_AT_LOAD, *REFUSED_BY_THE_ENGINE]
    assert sorted(named) == sorted(MODELS)


def test_the_setting_that_is_lost_and_the_size_of_the_difference_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("llama linear", tmp_path)
    with caplog.at_level(logging.INFO, logger="feature_graph"):
        load(tmp_path)
    said = [r.message for r in caplog.records if "runs on TransformerLens' bridge" in r.message]
    assert len(said) == 1
    assert "the residual stream before block 1 differs by 2" in said[0]
    assert "config.json sets rope_parameters = {'factor': 4.0, 'rope_theta': 10000.0, 'rope_type': 'linear'})" in said[0]


@pytest.mark.parametrize(("context_length", "kind"), [(48, HOOKED), (90, BRIDGE)])
def test_a_window_counts_where_the_run_s_contexts_reach_it(
    context_length: int, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = T.Qwen2ForCausalLM(T.Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=70, max_window_layers=2))
    randomise(model)
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="feature_graph"):
        assert type(load(tmp_path, context_length)).__name__ == kind
    inactive = any("sliding_window = 70 plays no part in contexts of 48 tokens" in r.message for r in caplog.records)
    assert inactive == (context_length == 48)


def test_processing_of_weights_needs_the_conversion(tmp_path: Path) -> None:
    write("llama attention_bias", tmp_path)
    cfg = Config(model_name=str(tmp_path), layers=[0, 1], context_length=48)
    with pytest.raises(LoadingError, match=r"ask for fold_ln, which only .* conversion can do, .* attention_bias = True"):
        load_model(cfg, {"fold_ln": True})


@pytest.mark.parametrize(
    "path",
    [
        "DeepSeek-R1-Distill-Llama-8B",
        "Llama-3.2-1B-pruned",
        "llama-factory/saves/mine",
        "finetune-gemma-2-2b",
        "albert/t5/hubert",
        "gemma-3-1b",
    ],
)
def test_only_the_configuration_decides_never_the_folder_s_name(path: str, tmp_path: Path) -> None:
    folder = tmp_path / path
    theirs = write("qwen2", folder)
    model = load(folder)
    assert model.cfg.model_name == folder.name
    assert model.cfg.d_model == WIDTH
    with torch.no_grad():
        assert worst(model(torch.arange(4, 40)[None]), theirs(torch.arange(4, 40)[None]).logits) < 1e-5


def test_a_resized_vocabulary_and_a_bfloat16_checkpoint_load(tmp_path: Path) -> None:
    model = random_model("llama")
    model.resize_token_embeddings(101, mean_resizing=False)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.cfg.d_vocab == 101
    assert loaded.W_E.dtype == torch.float32
    theirs = T.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        assert worst(loaded(torch.arange(60, 100)[None]), theirs(torch.arange(60, 100)[None]).logits) < 1e-5


def test_contexts_as_long_as_the_model_reads(tmp_path: Path) -> None:
    write("llama", tmp_path)
    assert load(tmp_path, CONTEXT).cfg.n_ctx >= CONTEXT
    assert ModelSlices(load(tmp_path, CONTEXT)).check(random_tokens(load(tmp_path, CONTEXT), 1, CONTEXT)) < 1e-5
