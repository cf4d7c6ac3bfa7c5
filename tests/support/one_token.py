"""Every effect between the features of a tiny model at one token: derivatives in float64, where sums over paths are exact.

Each MLP is described exactly by each of its dictionaries, the residual stream and attention by dictionaries that copy. So the total effect
of one feature on another is the sum over paths of direct effects, wherever each influence is counted once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx
import pandas as pd
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from feature_graph.artifacts import can_drive
from feature_graph.dictionaries import SiteCodec, build_site_codecs, width_of
from feature_graph.interventions import Clamps, ModelSlices, Reading
from feature_graph.interventions.site_clamps import site_clamp_effects
from feature_graph.interventions.site_effects import clean_for, site_activations
from tests.support.clamping import in_double
from tests.support.component_dictionaries import copying_sae, mlp_as_transcoder

BLOCKS, WIDTH = 3, 6
TOKENS = torch.randint(1, 12, (1, 7), generator=torch.Generator().manual_seed(2))
#: The token at which effects are taken.
AT = torch.tensor([0]), torch.tensor([5])
_STEP = 1e-6
_TENSORS: dict[str, Any] = {"": "resid_post", "mid": "resid_mid", "attn": "attn_out", "mlpin": "mlp_in", "mlp": "mlp_out"}


def tiny_model(parallel: bool = False) -> HookedTransformer:
    """Random, with ReLUs, without norms, in float64; ``parallel``: attention and MLP of a block read the same stream."""
    torch.manual_seed(4)
    cfg = HookedTransformerConfig(
        n_layers=BLOCKS, d_model=WIDTH, d_head=3, n_heads=2, d_mlp=9, n_ctx=TOKENS.shape[1], d_vocab=12, act_fn="relu",
        normalization_type=None, dtype=torch.float64, parallel_attn_mlp=parallel, seed=4, model_name="tiny",
    )  # fmt: skip
    model = HookedTransformer(cfg)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
        parameter.data = parameter.data.float().double()  # dictionaries are float32
    return model.eval()


def site_codecs(model: Any, parts: Iterable[str]) -> dict[str, SiteCodec]:
    """Dictionaries on blocks 1 and 2, and on the residual stream after the first: of each, ``""``, mid, attn, mlpin, mlp or tc."""
    saes: dict[str, Any] = {"L0": copying_sae(WIDTH, scale=1.0)}
    for block in range(1, BLOCKS):
        for part in parts:
            name = f"L{block}.{part}" if part else f"L{block}"
            saes[name] = mlp_as_transcoder(model.blocks[block]) if part == "tc" else copying_sae(width_of(model, _TENSORS[part]), scale=1.0)
    return {name: in_double(codec) for name, codec in build_site_codecs(model, saes, TOKENS, judged=False).items()}


@torch.no_grad()
def effects_at_a_token(model: Any, codecs: dict[str, SiteCodec]) -> pd.DataFrame:
    """``source``, ``target``, ``total`` and ``direct`` of every pair in which both are active there, also those that are one weight."""
    slices, rows = ModelSlices(model), []
    active = {name: _active(slices, codecs, name) for name in codecs}
    for name, codec in codecs.items():
        later = [other for other in codecs if can_drive(codec.site.place, codecs[other].site.place)]
        if not later:
            continue
        clean = clean_for(slices, TOKENS, codec.site, [codecs[other].site for other in later])
        readings = [Reading(codecs[other], torch.tensor(active[other])) for other in later]
        for i in active[name]:
            step = torch.full((1,), _STEP, dtype=torch.float64)
            clamps = Clamps(*AT, codec.w_dec[[i]], step, -step)
            found = site_clamp_effects(
                slices, clean, codec.site, clamps, readings, 0, torch.ones(TOKENS.shape, dtype=torch.bool), direct=True
            )
            for other, effects in zip(later, found, strict=True):
                for place, j in enumerate(active[other]):
                    ends = {"source": f"{name}_F{i}", "target": f"{other}_F{j}"}
                    rows.append(ends | {n: float(getattr(effects, n)[0, place]) / (2 * _STEP) for n in ("total", "direct")})
    return pd.DataFrame(rows)


def _active(slices: ModelSlices, codecs: dict[str, SiteCodec], name: str) -> list[int]:
    site = codecs[name].site
    clean = clean_for(slices, TOKENS, site, [])
    return torch.nonzero(site_activations(slices, clean, codecs[name], *AT)[0] > 1e-3).flatten().tolist()


def graph_of(frame: pd.DataFrame) -> nx.DiGraph:
    """The effects as a graph of this library; every edge is structural."""
    graph = nx.DiGraph(method="clamping")
    for row in frame.itertuples():
        graph.add_edge(row.source, row.target, strength=row.total, total=row.total, direct=row.direct, span=1, structural=True)
    return graph
