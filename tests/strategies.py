"""Made-up but realistic data for tests: interaction sets, feature tables, graphs; all seeded or drawn by hypothesis."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from feature_graph.artifacts import InteractionSet, feature_id
from feature_graph.graph import build_interaction_graph
from ingest.formats import FEATURES, INTERACTIONS

_WORDS = [
    " the",
    " of",
    " King",
    " Paris",
    " said",
    " 1984",
    "ing",
    "'s",
    "\n",
    "<b>",
    "été",
    '"quoted"',
    " &",
    " war",
    " because",
    "The",
    ",",
]
_LEVEL = 0.05


def random_interactions(n_layers: int = 4, n_features: int = 10, n_edges: int = 60, seed: int = 0, window: int = 2) -> InteractionSet:
    """Interactions between ``n_layers`` analysed layers (0, 4, 8, …) of ``n_features`` features each.

    Pairs are drawn with hub-like (Zipf) weights, so degrees are skewed; about two thirds of the pairs are significant; strengths,
    intervals, p-values and confirmation agree with one another as in a real run. ``n_edges`` is cut to the pairs that exist.
    """
    rng = np.random.default_rng(seed)
    layers = np.arange(n_layers) * 4
    pairs = _draw_pairs(rng, n_layers, n_features, n_edges, window)
    n = len(pairs)
    src_site, src, tgt_site, tgt = pairs.T if n else np.zeros((4, 0), dtype=int)
    index = np.sort(rng.choice(24_576, size=(n_layers, n_features), replace=False) if n_features else np.zeros((n_layers, 0), int), axis=1)
    true = rng.random(n) < 2 / 3
    copied = rng.random(n) < 0.3
    total = np.where(true, rng.lognormal(-2.5, 1.0, n) * rng.choice([1.0, -1.0], n, p=[0.7, 0.3]), rng.normal(0, 0.003, n))
    copy = np.where(copied, total * rng.uniform(0.5, 1.0, n), total * rng.uniform(-0.1, 0.3, n))
    other = np.random.default_rng([seed, 1])
    copy = np.where(other.random(n) < 0.1, total * other.uniform(1.2, 3.0, n), copy)
    computed = total - copy
    span = tgt_site - src_site
    direct = np.where(span == 1, total, total * rng.uniform(-0.2, 1.0, n))
    later = np.where(rng.random(n) < 0.05, np.nan, rng.normal(0, 0.02, n))
    se = np.abs(total) * rng.uniform(0.05, 0.3, n) + 1e-4
    floor = np.full(n, 0.01)
    p = _p_values(rng, total, true, floor)
    p_direct = np.where(np.abs(direct) >= floor, p, 1.0)
    p_later = np.where(np.abs(np.nan_to_num(later)) >= 0.04, p, 1.0)
    p_specific = np.clip(p * rng.uniform(0.5, 20.0, n), 0.0, 1.0)
    p_computed = np.where(np.abs(computed) >= floor, p, 1.0)
    q, q_direct, q_later, q_computed = (np.minimum(1.0, x * 1.5) for x in (p, p_direct, p_later, p_computed))
    passed = {"total": q < _LEVEL, "direct": q_direct < _LEVEL, "later": q_later < _LEVEL, "computed": q_computed < _LEVEL}
    by = ["+".join(name for name in passed if passed[name][i]) for i in range(n)]
    confirm = total * rng.normal(0.9, 0.25, n)
    lead = total.copy()
    lead = np.where(np.array([b.startswith("direct") for b in by], dtype=bool), direct, lead)
    lead = np.where(np.array(by) == "later", later, lead) if n else lead
    kind = np.where(copied & (total > 0.5), "pass_through", np.where(lead >= 0, "excitatory", "inhibitory"))
    kind = np.where(["computed" in b for b in by] & (np.abs(total) < np.abs(copy)), "attenuates_copy", kind) if n else kind
    samples = rng.integers(12, 31, n)
    low_confirm = rng.random(n) < 0.1
    frame = pd.DataFrame(
        {
            "src_fid": src_site * n_features + src,
            "tgt_fid": tgt_site * n_features + tgt,
            "src_id": [feature_id(int(layers[a]), int(index[a, i])) for a, i in zip(src_site, src, strict=True)],
            "tgt_id": [feature_id(int(layers[a]), int(index[a, i])) for a, i in zip(tgt_site, tgt, strict=True)],
            "src_layer": layers[src_site] if n else src_site,
            "tgt_layer": layers[tgt_site] if n else tgt_site,
            "method": ["clamping"] * n,
            "interaction_type": kind.astype(str),
            "span": span,
            "blocks": (layers[tgt_site] - layers[src_site]) if n else span,
            "mean_strength": total,
            "abs_strength": np.abs(total),
            "direct_strength": direct,
            "direct_sum": np.where(span > 1, -0.5 * direct, np.nan),
            "held_features": np.where(span > 1, 30.0, np.nan),
            "held_rank": np.where(span > 1, 29.5, np.nan),
            "later_strength": later,
            "copy_strength": copy,
            "computed_strength": total - copy,
            "specific_strength": (total - copy) * rng.uniform(0.3, 1.0, n),
            "preactivation_strength": total * rng.uniform(1.0, 1.2, n),
            "p_on_change": np.clip(total * rng.uniform(0.5, 1.5, n), -1, 1),
            "standardised_effect": total * rng.uniform(1.0, 3.0, n),
            "strength_jacobian": total * rng.normal(1.0, 0.15, n),
            "direct_jacobian": direct * rng.normal(1.0, 0.15, n),
            "se": se,
            "se_computed": se,
            "ci_low": total - 1.96 * se,
            "ci_high": total + 1.96 * se,
            "p_value": p,
            "q_value": q,
            "p_direct": p_direct,
            "q_direct": q_direct,
            "p_later": p_later,
            "q_later": q_later,
            "p_computed": p_computed,
            "q_computed": q_computed,
            "p_specific": p_specific,
            "q_specific": np.minimum(1.0, 2 * p_specific),
            "significant": [bool(b) for b in by],
            "significant_by": by,
            "floor": floor,
            "floor_direct": floor,
            "floor_later": np.full(n, 0.04),
            "floor_computed": floor,
            "placebo_quantile": np.clip(1 - p / 10, 0, 1),
            "n_samples": samples,
            "n_documents": np.maximum(6, samples // 2),
            "n_later": samples - 2,
            "confirm_strength": np.where(low_confirm, np.nan, confirm),
            "confirm_computed": np.where(low_confirm, np.nan, computed * np.where(total == 0, 1, confirm / np.where(total == 0, 1, total))),
            "n_confirm": np.where(low_confirm, 1, 8),
            "replicated": [None if u else bool(r) for u, r in zip(low_confirm, confirm * total > 0, strict=True)],
            "clamp_low": np.zeros(n),
            "clamp_high": rng.uniform(1, 12, n),
            "achieved": rng.normal(1.0, 0.01, n),
            "spill": rng.uniform(0, 0.4, n),
            "pmi": rng.normal(1, 1, n),
            "coactivation_prob": rng.uniform(0, 1, n),
            "decoder_alignment": rng.normal(0, 0.2, n),
            "arm": np.where(rng.random(n) < 0.05, "rescue_random", "kept").astype(str),
        }
    )
    frame = frame.astype(
        {c.name: c.type for c in INTERACTIONS.columns if c.type in {"int32", "int64", "float64", "bool"} and not c.nullable}
    )
    frame = frame.sort_values(["src_fid", "tgt_fid", "method"], ignore_index=True)
    return InteractionSet(frame[INTERACTIONS.names], _meta(n, seed))


def random_features(interactions: InteractionSet, seed: int = 0) -> pd.DataFrame:
    """Table of ``features.parquet`` for every feature that occurs in ``interactions``, with labels that need escaping among them."""
    rng = np.random.default_rng(seed)
    ends = [interactions.frame[[f"{e}_fid", f"{e}_id", f"{e}_layer"]].set_axis(["fid", "id", "layer"], axis=1) for e in ("src", "tgt")]
    frame = pd.concat(ends).drop_duplicates("fid").sort_values("fid", ignore_index=True)
    n = len(frame)
    density = rng.uniform(1e-4, 0.3, n)
    labels = [_label(rng) for _ in range(n)]
    frame["index"] = [int(i.split("_F")[1]) for i in frame["id"]]
    frame["uid"] = [f"toy@0123abcd/toy-res/blocks.{a}/{i}" for a, i in zip(frame["layer"], frame["index"], strict=True)]
    frame["hook"] = [f"blocks.{a}.hook_resid_post" for a in frame["layer"]]
    frame = frame.assign(label=labels, density=density, mean_act=rng.uniform(0.5, 5, n), max_act=rng.uniform(5, 20, n), decoder_norm=1.0)
    frame = frame.assign(dead=False, dense=density > 0.2, importance=rng.lognormal(0, 1, n), neuronpedia_url="")
    return frame[FEATURES.names].astype({"layer": "int32", "index": "int32", "fid": "int64"})


def _label(rng: np.random.Generator) -> str:
    """Like ``activations.feature_labels``: top tokens, then the strongest in context."""
    words = [w.strip() or "↵" for w in rng.choice(_WORDS, size=3, replace=False)]
    return f"{', '.join(words)}: {' '.join(rng.choice(_WORDS, size=5)).strip()} «{words[0]}»"


def _draw_pairs(rng: np.random.Generator, n_layers: int, n_features: int, n_edges: int, window: int) -> np.ndarray:
    """Distinct (source site, source, target site, target) rows, drawn with Zipf weights on both ends."""
    sites = [(a, b) for a in range(n_layers) for b in range(a + 1, min(a + window, n_layers - 1) + 1)]
    every = np.array([(a, i, b, j) for a, b in sites for i in range(n_features) for j in range(n_features)], dtype=int).reshape(-1, 4)
    if not len(every):
        return every
    popularity = 1 / (1 + np.argsort(rng.random((n_layers, n_features)), axis=1)) ** 0.8
    weights = popularity[every[:, 0], every[:, 1]] * popularity[every[:, 2], every[:, 3]]
    chosen = rng.choice(len(every), size=min(n_edges, len(every)), replace=False, p=weights / weights.sum())
    return every[np.sort(chosen)]


def _p_values(rng: np.random.Generator, strength: np.ndarray, true: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Small where the effect is real, uniform where not, 1 below the floor."""
    raw = np.where(true, 10 ** rng.uniform(-9, -2.2, len(strength)), rng.random(len(strength)))
    return np.where(np.abs(strength) < floor, 1.0, raw)


