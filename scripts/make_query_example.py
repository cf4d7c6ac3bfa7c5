"""Write queries/example: the small run that every query template's example is run on.

48 features at 4 sites in 3 planted communities, signed edges of span 1 and 2, some significant by the later effect only, some not
significant, a second method, two behaviours that share seeds. Drawn from one seed; run it again only with a reason, since documentation
shows its answers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.feature_ids import feature_id
from ingest.formats import DECODERS, FEATURES, INTERACTIONS, write_table

TARGET = Path(__file__).parents[1] / "queries" / "example"
LAYERS = (2, 5, 8, 11)
PER_LAYER, PER_GROUP = 12, 4
SEED = 7
WORDS = ("Paris", "king", "war", "because", "1984", "said", "river", "vote", "law", "blue", "seven", "not")
GROUPS = ("places", "grammar", "numbers")


def main() -> None:
    """Write the files."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng = np.random.default_rng(SEED)
    features = feature_table(rng)
    edges = interaction_table(rng, features)
    TARGET.mkdir(parents=True, exist_ok=True)
    config = {"model_name": "toy", "sae_release": "toy-res", "layers": list(LAYERS), "dataset": "builtin:toy", "n_tokens": 4096}
    config |= {"significance_level": 0.05, "correction_method": "fdr_bh", "seed": SEED}
    _json("config.json", config)
    _json("behaviors.json", {"kind": "behaviors", "version": 1, "behaviors": behaviors(features)})
    sites = [site(layer) for layer in LAYERS]
    write_table(TARGET / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False), {"sites": sites})
    write_table(TARGET / DECODERS.name, DECODERS, decoder_table(features))
    meta = {"level": 0.05, "correction": "fdr_bh", "families": {"total": len(edges), "direct": len(edges), "later": len(edges)}}
    write_table(TARGET / INTERACTIONS.name, INTERACTIONS, pa.Table.from_pandas(edges, preserve_index=False), meta)


def site(layer: int) -> dict[str, Any]:
    """Facts of one site."""
    values = {"layer": layer, "hook": f"blocks.{layer}.hook_resid_post", "point": layer + 1, "model": "toy", "model_hash": "0123abcd"}
    return values | {"release": "toy-res", "sae_id": f"blocks.{layer}", "d_in": 64, "d_sae": 512, "architecture": "standard"}


def feature_table(rng: np.random.Generator) -> pd.DataFrame:
    """Columns of features.parquet."""
    rows = []
    for layer in LAYERS:
        indices = np.sort(rng.choice(512, PER_LAYER, replace=False))
        for i, index in enumerate(indices.tolist()):
            density = round(float(rng.uniform(0.001, 0.3)), 5)
            rows.append(
                {
                    "fid": len(rows),
                    "id": feature_id(layer, index),
                    "uid": f"toy@0123abcd/toy-res/blocks.{layer}/{index}",
                    "layer": layer,
                    "index": index,
                    "hook": f"blocks.{layer}.hook_resid_post",
                    "label": f"{GROUPS[i // PER_GROUP]}: {WORDS[i]} · in context {layer}",
                    "density": density,
                    "mean_act": round(float(rng.uniform(0.5, 3)), 4),
                    "max_act": round(float(rng.uniform(3, 12)), 4),
                    "decoder_norm": 1.0,
                    "dead": False,
                    "dense": density > 0.2,
                    "importance": round(float(rng.lognormal()), 5) if i % 5 else None,
                    "neuronpedia_url": "",
                }
            )
    return pd.DataFrame(rows)


def decoder_table(features: pd.DataFrame) -> pa.Table:
    """Columns of decoders.parquet: a direction for each community, which turns a little from layer to layer, and noise."""
    rng = np.random.default_rng(SEED + 1)
    width = site(LAYERS[0])["d_in"]
    begin, turn = rng.standard_normal((2, len(GROUPS), width))
    group = features["fid"].to_numpy() % PER_LAYER // PER_GROUP
    depth = features["layer"].to_numpy()[:, None] / max(LAYERS)
    rows = begin[group] + depth * turn[group] + 0.7 * rng.standard_normal((len(features), width))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return pa.table({"fid": features["fid"], "uid": features["uid"], "decoder": pa.array(unit.tolist(), pa.list_(pa.float32()))})


