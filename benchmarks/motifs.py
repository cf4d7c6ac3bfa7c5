"""Motifs and cascades on graphs of 10 thousand, 100 thousand and a million edges: times, and agreement with slower methods.

Counts: the census (every signed motif) and three patterns, exact; compared with the plain sparse products at each size, and with
networkx on small random graphs. Null graphs: how many per second. Cascades: all paths from the feature that reaches furthest, in process
(sparse vectors) and, with --database, by the template in a real Neo4j that is filled by bulk import; the two forecasts are compared. The
runs have seven sites, as many as the template follows.

    python benchmarks/motifs.py [--json] [--quick] [--database]     # --quick: 10 thousand edges only
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.synthetic import write_run
from feature_graph.motifs import SignedGraph, census, count_pattern, parse_pattern
from feature_graph.motifs.counts import plain_counts
from feature_graph.motifs.nulls import null_test
from feature_graph.motifs.swaps import SwapGraph, swap
from feature_graph.steering import NO_INTERVALS, Cascade, DirectEffects, IntervalOptions, predict_cascade
from feature_graph.utils import without_progress

T = TypeVar("T")
SIZES = (10_000, 100_000, 1_000_000)
PATTERNS = {
    "feed_forward_i3": "A -> B; B -> C; A -| C",
    "bi_fan": "A ~> C; A ~> D; B ~> C; B ~> D",
    "strong_chain_of_four": "A -> B -> C -> D; every [|strength| > 0.3]",
}
HOPS, MIN_EFFECT, SITES = 3, 0.001, 7  # HOPS: of the paths listed


def timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begun


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features, and the structural edges at the same position."""
    features = pq.read_table(root / "features.parquet", columns=["id", "layer"]).to_pandas()
    wanted = ["src_fid", "tgt_fid", "direct_strength", "span", "significant_by", "se", "n_documents"]
    edges = pq.read_table(root / "interactions.parquet", columns=wanted).to_pandas()
    carries = ((edges["span"] <= 1) | edges["significant_by"].str.contains("direct")) & (edges["significant_by"] != "later")
    return features, edges[carries]


def signed_graph(features: pd.DataFrame, edges: pd.DataFrame) -> SignedGraph:
    source, target, strength = (edges[c].to_numpy() for c in ("src_fid", "tgt_fid", "direct_strength"))
    return SignedGraph.from_arrays(
        source, target, strength, features["layer"].to_numpy(), features["id"].tolist(), edges["span"].to_numpy()
    )


def direct_effects(features: pd.DataFrame, edges: pd.DataFrame) -> DirectEffects:
    columns = (edges[c].to_numpy(np.float64) for c in ("direct_strength", "se", "n_documents"))
    direct, se, documents = columns
    source, target = (edges[c].to_numpy(np.int64) for c in ("src_fid", "tgt_fid"))
    return DirectEffects.from_arrays(features["id"].tolist(), source, target, direct, se, documents - 1)


def counts(graph: SignedGraph) -> dict[str, Any]:
    found, seconds = timed(lambda: census(graph).counts)
    plain, plain_seconds = timed(lambda: plain_counts(graph))
    sums = {family: sum(n for name, n in found.items() if name.startswith(family)) for family in ("chain", "fan_in", "bi_fan", "diamond")}
    sums["feed_forward_loop"] = sum(n for name, n in found.items() if name.startswith("ffl"))
    patterns = {
        name: dict(zip(("count", "seconds"), timed(lambda t=text: count_pattern(graph, t)), strict=True)) for name, text in PATTERNS.items()
    }
    agree = all(plain[name] == n for name, n in sums.items())
    agree = agree and patterns["bi_fan"]["count"] == sums["bi_fan"] and patterns["feed_forward_i3"]["count"] == found["ffl_i3"]
    return {"census_seconds": seconds, "plain_products_seconds": plain_seconds, "agree": agree, "counts": sums, "patterns": patterns}


def nulls(graph: SignedGraph) -> dict[str, Any]:
    edges = SwapGraph.of(graph)
    proposed = 2 * graph.n_edges
    swapped, seconds = timed(lambda: swap(edges, edges.targets, proposed, 1))
    found = {"swaps_proposed_per_second": proposed / seconds, "accepted_share": swapped.accepted / proposed}
    if graph.n_edges > 200_000:
        return found
    n = 100 if graph.n_edges < 50_000 else 20
    with without_progress():
        result, seconds = timed(lambda: null_test(graph, n, swaps_per_edge=20.0))
    return found | {"nulls": n, "seconds": seconds, "nulls_per_second": n / seconds, "mixed": result.mixing.mixed}