def _meta(n: int, seed: int) -> dict[str, object]:
    return {
        "model": "toy",
        "method": "clamping",
        "level": _LEVEL,
        "correction": "fdr_bh",
        "families": {"total": n, "direct": n, "later": n},
        "sources": {"measured": 40, "left_out": {"active in fewer than 6 test documents": 3}},
        "seed": seed,
    }


@st.composite
def interaction_sets(draw: st.DrawFn, max_layers: int = 5, max_features: int = 6, max_edges: int = 40) -> InteractionSet:
    """Interaction sets of any small size, the empty one included."""
    sizes = (draw(st.integers(2, max_layers)), draw(st.integers(1, max_features)), draw(st.integers(0, max_edges)))
    return random_interactions(*sizes, seed=draw(st.integers(0, 2**32 - 1)), window=draw(st.integers(1, 3)))


@st.composite
def interaction_graphs(draw: st.DrawFn, max_layers: int = 5, max_features: int = 6, max_edges: int = 40) -> nx.DiGraph:
    """Graphs built from :func:`interaction_sets`, with any text as labels."""
    interactions = draw(interaction_sets(max_layers, max_features, max_edges))
    graph = build_interaction_graph(interactions, features=random_features(interactions))
    text = st.text(max_size=12)
    for node in graph:
        graph.nodes[node]["label"] = draw(text)
    return graph
