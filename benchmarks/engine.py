"""The engine against the plain path, in one run, on the bundled model: clamps at layer 11 read at all features of layers 15 and 19.

The plain path runs the whole model for each sample; the engine runs the blocks between, after a cached prefix, many samples at a time.
Both compute the same effects (total, direct, later, before the non-linearity); the largest difference is printed next to the ratio.

    python benchmarks/engine.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch

from feature_graph.config import Config
from feature_graph.dictionaries.build import build_codecs
from feature_graph.interventions import Clamps, ModelSlices, clamp_effects, plain_effects, random_directions
from feature_graph.interventions.clamp import Reading
from feature_graph.loading import draw_contexts, load_model_and_saes

SAMPLES, PLAIN, HORIZON = 320, 4, 4


def clamps(n: int, d_model: int, n_docs: int, context: int) -> Clamps:
    """Random directions at random positions, of the size that real clamps have."""
    generator = torch.Generator().manual_seed(0)
    documents = torch.randint(0, n_docs, (n,), generator=generator)
    positions = torch.randint(context // 2, context - HORIZON, (n,), generator=generator)
    return Clamps(documents, positions, random_directions(n, d_model, generator), torch.full((n,), 20.0), torch.full((n,), -5.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    cfg = Config(layers=[11, 15, 19], n_tokens=16 * 128, sae_quality="off")
    model, saes = load_model_and_saes(cfg)
    codecs, tokens = build_codecs(model, saes, cfg), torch.as_tensor(draw_contexts(model, saes, cfg))
    source, path = codecs[11].site, [Reading(codecs[15], None), Reading(codecs[19], None)]
    slices, counted = ModelSlices(model), torch.ones(tokens.shape, dtype=torch.bool)
    chosen = clamps(SAMPLES, model.cfg.d_model, *tokens.shape)
    few = Clamps(*(getattr(chosen, name)[:PLAIN] for name in ("documents", "positions", "directions", "high", "low")))

    begun = time.perf_counter()
    clean = slices.residuals(tokens, [12, 16, 20], range(12, 20))
    cached = time.perf_counter() - begun
    with torch.no_grad():
        clamp_effects(slices, clean, source.point, few, path, HORIZON, counted)
        begun = time.perf_counter()
        fast = clamp_effects(slices, clean, source.point, chosen, path, HORIZON, counted)
        fast_s = (time.perf_counter() - begun) / SAMPLES
        begun = time.perf_counter()
        plain = plain_effects(model, tokens, source, few, path, HORIZON, counted)
        plain_s = (time.perf_counter() - begun) / PLAIN
    error = max(float((a.total[:PLAIN] - b.total).abs().max() / b.total.pow(2).mean().sqrt()) for a, b in zip(fast, plain, strict=True))
    figures: dict[str, Any] = {
        "engine_s_a_sample": fast_s,
        "plain_s_a_sample": plain_s,
        "ratio": plain_s / fast_s,
        "clean_run_s": cached,
        "max_error_over_rms": error,
        "pairs_per_s": 2 * codecs[15].d_sae / fast_s,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:20} {value if isinstance(value, str) else np.format_float_positional(value, 4, fractional=False, trim='-')}")


if __name__ == "__main__":
    main()
