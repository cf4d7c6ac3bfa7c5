"""The tiny run with dictionaries of four kinds: residual, attention's output, a skip transcoder, the MLP's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from feature_graph.config import Config
from feature_graph.dictionaries import read_tensors, tensor_hook
from feature_graph.loading import draw_contexts
from feature_graph.loading.models import load_model
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.tiny_run import D_MODEL, write_tiny_run

SITES: list[dict[str, Any]] = [
    {"layer": 0, "id": "blocks.0.hook_resid_post"},
    {"layer": 1, "kind": "attn_out", "id": "blocks.1.hook_attn_out"},
    {"layer": 1, "kind": "transcoder", "id": "blocks.1.transcoder"},
    {"layer": 2, "kind": "mlp_out", "id": "blocks.2.hook_mlp_out"},
    {"layer": 2, "id": "blocks.2.hook_resid_post"},
]
NAMES = ["L0", "L1.attn", "L1.tc", "L2.mlp", "L2"]
#: Two behaviours that a tokenizer of bytes can read; the second is a file.
BEHAVIORS = ("greater_than", "spelling")
_SPELLED = ("king", "river", "house", "light", "water", "town", "sees", "queen")
FIELDS: dict[str, Any] = {
    "sites": SITES,
    "layers": [0, 1, 2],
    "sae_quality": "stop",
    "n_placebo": 0,
    "specificity_directions": 2,
    "specificity_samples": 2,
    "top_k_features": 3,
}


def write_mixed_run(root: Path, **fields: object) -> Config:
    """The tiny run with dictionaries of four kinds, as SAELens folders below ``root / "saes"``."""
    cfg = write_tiny_run(root, **(FIELDS | {"behaviors": [BEHAVIORS[0], str(_write_behavior(root / f"{BEHAVIORS[1]}.yaml"))]} | fields))
    for site in SITES:
        if site.get("kind") != "transcoder":
            copying_sae(D_MODEL, metadata={"hook_name": site["id"]}).save_model(root / "saes" / site["id"])
    model = load_model(cfg)
    tokens = torch.as_tensor(draw_contexts(model, {}, cfg, n_tokens=400))
    hooks = [tensor_hook(model, tensor, 1) for tensor in ("mlp_in", "mlp_out")]
    found = read_tensors(model, tokens, hooks)
    skip = 0.1 * torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(1))
    transcoder = linear_transcoder(*(found[hook].flatten(0, 1) for hook in hooks), "skip_transcoder", skip)
    transcoder.save_model(root / "saes" / "blocks.1.transcoder")
    return cfg


def _write_behavior(path: Path) -> Path:
    """Words of the text but for their last letter; corrupted, the next one."""
    prompts = [
        {"group": word, "clean": f"the {word[:-1]}", "corrupted": f"the {other[:-1]}", "answers": word[-1], "wrong": other[-1]}
        for word, other in zip(_SPELLED, (*_SPELLED[1:], _SPELLED[0]), strict=True)
    ]
    path.write_text(yaml.safe_dump({"name": path.stem, "description": "The last letter of a word.", "prompts": prompts}))
    return path
