"""Twins of the templates about features in several runs, behaviours, whole runs and their soundness."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import numpy as np

from tests.graph.twins import Rows, RunFiles, carries, graph, led_through, outputs, seeds, site_of, structural, top


def feature_in_runs(runs: list[tuple[str, str, RunFiles]], uid: str, method: str) -> Rows:
    """``runs``: id, name of the directory and files, newest first."""
    rows = []
    for id_, name, files in runs:
        for row in files.features[files.features["uid"] == uid].to_dict("records"):
            known = sorted(set(files.interactions["method"]))
            counted = method if method in known else known[0] if len(known) == 1 else None
            edges = files.edges(counted) if counted else []
            facts = {key: row[key] for key in ("id", "layer", "density", "max_act", "importance", "label")}
            counts = {"incoming": sum(e["target"] == row["id"] for e in edges), "outgoing": sum(e["source"] == row["id"] for e in edges)}
            counts = {"method": counted} | (counts if counted else dict.fromkeys(counts))
            rows.append({"run_id": id_, "name": name} | facts | counts)
    return rows


def behavior_hubs(run: RunFiles, hops: int, edges: str, min_behaviors: int, limit: int, method: str, **_: Any) -> Rows:
    g = graph(run, edges, method=method, by="strength", families=False)
    serves: dict[str, list[str]] = {}
    for name in sorted(b["name"] for b in run.behaviors):
        for i in {n for s in seeds(run, name) & set(g) for n in nx.single_source_shortest_path_length(g, s, cutoff=hops)}:
            serves.setdefault(i, []).append(name)
    rows = [
        {"id": i, "layer": run.layer[i], "count": len(names), "behaviors": names}
        | {"seed_of": sum(i in seeds(run, name) for name in names), "incoming": g.in_degree(i), "outgoing": g.out_degree(i)}
        | {"label": run.label[i]}
        for i, names in serves.items()
        if len(names) >= min_behaviors
    ]
    return top(rows, limit, lambda r: -r["count"], lambda r: -(r["incoming"] + r["outgoing"]), lambda r: r["id"])


def seed_paths(run: RunFiles, behavior: str, limit: int, method: str, to: str, layer: int | None = None, **_: Any) -> Rows:
    g, starts = nx.DiGraph(), seeds(run, behavior) | led_through(run, method)
    g.add_nodes_from(run.features["id"])
    for e in run.edges(method):
        if carries(e) and e["direct"] != 0 and e["source"] in starts:
            g.add_edge(e["source"], e["target"], direct=e["direct"], cost=-math.log(abs(e["direct"]) / run.scale))
    costs, paths = nx.multi_source_dijkstra(g, seeds(run, behavior) & set(g), weight="cost")
    last = max(run.layer.values()) if layer is None else layer
    written = outputs(run, behavior)
    rows = [
        {"seed": path[0], "target": target, "path": path, "hops": len(path) - 1, "cost": costs[target], "label": run.label[target]}
        | {"effect": math.prod(g.edges[pair]["direct"] for pair in pairwise(path)), "output": written.get(target)}
        for target, path in paths.items()
        if (target in written if to == "output" else run.layer[target] == last and len(path) > 1)
    ]
    return top(rows, limit, lambda r: r["cost"], lambda r: r["target"])


def run_overlap(run: RunFiles, other: RunFiles, method: str, other_method: str | None = None) -> Rows:
    mine, theirs = ({i: row["uid"] for i, row in r.features.set_index("id").iterrows()} for r in (run, other))
    one, two = (
        {(ids[e["source"]], ids[e["target"]]): e["strength"] for e in r.edges(m)}
        for r, ids, m in ((run, mine, method), (other, theirs, other_method or method))
    )
    seen = set(mine.values()) & set(theirs.values())
    among_one, among_two = ({pair for pair in edges if set(pair) <= seen} for edges in (one, two))
    signs = [float(np.sign(one[pair]) == np.sign(two[pair])) for pair in one.keys() & two.keys()]
    same = float(np.mean(signs)) if signs else None
    return [
        _overlap("features", set(mine.values()), set(theirs.values())) | {"same_sign": None},
        _overlap("edges between features that both runs saw", among_one, among_two) | {"same_sign": same},
        _overlap("edges", set(one), set(two)) | {"same_sign": same},
    ]


def _overlap(what: str, one: set[Any], two: set[Any]) -> dict[str, Any]:
    jaccard = len(one & two) / len(one | two) if one | two else None
    return {"what": what, "both": len(one & two), "here": len(one - two), "there": len(two - one), "jaccard": jaccard}


def orphans(run: RunFiles, edges: str, members: int, method: str, **_: Any) -> Rows:
    tied = {end for e in run.edges(method) if structural(e, edges) for end in (e["source"], e["target"])}
    rows = []
    for layer, frame in run.features.sort_values("fid").groupby("layer"):
        alone = frame[~frame["id"].isin(tied)]
        rows.append(
            {"layer": layer, "observed": len(frame), "orphans": len(alone), "share": len(alone) / len(frame)}
            | {"dead": int(alone["dead"].sum()), "dense": int(alone["dense"].sum()), "features": alone["id"].tolist()[:members]}
        )
    return rows


def duplicates(
    run: RunFiles,
    edges: str,
    min_shared: int,
    min_overlap: float,
    max_drivers: int,
    limit: int,
    method: str,
    layer: int | None = None,
    **_: Any,
) -> Rows:
    fan = Counter(e["target"] for e in run.edges(method))
    acts: dict[str, dict[str, float]] = {i: {} for i in run.features["id"]}
    for e in run.edges(method):
        if structural(e, edges):
            acts[e["source"]][e["target"]] = e["strength"]
    uid = dict(zip(run.features["id"], run.features["uid"], strict=True))
    rows = []
    for a, b in combinations(sorted(acts, key=uid.__getitem__), 2):
        shared = [t for t in acts[a].keys() & acts[b].keys() if fan[t] <= max_drivers]
        if site_of(a) != site_of(b) or layer not in (None, run.layer[a]) or len(shared) < min_shared:
            continue
        overlap = len(shared) / (len(acts[a]) + len(acts[b]) - len(shared))
        if overlap >= min_overlap:
            agree = sum(np.sign(acts[a][t]) == np.sign(acts[b][t]) for t in shared)
            rows.append(
                {"first": a, "second": b, "layer": run.layer[a], "shared": len(shared), "agree": int(agree), "overlap": overlap}
                | {"first_label": run.label[a], "second_label": run.label[b]}
            )
    return top(rows, limit, lambda r: -r["overlap"], lambda r: -r["shared"], lambda r: r["first"], lambda r: r["second"])