def furthest(effects: DirectEffects) -> str:
    """Of the ten features with most edges in the first three layers' worth of nodes, the one whose cascade reaches most."""
    degree = np.diff(effects.starts)
    early = np.argsort(-degree[: len(degree) // 4])[:10]
    reach = [
        len(predict_cascade(effects, effects.nodes[i], 1.0, HOPS, min_effect=MIN_EFFECT, top_paths=0, uncertainty=NO_INTERVALS).effects)
        for i in early
    ]
    return effects.nodes[early[int(np.argmax(reach))]]


def cascades(features: pd.DataFrame, edges: pd.DataFrame) -> tuple[dict[str, Any], str, Cascade]:
    effects, built = timed(lambda: direct_effects(features, edges))
    source = furthest(effects)
    times = [
        timed(lambda: predict_cascade(effects, source, 1.0, HOPS, min_effect=MIN_EFFECT, uncertainty=NO_INTERVALS))[1] for _ in range(5)
    ]
    every, whole = timed(lambda: predict_cascade(effects, source, 1.0, HOPS, min_effect=0, uncertainty=NO_INTERVALS))
    cascade, with_intervals = timed(
        lambda: predict_cascade(effects, source, 1.0, HOPS, min_effect=MIN_EFFECT, uncertainty=IntervalOptions(draws=100))
    )
    out = int(np.diff(effects.starts)[effects.number[source]])
    figures = {
        "build_seconds": built,
        "source": source,
        "out_degree": out,
        "reached": len(cascade.effects),
        "seconds": float(np.median(times)),
    }
    more = {"seconds_without_threshold": whole, "reached_without_threshold": len(every.effects), "seconds_with_100_draws": with_intervals}
    return figures | more, source, cascade


def in_cypher(root: Path, source: str, mine: Cascade) -> dict[str, Any]:
    """The same forecast by the template, over Bolt, the first time and when the pages are warm."""
    from feature_graph.database import offline, server, store

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        try:
            server.start(home, heap="1g", page_cache="512m", quick=True)
            report = offline.bulk_ingest(home, root)
            where = server.connection(home)
            with store.connect(where.uri, where.username, where.password) as db:
                wanted: dict[str, Any] = {"feature": source, "min_effect": MIN_EFFECT, "limit": 10_000}
                frame, first = timed(lambda: db.query("cascade", timeout=300, **wanted))
                times = [timed(lambda: db.query("cascade", timeout=300, **wanted))[1] for _ in range(5)]
        finally:
            server.stop(home)
    theirs = dict(zip(frame["id"], frame["effect"], strict=True))
    common = [i for i in theirs if i in mine.effects]
    gap = max((abs(theirs[i] - mine.effects[i]) / max(abs(mine.effects[i]), 1e-12) for i in common), default=0.0)
    figures = {"load_seconds": report.seconds["total"], "first_seconds": first, "seconds": float(np.median(times)), "rows": len(frame)}
    return figures | {"compared": len(common), "largest_relative_gap": gap}


def small_graphs(n: int) -> dict[str, Any]:
    """Patterns on small random graphs, counted by products and by networkx."""
    rng = np.random.default_rng(0)
    texts = [
        *PATTERNS.values(),
        "A ~> B ~> D; A ~> C ~> D; A !> D",
        "A ~> B; A ~> C; A ~> D; B ~> C; B ~> D; C ~> D",
        "A -> B; A -> C; A -| D",
    ]
    agreed = 0
    for trial in range(n):
        layers = np.sort(rng.integers(0, 5, 14))
        graph = nx.DiGraph()
        graph.add_nodes_from((i, {"layer": int(layer)}) for i, layer in enumerate(layers))
        for a, b in combinations(range(14), 2):
            if layers[a] < layers[b] and rng.random() < 0.5:
                graph.add_edge(a, b, strength=float(rng.normal(0.2, 0.5)), span=int(layers[b] - layers[a]))
        text = texts[trial % len(texts)]
        agreed += count_pattern(graph, text) == by_networkx(graph, text)
    return {"graphs": n, "agree": agreed}


def by_networkx(graph: nx.DiGraph, text: str) -> int:
    pattern = parse_pattern(text)
    least = 0.3 if "0.3" in text else 0.0
    kept = nx.DiGraph((u, v, d) for u, v, d in graph.edges(data=True) if abs(d["strength"]) > least)
    shape = nx.DiGraph((e.source, e.target, {"sign": e.sign}) for e in pattern.present)

    def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
        return b["sign"] == 0 or (a["strength"] < 0) == (b["sign"] < 0)

    matcher = nx.algorithms.isomorphism.DiGraphMatcher(kept, shape, edge_match=same)
    found = 0
    for mapping in matcher.subgraph_monomorphisms_iter():
        at = {letter: node for node, letter in mapping.items()}
        found += not any(graph.has_edge(at[e.source], at[e.target]) for e in pattern.absent)
    return found // len(pattern.automorphisms)


def measure(n_edges: int, database: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = write_run(Path(folder) / "run", n_edges, sites=SITES)
        features, edges = read(root)
        graph, seconds = timed(lambda: signed_graph(features, edges))
        figures: dict[str, Any] = {
            "edges": n_edges,
            "structural_edges": graph.n_edges,
            "features": graph.n_nodes,
            "arrays_seconds": seconds,
        }
        figures |= counts(graph) | {"null_graphs": nulls(graph)}
        figures["cascade"], source, mine = cascades(features, edges)
        if database:
            figures["cascade_in_cypher"] = in_cypher(root, source, mine)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="10 thousand edges only")
    parser.add_argument("--database", action="store_true", help="the cascade in a Neo4j of its own too, at the largest size")
    given = parser.parse_args()
    sizes = SIZES[:1] if given.quick else SIZES
    with tempfile.TemporaryDirectory() as folder:  # compile before the clock runs
        features, edges = read(write_run(Path(folder) / "run", 2_000, features=400))
        warm = signed_graph(features, edges)
        counts(warm)
        swap(SwapGraph.of(warm), SwapGraph.of(warm).targets, 10, 0)
    found = {"small_graphs": small_graphs(60), "sizes": [measure(n, given.database and n == sizes[-1]) for n in sizes]}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"small graphs: {found['small_graphs']['agree']} of {found['small_graphs']['graphs']} counts equal networkx")
    for row in found["sizes"]:
        print(f"{row['edges']:>9,} edges ({row['structural_edges']:,} structural): census {row['census_seconds']:.2f} s, "
              f"plain products {row['plain_products_seconds']:.2f} s, equal {row['agree']}")  # fmt: skip
        for name, one in row["patterns"].items():
            print(f"{'':>10}{name}: {one['count']:,} in {one['seconds']:.2f} s")
        for part in ("null_graphs", "cascade", "cascade_in_cypher"):
            if part in row:
                print(f"{'':>10}{part}: " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row[part].items()))


if __name__ == "__main__":
    main()
