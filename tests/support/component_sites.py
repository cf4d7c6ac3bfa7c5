"""Dictionaries of every kind on two blocks of a random model, folded."""

from __future__ import annotations

from typing import Any

import torch

from feature_graph.dictionaries import SiteCodec, build_site_codecs, read_tensors, tensor_hook, width_of
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.support.component_models import TOKENS, as_bridge, as_hooked

#: How a model is made, and its name.
MODELS = [
    (as_hooked, "gpt2"),
    (as_bridge, "llama head_dim"),
    (as_bridge, "gemma2"),
    (as_bridge, "gpt_neox"),
    (as_bridge, "olmo2 head_dim"),
]
#: Sites of block 1 that can be changed at a module of transformers' model from outside.
SOURCES = ("L1", "L1.z", "L1.attn", "L1.mlpin", "L1.mlp", "L1.tc")
_TENSORS: dict[str, Any] = {"": "resid_post", "mid": "resid_mid", "z": "z", "attn": "attn_out", "mlpin": "mlp_in", "mlp": "mlp_out"}


def all_codecs(form: Any, name: str, made: dict[str, dict[str, SiteCodec]]) -> tuple[Any, dict[str, SiteCodec]]:
    """The model, and dictionaries on blocks 1 and 2; copying ones have a feature for each coordinate and its negative.

    The transcoder of block 1 has no skip connection, that of block 2 has one.

    Args:
        form: How the model is made.
        name: Its name.
        made: Dictionaries that were made before, by name; gains those of this one.
    """
    model = form(name)
    if name not in made:
        kinds = {site: read for site, read in _TENSORS.items() if not (name == "gpt_neox" and site == "mid")}
        sites = {f"L{layer}{'.' if site else ''}{site}": read for layer in (1, 2) for site, read in kinds.items()}
        saes: dict[str, Any] = {site: copying_sae(width_of(model, read), scale=1.0) for site, read in sites.items()}
        for layer, kind in ((1, "transcoder"), (2, "skip_transcoder")):
            reads, writes = (tensor_hook(model, tensor, layer) for tensor in ("mlp_in", "mlp_out"))  # type: ignore[arg-type]
            found = read_tensors(model, TOKENS, [reads, writes])
            width = width_of(model, "mlp_in")
            skip = 0.1 * torch.randn(width, width, generator=torch.Generator().manual_seed(1)) if kind == "skip_transcoder" else None
            saes[f"L{layer}.tc"] = linear_transcoder(found[reads].flatten(0, 1), found[writes].flatten(0, 1), kind, skip)
        made[name] = build_site_codecs(model, saes, TOKENS)
    return model, made[name]