def interaction_table(rng: np.random.Generator, features: pd.DataFrame) -> pd.DataFrame:
    """Columns of interactions.parquet; members of one planted community are tied far more often than others."""
    rows = []
    for source in features.itertuples():
        for target in features.itertuples():
            span = LAYERS.index(target.layer) - LAYERS.index(source.layer)
            together = (source.fid % PER_LAYER) // PER_GROUP == (target.fid % PER_LAYER) // PER_GROUP
            if span not in (1, 2) or rng.random() > {(1, True): 0.7, (2, True): 0.35, (1, False): 0.05, (2, False): 0.02}[span, together]:
                continue
            rows.append(measured(rng, source, target, span, "clamping"))
            if rng.random() < 0.3:
                rows.append(measured(rng, source, target, span, "jacobian"))
    frame = pd.DataFrame(rows).sort_values(["src_fid", "tgt_fid", "method"], ignore_index=True)
    return frame[[name for name in INTERACTIONS.names if name in frame]]  # what may be absent and is not shown is left out


def measured(rng: np.random.Generator, source: Any, target: Any, span: int, method: str) -> dict[str, Any]:
    """One row: about one in eight not significant, one in twelve by the later effect only, half of span 2 by the direct one too."""
    total = round(float(rng.lognormal(-1.2, 0.6) * rng.choice([1, -1], p=[0.7, 0.3])), 4)
    later = round(float(rng.lognormal(-2, 0.5) * rng.choice([1, -1])), 4)
    draw = rng.random()
    only_later, null = draw < 1 / 12, draw > 7 / 8
    bypass = span == 1 or rng.random() < 0.5
    direct = total if span == 1 else round(total * float(rng.uniform(0.4, 1)) * (1 if bypass else 0.01), 4)
    by = "" if null else "later" if only_later else "total+direct" if bypass else "total"
    p = {
        "total": 0.0004 if "total" in by else 0.4,
        "direct": 0.0006 if "direct" in by else 0.5,
        "later": 0.002 if only_later else 0.6,
        "computed": 0.7,
    }
    copy = round(total * float(rng.uniform(0, 0.9)), 4)
    confirm = round(total * float(rng.uniform(0.5, 1.3)), 4)
    lead = later if only_later else total
    ends = {f"{end}_{key}": getattr(f, key) for end, f in (("src", source), ("tgt", target)) for key in ("fid", "id", "layer")}
    return ends | {
        "method": method,
        "interaction_type": "excitatory" if lead > 0 else "inhibitory",
        "span": span,
        "mean_strength": total,
        "abs_strength": abs(total),
        "direct_strength": direct,
        "later_strength": later,
        "copy_strength": copy,
        "computed_strength": round(total - copy, 4),
        "preactivation_strength": total,
        "p_on_change": 0.0,
        "standardised_effect": total,
        "strength_jacobian": None,
        "direct_jacobian": None,
        "se": abs(total) / 10,
        "se_computed": abs(total) / 5,
        "ci_low": round(total - abs(total) / 5, 5),
        "ci_high": round(total + abs(total) / 5, 5),
        **{f"p_{name}" if name != "total" else "p_value": value for name, value in p.items()},
        **{f"q_{name}" if name != "total" else "q_value": min(value * 1.5, 1.0) for name, value in p.items()},
        "significant": bool(by),
        "significant_by": by,
        "floor": 0.01,
        "floor_direct": 0.01,
        "floor_later": 0.02,
        "floor_computed": 0.01,
        "placebo_quantile": 1.0 if by else 0.5,
        "n_samples": 24,
        "n_documents": 12,
        "n_later": 22,
        "confirm_strength": confirm,
        "confirm_computed": round(confirm - copy, 4),
        "n_confirm": 8,
        "replicated": bool(rng.random() < 0.9) if by else False,
        "clamp_low": 0.0,
        "clamp_high": 4.0,
        "achieved": 1.0,
        "spill": 0.1,
        "pmi": 1.0,
        "coactivation_prob": 0.5,
        "decoder_alignment": 0.1,
        "arm": "kept",
    }


def behaviors(features: pd.DataFrame) -> list[dict[str, Any]]:
    """Two behaviours that share a seed; the second has a seed that was never measured."""
    ids = features["id"].tolist()
    first = [ids[0], ids[13], ids[25]]
    second = [ids[13], ids[30], "L11_F500"]
    return [
        {"name": "capital_of", "prompts": ["The capital of France is"], "metric": "logit difference", "clean": 2.5, "ablated": 0.5}
        | {"confirmed": True, "seeds": seeds(first)},
        {"name": "counting", "prompts": ["one two three"], "metric": "logit difference", "clean": 1.5, "ablated": 1.25}
        | {"confirmed": False, "seeds": seeds(second)},
    ]


def seeds(ids: list[str]) -> list[dict[str, Any]]:
    """Effects that fall by rank."""
    return [{"id": id_, "effect": round(0.5 / (i + 1), 4), "rank": i + 1} for i, id_ in enumerate(ids)]


def _json(name: str, value: Any) -> None:
    (TARGET / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
