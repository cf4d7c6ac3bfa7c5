"""A run directory with several dictionaries a layer, made by hand: residual stream, attention output, MLP output and transcoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_graph.artifacts import Site, SitePlace, is_pair
from ingest.formats import FEATURES, write_table
from tests.rundirs import dense, write_files
from tests.strategies import random_interactions

#: (layer, kind) in the order of the model; the layers are 2, 3 and 5, and of block 3 both MLP dictionaries are there.
PLACES = tuple(
    SitePlace(layer, kind)
    for layer, kinds in {
        2: ("attn_out", "mlp_out", "residual"),
        3: ("attn_out", "transcoder", "mlp_out", "residual"),
        5: ("transcoder", "residual"),
    }.items()
    for kind in kinds
)
_STEP = {2: 0, 3: 1, 5: 2}
_WIDTH = 24_576


def site_facts() -> list[dict[str, Any]]:
    """What ``sites`` in the metadata of features.parquet says of them."""
    facts = []
    for place in PLACES:
        component = place.kind != "residual"
        names = {"reads": f"blocks.{place.layer}.in", "writes": f"blocks.{place.layer}.out"} if component else {}
        point = place.layer if component else place.layer + 1
        site = Site(place.layer, _hook(place), point, "toy", "0123abcd", "toy-mixed", _sae(place), 64, _WIDTH, kind=place.kind, **names)
        order = [p.name for p in PLACES if p.layer == place.layer].index(place.name)
        facts.append(site.to_dict() | {"site": site.id_site, "order": order})
    return facts


def mixed_frames(n_features: int = 7, n_edges: int = 420, seed: int = 0, foreign: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and interactions, as :func:`mixed_run` writes them.

    Every pair of sites of which the first can drive the second may have edges. Those with a site in between have features that were held
    there, and a direct effect of their own.

    Args:
        n_features: Features of each site.
        n_edges: Pairs that are drawn; those between sites that cannot drive each other are left out.
        seed: Of the draws.
        foreign: Count sites instead of layers in ``span``, as other programs do, and leave the distance in blocks out.
    """
    made = random_interactions(len(PLACES), n_features, n_edges, seed, window=len(PLACES))
    features, frame = dense(made, seed)
    at = {end: frame[f"{end}_layer"].to_numpy() // 4 for end in ("src", "tgt")}
    for end, sites in at.items():
        frame[f"{end}_id"] = [
            name.replace(name.partition("_F")[0], PLACES[s].name) for name, s in zip(frame[f"{end}_id"], sites, strict=True)
        ]
        frame[f"{end}_layer"] = np.array([PLACES[s].layer for s in sites], np.int32)
    if not foreign:
        frame["span"] = (frame["tgt_layer"].map(_STEP) - frame["src_layer"].map(_STEP)).astype("int32")
    frame["blocks"] = frame["tgt_layer"] - frame["src_layer"]
    joined = [_joined(PLACES[s], PLACES[t]) for s, t in zip(*at.values(), strict=True)]
    frame = frame[joined].reset_index(drop=True)
    return _placed(features), frame.drop(columns="blocks") if foreign else frame


def mixed_run(root: Path, n_features: int = 7, n_edges: int = 420, seed: int = 0, foreign: bool = False) -> Path:
    """A run directory with the sites of :data:`PLACES`."""
    features, frame = mixed_frames(n_features, n_edges, seed, foreign)
    write_files(root, features, frame, {"model": "toy", "level": 0.05, "correction": "fdr_bh"}, seed)
    table = pa.Table.from_pandas(features, preserve_index=False)
    write_table(root / FEATURES.name, FEATURES, table, {"sites": site_facts()})
    return root


def _joined(source: SitePlace, target: SitePlace) -> bool:
    return is_pair(source, target)


def _placed(features: pd.DataFrame) -> pd.DataFrame:
    """The features at their sites instead of the residual layers 0, 4, 8 …"""
    places = [PLACES[layer // 4] for layer in features["layer"]]
    made = features.copy()
    made["id"] = [f"{place.name}_F{index}" for place, index in zip(places, features["index"], strict=True)]
    made["layer"] = np.array([place.layer for place in places], np.int32)
    made["hook"] = [_hook(place) for place in places]
    made["uid"] = [f"toy@0123abcd/toy-mixed/{_sae(place)}/{index}" for place, index in zip(places, features["index"], strict=True)]
    return made


def _hook(place: SitePlace) -> str:
    return f"blocks.{place.layer}." + {"residual": "hook_resid_post", "attn_out": "hook_attn_out"}.get(place.kind, "hook_mlp_out")


def _sae(place: SitePlace) -> str:
    return f"layer_{place.layer}/{place.kind}"
