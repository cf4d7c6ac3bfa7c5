"""Memory of a run with dictionaries on three components of every block, against what arithmetic says.

A random model of Gemma-2-2B's shape (d_model 2,304; a small vocabulary) with --blocks of its 26 blocks, each with an SAE of 16,384 latents
on the residual stream, on attention's output and on the MLP's. The dictionaries copy what they read, so that they are what a run accepts;
their size is what counts. The peak of this process is read after each step; arithmetic for all 26 blocks is printed next to it.

    python benchmarks/component_memory.py [--blocks 7] [--json]       # a quarter of the setup; 20 GB
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sae_lens import StandardSAE, StandardSAEConfig
from transformer_lens import HookedTransformer, HookedTransformerConfig

from feature_graph.activations import collect_activations
from feature_graph.config import Config
from feature_graph.interventions import AnalysedModel
from feature_graph.responses import measure_responses

WHOLE, D_MODEL, D_SAE, CONTEXT, DOCUMENTS = 26, 2304, 16_384, 64, 8
KINDS = {"residual": "L{}", "attn_out": "L{}.attn", "mlp_out": "L{}.mlp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=7, help="blocks of the model (default: 7, about a quarter of 26)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    found: dict[str, float] = {}
    for name, value in measure(given.blocks):
        found[name] = value
        if not given.json:
            print(f"{name:60} {value:.2f}", flush=True)
    if given.json:
        print(json.dumps(found))


def measure(blocks: int) -> Iterator[tuple[str, float]]:
    """GB by arithmetic, and after each step."""
    one = 2 * D_MODEL * D_SAE * 4 / 1e9
    yield "GB of one dictionary, by arithmetic", one
    yield "GB of all here, twice", 2 * one * blocks * len(KINDS)
    yield f"GB of {WHOLE} blocks' dictionaries, twice", 2 * one * WHOLE * len(KINDS)
    yield "GB before", peak()
    model = made_model(blocks)
    yield "GB with the model", peak()
    saes = {name.format(layer): copying_sae() for layer in range(blocks) for name in KINDS.values()}
    yield "GB with SAELens' dictionaries", peak()
    sites: list[Any] = [{"layer": layer, "kind": kind} for layer in range(blocks) for kind in KINDS]
    cfg = Config(sites=sites, context_length=CONTEXT, response_samples=4, response_documents=2, sae_quality="off", activity_threshold=1.0)
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    yield "GB with the engine's", peak()
    tokens = torch.randint(1, 1000, (DOCUMENTS, CONTEXT), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        store = collect_activations(analysed, saes, cfg, tokens, path=Path(folder) / "activations.h5")
        yield "GB after collecting", peak()
        sources = {layer: list(range(16)) for layer in store.layers}
        measure_responses(analysed, saes, store, cfg, Path(folder) / "responses.h5", sources=sources, progress=False)
    yield "GB after responses of sixteen sources per site", peak()


def made_model(blocks: int) -> HookedTransformer:
    """Random weights."""
    return HookedTransformer(
        HookedTransformerConfig(
            n_layers=blocks, d_model=D_MODEL, n_heads=8, d_head=256, n_key_value_heads=4, d_mlp=9216, d_vocab=1000, n_ctx=CONTEXT,
            act_fn="gelu_pytorch_tanh", gated_mlp=True, normalization_type="RMS", positional_embedding_type="rotary", rotary_dim=256,
            model_name="gemma-2-2b's shape", default_prepend_bos=False, seed=0,
        )
    )  # fmt: skip


@torch.no_grad()
def copying_sae() -> StandardSAE:
    """Each coordinate and its negative; the other latents never fire."""
    sae = StandardSAE(StandardSAEConfig(d_in=D_MODEL, d_sae=D_SAE))
    for weights in (sae.W_enc.T, sae.W_dec):
        weights.normal_(0, D_MODEL**-0.5)
        weights[:D_MODEL], weights[D_MODEL : 2 * D_MODEL] = torch.eye(D_MODEL), -torch.eye(D_MODEL)
    sae.b_enc.zero_()
    sae.b_enc[2 * D_MODEL :] = -1e6
    sae.b_dec.zero_()
    return sae.eval()


def peak() -> float:
    """Largest resident memory so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
