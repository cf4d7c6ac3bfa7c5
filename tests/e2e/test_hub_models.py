"""Models in the hub's cache are compared with the transformers model, as folders are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import architectures, hublayout
from tests.support.tiny_tokenizer import tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.model]

CODE = """
import torch
from transformers import AutoModelForCausalLM
from feature_graph.config import Config
from feature_graph.loading import LoadingError
from feature_graph.loading.models import load_model

tokens = torch.arange(4, 44)[None]
for name in ("EleutherAI/pythia-70m-deduped", "Qwen/Qwen2-0.5B", "Qwen/Qwen3-0.6B"):
    try:
        model = load_model(Config(model_name=name, layers=[0, 1], context_length=48))
    except LoadingError as error:
        print(f"refused {name}: {error}")
        continue
    with torch.no_grad():
        a, b = model(tokens), AutoModelForCausalLM.from_pretrained(name)(tokens).logits
    print(f"{name} {type(model).__name__} {float((a - b).norm() / b.norm()) < 1e-5} {model.tokenizer is not None}")
"""
CACHED = {"EleutherAI/pythia-70m-deduped": "gpt_neox serial", "Qwen/Qwen2-0.5B": "qwen2 yarn", "Qwen/Qwen3-0.6B": "qwen3"}


def test_models_of_the_hub_give_the_numbers_of_transformers_or_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for repo, name in CACHED.items():
        folder = hublayout.snapshot(tmp_path, repo)
        architectures.write(name, folder)
        tokenizer().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    env = hublayout.apply({"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"})
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "EleutherAI/pythia-70m-deduped HookedTransformer True True",
        "Qwen/Qwen2-0.5B TransformerBridge True True",
        "refused Qwen/Qwen3-0.6B: model_name: 1 weights of model Qwen/Qwen3-0.6B are missing (model.layers.1.mlp.up_proj.weight) and would "
        "be random; config.json and the weights are not of one model",
    ], done.stderr[-2000:]
