"""A whole run in seconds: a random GPT-2 of four small blocks with a byte tokenizer, random dictionaries and a text, all as local folders.

The run goes through the same doors as a real one: ``load_model_and_saes`` reads the folders, the corpus is tokenised, every stage runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from feature_graph.config import Config

D_MODEL, D_SAE, N_LAYERS, CONTEXT = 24, 40, 4, 16
WORDS = [
    "the",
    "a",
    "king",
    "queen",
    "town",
    "river",
    "runs",
    "sees",
    "old",
    "new",
    "house",
    "and",
    "or",
    "by",
    "to",
    "of",
    "light",
    "water",
]


def write_tiny_run(root: Path, seed: int = 0, **fields: object) -> Config:
    """Write model, dictionaries and text below ``root``; give a configuration that runs on them into ``root / "run"``."""
    _write_model(root / "model", seed)
    _write_saes(root / "saes", seed)
    _write_text(root / "text.txt", seed)
    values = {
        "model_name": str(root / "model"),
        "sae_release": str(root / "saes"),
        "layers": [0, 1, 2],
        "dataset": str(root / "text.txt"),
        "n_tokens": 100 * CONTEXT,
        "context_length": CONTEXT,
        "sae_quality": "off",
        "prepend_bos": False,
        "top_k_features": 6,
        "importance_tokens": 256,
        "min_coactivation": 2,
        "n_intervention_samples": 20,
        "min_documents": 3,
        "significance_level": 0.2,
        "n_placebo": 4,
        "position_horizon": 2,
        "output_dir": str(root / "run"),
    }
    return Config(**(values | fields))


def _write_model(folder: Path, seed: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {letter: i + 1 for i, letter in enumerate(letters)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    torch.manual_seed(seed)
    size = len(vocabulary)
    config = GPT2Config(
        vocab_size=size, n_positions=64, n_ctx=64, n_embd=D_MODEL, n_layer=N_LAYERS, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_saes(folder: Path, seed: int) -> None:
    from sae_lens import StandardSAE, StandardSAEConfig

    generator = torch.Generator().manual_seed(seed)
    for layer in range(N_LAYERS):
        hook = f"blocks.{layer}.hook_resid_post"
        sae = StandardSAE(StandardSAEConfig(d_in=D_MODEL, d_sae=D_SAE, dtype="float32", device="cpu"))
        sae.cfg.metadata.hook_name = hook
        decoder = torch.nn.functional.normalize(torch.randn(D_SAE, D_MODEL, generator=generator), dim=1)
        state = {"W_dec": decoder, "W_enc": decoder.T.clone(), "b_enc": torch.full((D_SAE,), -0.5), "b_dec": torch.zeros(D_MODEL)}
        sae.load_state_dict(state)
        sae.save_model(folder / hook)


def _write_text(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = [" ".join(rng.choice(WORDS, size=rng.integers(20, 60))) for _ in range(60)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
