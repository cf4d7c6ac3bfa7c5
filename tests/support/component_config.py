"""A configuration with dictionaries on components, all as local folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from feature_graph.config import Config
from feature_graph.dictionaries import read_tensors, tensor_hook
from feature_graph.loading import draw_contexts, load_model_and_saes
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.tiny_run import D_MODEL, write_tiny_run


def write_component_config(root: Path) -> Config:
    """SAEs on the residual stream, attention and an MLP's output, and a skip transcoder, of a random GPT-2; runs go to ``root / "run"``."""
    cfg = write_tiny_run(root, n_placebo=0)
    model, _ = load_model_and_saes(cfg)
    tokens = torch.as_tensor(draw_contexts(model, {}, cfg, n_tokens=400))
    hooks = [tensor_hook(model, name, 1) for name in ("mlp_in", "mlp_out")]
    reads, writes = (read_tensors(model, tokens, [hook])[hook].flatten(0, 1) for hook in hooks)
    skip = 0.1 * torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(1))
    names = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    made: dict[str, tuple[dict[str, object], Any]] = {
        "resid": ({"layer": 0}, copying_sae(D_MODEL, metadata={"hook_name": "blocks.0.hook_resid_post"})),
        "attn": ({"layer": 1, "kind": "attn_out"}, copying_sae(D_MODEL, metadata={"hook_name": "blocks.1.hook_attn_out"})),
        "mlp": ({"layer": 1, "kind": "mlp_out"}, copying_sae(D_MODEL, metadata={"hook_name": "blocks.1.hook_mlp_out"})),
        "tc": ({"layer": 1, "kind": "transcoder"}, linear_transcoder(reads, writes, "skip_transcoder", skip, **names)),
        "last": ({"layer": 2}, copying_sae(D_MODEL, metadata={"hook_name": "blocks.2.hook_resid_post"})),
    }
    sites = []
    for name, (site, dictionary) in made.items():
        dictionary.save_model(root / "dictionaries" / name)
        sites.append(site | {"release": str(root / "dictionaries" / name)})
    return Config(**cfg.model_dump(exclude={"layers", "sites"}) | {"sites": sites})
