"""Every template's question answered from the files of a run, in process, with pandas, networkx and scipy.

Nothing here shares code with ``queries`` or ``ingest``; where both agree, both are probably right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse as sp

from tests.graph.twins_copies import Rows, heads


@dataclass(frozen=True)
class RunFiles:
    """A run directory, read once: nothing may change its tables."""

    features: pd.DataFrame
    interactions: pd.DataFrame
    config: dict[str, Any]
    behaviors: list[dict[str, Any]]

    @classmethod
    def read(cls, root: Path) -> RunFiles:
        """From its files; missing values are None."""
        behaviors = root / "behaviors.json"
        listed = json.loads(behaviors.read_text())["behaviors"] if behaviors.exists() else []
        features, interactions = (pd.read_parquet(root / f"{name}.parquet") for name in ("features", "interactions"))
        return cls(features, interactions, json.loads((root / "config.json").read_text()), listed)

    def feature(self, id_: str) -> dict[str, Any]:
        """One feature's row."""
        return self.features[self.features["id"] == id_].iloc[0].to_dict()

    @cached_property
    def layer(self) -> dict[str, int]:
        """Short id → layer."""
        return dict(zip(self.features["id"], self.features["layer"].astype(int), strict=True))

    @cached_property
    def label(self) -> dict[str, str]:
        """Short id → label."""
        return dict(zip(self.features["id"], self.features["label"], strict=True))

    @cached_property
    def fid(self) -> dict[str, int]:
        """Short id → fid."""
        return dict(zip(self.features["id"], self.features["fid"].astype(int), strict=True))

    def edges(self, method: str = "clamping") -> Rows:
        """Significant rows with the names of the graph's properties."""
        return [dict(edge) for edge in self._edges.get(method, [])]

    @cached_property
    def _edges(self) -> dict[str, Rows]:
        frame = self.interactions
        frame = frame[frame["significant"]]
        rows: dict[str, Rows] = {}
        for row in frame.to_dict("records"):
            effect = leading_effect(row["significant_by"])
            rows.setdefault(row["method"], []).append(
                {
                    "source": row["src_id"],
                    "target": row["tgt_id"],
                    "strength": row[f"{effect}_strength"],
                    "total": row["mean_strength"],
                    "direct": row["direct_strength"],
                    "later": none(row["later_strength"]),
                    "copy": none(row["copy_strength"]),
                    "computed": none(row["mean_strength"] - row["copy_strength"]),
                    "specific": none(row.get("specific_strength")),
                    "floor": none(row.get("floor_computed")) or none(row["floor"]) or 0.0,
                    "span": row["span"],
                    "held": none(row.get("held_features")),
                    "by": row["significant_by"],
                    "type": row["interaction_type"],
                    "q": row["q_value"],
                    "replicated": none(row["replicated"]),
                    "standardised": none(row["standardised_effect"]),
                }
            )
        return rows

    @cached_property
    def scale(self) -> float:
        """Largest |direct| of the significant edges, of any method."""
        return float(self.interactions.loc[self.interactions["significant"], "direct_strength"].abs().max())


def leading_effect(by: str) -> str:
    """Which column has an edge's strength: the total effect, but for edges that their direct effect let in without it, or later alone."""
    return by.split("+")[0] if by.startswith("direct") or by == "later" else "mean"


def none(value: Any) -> Any:
    """None for NaN."""
    return None if value is None or value != value else value


def structural(edge: dict[str, Any], edges: str = "structural") -> bool:
    return edges == "all" or (edge["span"] <= 1 and not edge["held"]) or "direct" in edge["by"]


def effect(edge: dict[str, Any], edges: str = "structural", by: str = "strength") -> Any:
    """What the edge weighs, sign and all; None where it was not measured, or is 0 or smaller than counts."""
    if by != "strength":
        return None if not edge[by] or abs(edge[by]) < edge["floor"] else edge[by]
    return edge["strength"] if edges == "all" or edge["by"] == "later" else edge["direct"]


#: The same, for functions that have a parameter of that name.
weight = effect


def default_effect(run: RunFiles, method: str = "clamping") -> str:
    """What edges weigh where nothing is asked for."""
    return "specific" if any(e["specific"] is not None for e in run.edges(method)) else "strength"


def takes(edge: dict[str, Any], value: float, by: str = "strength") -> bool:
    """Whether the edge, by that effect, only takes from a copy."""
    if edge["type"] == "attenuates_copy":
        return by in {"computed", "specific"} or value < 0
    return edge["type"] == "erases_copy"


def acts(edge: dict[str, Any], value: float, by: str = "strength") -> int:
    """1 for excitation, −1 for inhibition, 0 for neither."""
    return 0 if takes(edge, value, by) else int(np.sign(value))


def passes(edge: dict[str, Any], value: float, sign: str, by: str = "strength") -> bool:
    return sign == "any" or acts(edge, value, by) == {"excitatory": 1, "inhibitory": -1}[sign]


def graph(
    run: RunFiles, edges: str = "structural", sign: str = "any", method: str = "clamping", by: str | None = None, families: bool = True
) -> nx.DiGraph:
    """Weighted by magnitude, with every feature of the run as a node, but a family of copies as one."""
    measured = run.edges(method)
    head = heads(measured) if families else {}
    made = nx.DiGraph()
    made.add_nodes_from(i for i in run.features["id"] if head.get(i, i) == i)
    chosen = by or default_effect(run, method)
    for edge in measured:
        value = effect(edge, edges, chosen)
        source, target = (head.get(edge[end], edge[end]) for end in ("source", "target"))
        if source == target or not structural(edge, edges) or value is None or not passes(edge, value, sign, chosen):
            continue
        if abs(value) > made.get_edge_data(source, target, {"weight": -1.0})["weight"]:
            made.add_edge(source, target, weight=abs(value), signed=value, acts=acts(edge, value, chosen), edge=edge)
    return made


def undirected(directed: nx.DiGraph) -> nx.Graph:
    """Between two families there may be an edge each way: together they weigh as much as both."""
    made = nx.Graph()
    made.add_nodes_from(directed)
    for u, v, d in directed.edges(data=True):
        made.add_edge(u, v, weight=d["weight"] + made.get_edge_data(u, v, {"weight": 0.0})["weight"])
    return made


def carries(edge: dict[str, Any]) -> bool:
    """Whether a cascade may follow it: structural, and not by the later effect only."""
    return structural(edge) and edge["by"] != "later"


#: What ids call the dictionaries of one MLP, the one that paths lead through first.
_OF_AN_MLP = ("tc", "mlp", "mlpin")


def led_through(run: RunFiles, method: str = "clamping") -> set[str]:
    """Features that paths may lead through: all of them, but where dictionaries sit on components those of one dictionary per MLP."""
    ids = set(run.features["id"])
    parts = {site_of(i) for i in ids if site_of(i).partition(".")[2] in ("mid", "z", "attn", *_OF_AN_MLP)}
    if not parts or method not in ("clamping", "jacobian"):
        return ids
    kept = set()
    for layer in {part.partition(".")[0] for part in parts}:
        kept.update([f"{layer}.{kind}" for kind in _OF_AN_MLP if f"{layer}.{kind}" in parts][:1])
    return {i for i in ids if site_of(i) in kept}


def top(rows: Iterable[dict[str, Any]], limit: int, *keys: Callable[[dict[str, Any]], Any]) -> Rows:
    return list(islice(sorted(rows, key=lambda r: tuple(k(r) for k in keys)), limit))


def site_of(id_: str) -> str:
    """What the id of a feature begins with."""
    return id_.rpartition("_F")[0]


def at(id_: str, site: str | None) -> bool:
    """Whether a feature is of a site of its layer; any is, if none is asked for."""
    return site is None or (site_of(id_).partition(".")[2] or "residual") == site


def search(run: RunFiles, text: str, limit: int, layer: int | None = None, site: str | None = None, **_: Any) -> Rows:
    found = run.features[run.features["label"].str.lower().str.contains(text.lower(), regex=False)]
    rows = [
        {k: r[k] for k in ("id", "layer", "label", "density", "max_act")} | {"neuronpedia_url": r["neuronpedia_url"] or None}
        for r in found.to_dict("records")
        if layer in (None, r["layer"]) and at(r["id"], site)
    ]
    return top(rows, limit, lambda r: -r["max_act"], lambda r: r["id"])


def feature(run: RunFiles, feature: str, method: str, **_: Any) -> Rows:
    row = run.feature(feature)
    edges = run.edges(method)
    facts = {k: none(row[k]) for k in ("id", "uid", "layer", "hook", "label", "density", "mean_act", "max_act", "importance")}
    counts = {"incoming": sum(e["target"] == feature for e in edges), "outgoing": sum(e["source"] == feature for e in edges)}
    return [facts | counts | {"runs": 1, "neuronpedia_url": row["neuronpedia_url"] or None}]


def neighbours(run: RunFiles, feature: str, direction: str, limit: int, method: str, effect: str | None, **_: Any) -> Rows:
    rows, effect = [], effect or default_effect(run, method)
    for e in run.edges(method):
        for way, mine, other in (("out", "source", "target"), ("in", "target", "source")):
            if e[mine] == feature and direction in ("both", way):
                known = {k: e[k] for k in ("strength", "direct", "later", "computed", "specific", "span", "q", "by")}
                known["size"] = -1.0 if e[effect] is None else abs(e[effect])
                rows.append({"direction": way, "id": e[other], "layer": run.layer[e[other]], "label": run.label[e[other]]} | known)
    ordered = top(rows, limit, lambda r: -r["size"], lambda r: r["id"])
    return [{k: v for k, v in row.items() if k != "size"} for row in ordered]


def strongest(
    run: RunFiles, effect: str | None, by: str, edges: str, sign: str, limit: int, method: str, span: int | None = None, **_: Any
) -> Rows:
    rows, chosen = [], effect or default_effect(run, method)
    for e in run.edges(method):
        value = weight(e, "all", chosen)
        if value is not None and passes(e, value, sign, chosen) and span in (None, e["span"]) and structural(e, edges):
            more = {"source_label": run.label[e["source"]], "target_label": run.label[e["target"]], "structural": structural(e)}
            size = None if e["standardised"] is None or e["total"] == 0 else e["standardised"] * value / e["total"]
            known = {k: e[k] for k in ("source", "target", "type", "span", "copy", "q", "replicated")}
            rows.append(known | {"value": value, "standardised": size} | more)

    def first(row: dict[str, Any]) -> float:
        return 0 if by == "value" else 1 if row["standardised"] is None else -abs(row["standardised"])

    return top(rows, limit, first, lambda r: -abs(r["value"]), lambda r: r["source"], lambda r: r["target"])


def co_drivers(run: RunFiles, feature: str, edges: str, min_shared: int, limit: int, method: str, **_: Any) -> Rows:
    kept = {(e["source"], e["target"]): e["strength"] for e in run.edges(method) if structural(e, edges)}
    mine = {t: s for (source, t), s in kept.items() if source == feature}
    rows = []
    for other in {s for s, _ in kept} - {feature}:
        shared = {t: s for (source, t), s in kept.items() if source == other and t in mine}
        agree = sum(np.sign(s) == np.sign(mine[t]) for t, s in shared.items())
        if len(shared) >= min_shared:
            rows.append({"id": other, "layer": run.layer[other], "shared": len(shared), "agree": int(agree), "targets": sorted(shared)})
    return top([r | {"label": run.label[r["id"]]} for r in rows], limit, lambda r: -r["shared"], lambda r: -r["agree"], lambda r: r["id"])


def hub_scores(g: nx.DiGraph, measure: str) -> dict[str, float]:
    weight = "weight" if measure.endswith("strength") else None
    if measure in ("degree", "strength"):
        return dict(g.degree(weight=weight))
    if measure in ("in_degree", "in_strength"):
        return dict(g.in_degree(weight=weight))
    if measure in ("out_degree", "out_strength"):
        return dict(g.out_degree(weight=weight))
    if measure == "betweenness":
        return nx.betweenness_centrality(g, normalized=False)
    if measure.startswith("hits"):
        return hits(g)[measure]
    way = g.reverse() if measure.startswith("reverse_") else g
    return WALKS[measure.removeprefix("reverse_")](way)


def harmonic(g: nx.DiGraph) -> dict[str, float]:
    """Mean of 1 / distance over the paths that end at the node."""
    return {n: c / (len(g) - 1) for n, c in nx.harmonic_centrality(g).items()}


def hits(g: nx.DiGraph, steps: int = 200) -> dict[str, dict[str, float]]:
    """Kleinberg's iteration from ones, by count, each vector of length 1; after as many steps as the template takes."""
    nodes = list(g)
    matrix = nx.to_numpy_array(g, nodelist=nodes, weight=None)
    hub, authority = (np.ones if matrix.any() else np.zeros)(len(nodes)), np.zeros(len(nodes))
    for _ in range(steps if matrix.any() else 0):
        authority = hub @ matrix
        authority /= np.linalg.norm(authority)
        hub = matrix @ authority
        hub /= np.linalg.norm(hub)
    return {name: dict(zip(nodes, v.tolist(), strict=True)) for name, v in (("hits_hub", hub), ("hits_authority", authority))}


def article_rank(g: nx.DiGraph) -> dict[str, float]:
    """Solved, not iterated: x = 0.15 + 0.85 · Σ x · weight / (strength of the source + mean number of outgoing edges)."""
    weights = nx.to_numpy_array(g, weight="weight")
    given = weights.sum(axis=1, keepdims=True) + g.number_of_edges() / len(g)
    matrix = np.divide(weights, given, out=np.zeros_like(weights), where=given > 0)
    return dict(zip(g, np.linalg.solve(np.eye(len(g)) - 0.85 * matrix.T, np.full(len(g), 0.15)).tolist(), strict=True))


def gds_pagerank(g: nx.DiGraph) -> dict[str, float]:
    """PageRank of the paper, without giving back what dead ends swallow (GDS does the same): (1 − d) + d · Σ share · score."""
    nodes = list(g)
    matrix = nx.to_scipy_sparse_array(g, nodelist=nodes, weight="weight", format="csr")
    out = np.asarray(matrix.sum(axis=1)).ravel()
    share = sp.diags_array(np.divide(1, out, out=np.zeros_like(out), where=out > 0)) @ matrix
    score = np.full(len(nodes), 0.15)
    for _ in range(500):
        score = 0.15 + 0.85 * (share.T @ score)
    return dict(zip(nodes, score.tolist(), strict=True))


#: Measures that follow the edges; with ``reverse_`` before, on the reversed graph.
WALKS: dict[str, Callable[[nx.DiGraph], dict[str, float]]] = {
    "pagerank": gds_pagerank,
    "article_rank": article_rank,
    "closeness": nx.closeness_centrality,
    "harmonic": harmonic,
}


def hubs(
    run: RunFiles,
    measure: str,
    edges: str,
    sign: str,
    limit: int,
    method: str,
    effect: str | None = None,
    families: bool = True,
    layer: int | None = None,
    site: str | None = None,
    per_layer: bool = False,
    **_: Any,
) -> Rows:
    g = graph(run, edges, sign, method, effect, families)
    scores = hub_scores(g, measure)
    rows: Rows = []
    for i in sorted(scores, key=lambda i: (-round(scores[i], 10), i)):
        if layer in (None, run.layer[i]) and at(i, site):
            place = 1 + sum(r["layer"] == run.layer[i] for r in rows)
            known = {"id": i, "layer": run.layer[i], "score": scores[i], "layer_rank": place}
            rows.append(known | {"incoming": g.in_degree(i), "outgoing": g.out_degree(i), "label": run.label[i]})
    if per_layer:
        return sorted((r for r in rows if r["layer_rank"] <= limit), key=lambda r: r["layer"])
    return rows[:limit]


def layer_flow(run: RunFiles, edges: str, method: str, **_: Any) -> Rows:
    frame = pd.DataFrame(
        {"a": run.layer[e["source"]], "b": run.layer[e["target"]], "s": e["source"], "t": e["target"], "x": effect(e, edges)}
        | {"acts": acts(e, effect(e, edges)), "takes": takes(e, effect(e, edges))}
        for e in run.edges(method)
        if structural(e, edges)
    )
    rows = []
    for (a, b), part in frame.groupby(["a", "b"]):
        size = part["x"].abs()
        rows.append(
            {"source_layer": a, "target_layer": b, "count": len(part), "excitatory": int((part["acts"] > 0).sum())}
            | {
                "inhibitory": int((part["acts"] < 0).sum()),
                "from_copy": int(part["takes"].sum()),
                "mean_strength": size.mean(),
                "largest": size.max(),
            }
            | {"sources": part["s"].nunique(), "targets": part["t"].nunique()}
        )
    return rows


def site_flow(run: RunFiles, edges: str, method: str, **_: Any) -> Rows:
    rows = []
    kept = [e for e in run.edges(method) if structural(e, edges)]
    for source, target in {(site_of(e["source"]), site_of(e["target"])) for e in kept}:
        part = [e for e in kept if (site_of(e["source"]), site_of(e["target"])) == (source, target)]
        values = [effect(e, edges) for e in part]
        low, high = (run.layer[part[0][end]] for end in ("source", "target"))
        rows.append(
            {"source_site": source, "target_site": target, "blocks": high - low, "count": len(part), "low": low, "high": high}
            | {"excitatory": sum(acts(e, effect(e, edges)) > 0 for e in part)}
            | {"inhibitory": sum(acts(e, effect(e, edges)) < 0 for e in part), "from_copy": sum(takes(e, effect(e, edges)) for e in part)}
            | {"mean_strength": float(np.mean(np.abs(values))), "largest": float(np.max(np.abs(values)))}
            | {"sources": len({e["source"] for e in part}), "targets": len({e["target"] for e in part})}
        )
    ordered = sorted(rows, key=lambda r: (r["low"], r["high"], r["source_site"], r["target_site"]))
    return [{k: v for k, v in row.items() if k not in ("low", "high")} for row in ordered]


def triads(run: RunFiles, feature: str | None, method: str) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    edges = run.edges(method)
    by_source: dict[str, Rows] = {}
    for e in edges:
        by_source.setdefault(e["source"], []).append(e)
    for first in edges:
        for second in by_source.get(first["target"], []):
            if feature is None or feature in (first["source"], first["target"], second["target"]):
                yield first, second


def feed_forward(
    run: RunFiles,
    kind: str,
    edges: str,
    min_strength: float,
    limit: int,
    method: str,
    effect: str | None = None,
    feature: str | None = None,
    **_: Any,
) -> Rows:
    chosen = effect or default_effect(run, method)

    def weighs(e: dict[str, Any]) -> Any:
        return weight(e, edges, chosen)

    across = {(e["source"], e["target"]): e for e in run.edges(method)}
    rows = []
    for ab, bc in triads(run, feature, method):
        ac = across.get((ab["source"], bc["target"]))
        if ac is None or not all(structural(e, edges) and abs(weighs(e) or 0.0) >= min_strength for e in (ab, bc, ac)):
            continue
        x, y, z = (weighs(e) for e in (ab, bc, ac))
        if None in (x, y, z):
            continue
        found = "coherent" if np.sign(x) * np.sign(y) == np.sign(z) else "incoherent"
        if any(takes(e, value, chosen) for e, value in ((ab, x), (bc, y), (ac, z))):
            found = "neither"
        if kind in ("any", found):
            ends = {"source": ab["source"], "middle": ab["target"], "target": bc["target"], "kind": found}
            rows.append(ends | {"source_middle": x, "middle_target": y, "source_target": z, "weakest": min(map(abs, (x, y, z)))})
    return top(rows, limit, lambda r: -r["weakest"], lambda r: r["source"], lambda r: r["middle"], lambda r: r["target"])


def chain(run: RunFiles, min_strength: float, limit: int, method: str, feature: str | None = None, **_: Any) -> Rows:
    across, through = {(e["source"], e["target"]): e for e in run.edges(method)}, led_through(run, method)
    rows = []
    for ab, bc in triads(run, feature, method):
        ac = across.get((ab["source"], bc["target"]))
        if (
            ab["target"] not in through
            or not all(carries(e) and abs(e["direct"]) >= min_strength for e in (ab, bc))
            or (ac is not None and "direct" in ac["by"])
        ):
            continue
        ends = {"source": ab["source"], "middle": ab["target"], "target": bc["target"], "first": ab["direct"], "second": bc["direct"]}
        rows.append(ends | {"product": ab["direct"] * bc["direct"], "total": None if ac is None else ac["total"]})
    return top(rows, limit, lambda r: -abs(r["product"]), lambda r: r["source"], lambda r: r["middle"], lambda r: r["target"])


def fan_in(
    run: RunFiles, edges: str, sources: int, min_strength: float, limit: int, method: str, effect: str | None = None, **_: Any
) -> Rows:
    arriving: dict[str, list[tuple[float, str, bool]]] = {}
    chosen = effect or default_effect(run, method)
    for e in run.edges(method):
        x = weight(e, edges, chosen) or 0.0
        if structural(e, edges) and abs(x) >= min_strength and x != 0:
            arriving.setdefault(e["target"], []).append((x, e["source"], takes(e, x, chosen)))
    rows = []
    for target, effects in arriving.items():
        if len(effects) < sources:
            continue
        effects.sort(key=lambda p: (-abs(p[0]), p[1]))
        x = np.array([v for v, _, taking in effects if not taking])
        rows.append(
            {"target": target, "layer": run.layer[target], "excitatory": int((x > 0).sum()), "inhibitory": int((x < 0).sum())}
            | {"from_copy": len(effects) - len(x), "balance": float(x.sum())}
            | {"competition": 1 - abs(x.sum()) / np.abs(x).sum() if len(x) else 0.0, "sources": [s for _, s, _ in effects]}
            | {"label": run.label[target]}
        )
    return top(rows, limit, lambda r: -len(r["sources"]), lambda r: r["target"])


def cascade(
    run: RunFiles,
    feature: str,
    delta: float,
    max_hops: int,
    min_effect: float,
    min_strength: float,
    decay: float,
    limit: int,
    method: str,
) -> Rows:
    """A linear system: (1 − A·decay)⁻¹ applied to the first step holds paths of any length; path counts the same with ones."""
    n = len(run.features)
    starts = {feature} | led_through(run, method)
    kept = [e for e in run.edges(method) if carries(e) and abs(e["direct"]) >= min_strength and e["source"] in starts]
    at = ([run.fid[e["target"]] for e in kept], [run.fid[e["source"]] for e in kept])
    step = sp.csr_array(([e["direct"] for e in kept], at), shape=(n, n)).toarray()
    ways = sp.csr_array((np.ones(len(kept)), at), shape=(n, n)).toarray()
    start = run.fid[feature]
    effect_ = np.linalg.solve(np.eye(n) - step * decay, step[:, start] * delta)
    paths_ = np.round(np.linalg.solve(np.eye(n) - ways, ways[:, start]))
    distance = nx.single_source_shortest_path_length(nx.DiGraph([(start, start), *zip(at[1], at[0], strict=True)]), start)
    hops = np.array([distance.get(i, 0) for i in range(n)])
    listed = (hops > 0) & (hops <= max_hops) & (np.abs(effect_) >= min_effect) & (effect_ != 0)
    ids = run.features["id"].tolist()
    rows = [
        {
            "id": ids[i],
            "layer": run.layer[ids[i]],
            "hops": int(hops[i]),
            "effect": effect_[i],
            "paths": int(paths_[i]),
            "label": run.label[ids[i]],
        }
        for i in np.flatnonzero(listed)
    ]
    return top(rows, limit, lambda r: -abs(r["effect"]), lambda r: r["id"])


def paths(run: RunFiles, source: str, target: str, k: int, method: str, **_: Any) -> Rows:
    g, starts = nx.DiGraph(), {source} | led_through(run, method)
    g.add_nodes_from([source, target])
    for e in run.edges(method):
        if carries(e) and e["direct"] and e["source"] in starts:
            g.add_edge(e["source"], e["target"], cost=-np.log(abs(e["direct"]) / run.scale), direct=e["direct"])
    rows = []
    if not nx.has_path(g, source, target):
        return rows
    for way in islice(nx.shortest_simple_paths(g, source, target, weight="cost"), k):
        steps = list(pairwise(way))
        rows.append(
            {"path": way, "hops": len(steps), "effect": float(np.prod([g.edges[s]["direct"] for s in steps]))}
            | {"cost": sum(g.edges[s]["cost"] for s in steps)}
        )
    return rows


def reach(run: RunFiles, feature: str, direction: str, max_hops: int, edges: str, min_strength: float, method: str, **_: Any) -> Rows:
    g = nx.DiGraph()
    g.add_node(feature)
    g.add_edges_from((e["source"], e["target"]) for e in run.edges(method) if structural(e, edges) and abs(e["strength"]) >= min_strength)
    distance = nx.single_source_shortest_path_length(g if direction == "downstream" else g.reverse(), feature, cutoff=max_hops)
    rows, met = [], 0
    for hops in range(1, max_hops + 1):
        found = sorted((i for i, d in distance.items() if d == hops), key=run.fid.__getitem__)
        met += len(found)
        layers = list(dict.fromkeys(run.layer[i] for i in found))
        if found:
            rows.append({"hops": hops, "count": len(found), "layers": layers, "share": met / len(run.features), "features": found[:20]})
    return rows


def behaviors(run: RunFiles, **_: Any) -> Rows:
    rows = []
    for b in sorted(run.behaviors, key=lambda b: b["name"]):
        seeds = sorted(b["seeds"], key=lambda s: s["rank"])
        rows.append(
            {k: b[k] for k in ("name", "metric", "clean", "ablated", "confirmed")}
            | {"prompts": len(b["prompts"]), "seeds": [s["id"] for s in seeds], "effects": [s["effect"] for s in seeds]}
            | {"members": len(b["members"]), "outputs": sorted(written := outputs(run, b["name"]), key=lambda i: (-abs(written[i]), i))}
        )
    return rows


def outputs(run: RunFiles, name: str) -> dict[str, float]:
    return {o["feature_id"]: o["effect"] for b in run.behaviors if b["name"] == name for o in b["outputs"] if o["significant"]}


def seeds(run: RunFiles, name: str) -> set[str]:
    return {s["id"] for b in run.behaviors if b["name"] == name for s in b["seeds"]}


def behavior_graph(run: RunFiles, behavior: str, hops: int, edges: str, min_strength: float, limit: int, method: str, **_: Any) -> Rows:
    kept = [e for e in run.edges(method) if structural(e, edges) and abs(e["strength"]) >= min_strength]
    first = seeds(run, behavior)
    whole, frontier = set(first), set(first)
    for _hop in range(hops):
        frontier = {e["target"] for e in kept if e["source"] in frontier}
        whole |= frontier
    rows = [
        {k: e[k] for k in ("source", "target", "strength", "direct", "span")}
        | {"source_seed": e["source"] in first, "target_seed": e["target"] in first}
        | {"source_label": run.label[e["source"]], "target_label": run.label[e["target"]]}
        for e in kept
        if e["source"] in whole and e["target"] in whole
    ]
    return top(rows, limit, lambda r: -abs(r["strength"]), lambda r: r["source"], lambda r: r["target"])


def shared(run: RunFiles, behavior: str, other: str, edges: str, method: str, **_: Any) -> Rows:
    def reached(name: str) -> set[str]:
        return {e["target"] for e in run.edges(method) if structural(e, edges) and e["source"] in seeds(run, name)}

    a, b = seeds(run, behavior), seeds(run, other)
    both = (a | reached(behavior)) & (b | reached(other)) & set(run.features["id"])
    rows = [
        {"id": i, "layer": run.layer[i], "first": "seed" if i in a else "target", "second": "seed" if i in b else "target"}
        | {"label": run.label[i]}
        for i in both
    ]
    return top(rows, len(rows), lambda r: r["layer"], lambda r: r["id"])


def quality(run: RunFiles, method: str, **_: Any) -> Rows:
    rows = []
    frame = pd.DataFrame(run.edges(method))
    for span, part in frame.groupby("span"):
        known = part["replicated"].dropna()
        rows.append(
            {"span": span, "count": len(part)}
            | {"excitatory": float(np.mean([acts(e, e["strength"]) > 0 for e in part.to_dict("records")]))}
            | {"from_copy": float(np.mean([takes(e, e["strength"]) for e in part.to_dict("records")]))}
            | {"computed": (part["computed"].abs() >= part["copy"].abs()).mean()}
            | {
                "mostly_copy": (part["copy"] * np.sign(part["total"]) > part["total"].abs() / 2).mean(),
                "only_later": (part["by"] == "later").mean(),
            }
            | {"replicated": known.astype(float).mean() if len(known) else None}
            | {"median_strength": part["strength"].abs().median(), "median_q": part["q"].median()}
        )
    return rows


def methods_agree(run: RunFiles, first: str, second: str, limit: int, **_: Any) -> Rows:
    one, two = ({(e["source"], e["target"]): e["strength"] for e in run.edges(m)} for m in (first, second))
    rows = [
        {"source": s, "target": t, "first_strength": x, "second_strength": two[s, t]}
        | {"same_sign": bool(np.sign(x) == np.sign(two[s, t])), "gap": abs(x - two[s, t])}
        for (s, t), x in one.items()
        if (s, t) in two
    ]
    return top(rows, limit, lambda r: -r["gap"], lambda r: r["source"], lambda r: r["target"])


def compare(run: RunFiles, other: RunFiles, change: str, limit: int, method: str) -> Rows:
    one, two = (
        {(r.feature(e["source"])["uid"], r.feature(e["target"])["uid"]): e["strength"] for e in r.edges(method)} for r in (run, other)
    )
    rows = []
    for s, t in one.keys() | two.keys():
        x, y = one.get((s, t)), two.get((s, t))
        kind = "gained" if x is None else "lost" if y is None else "kept" if np.sign(x) == np.sign(y) else "flipped"
        if change in ("any", kind):
            rows.append({"source": s, "target": t, "change": kind, "strength": x, "other_strength": y})
    return top(rows, limit, lambda r: -abs((r["strength"] or 0) - (r["other_strength"] or 0)), lambda r: r["source"], lambda r: r["target"])


def audit(run: RunFiles, **_: Any) -> Rows:
    edges, nodes = int(run.interactions["significant"].sum()), len(run.features)
    expected = {
        "edges": edges,
        "edges between observed features, forward": edges,
        "edges that are there twice": 0,
        "features observed": nodes,
        "observations without their feature": 0,
        "rows in the ledger": edges + nodes,
    }
    return [{"check": k, "found": v, "expected": v, "ok": True} for k, v in sorted(expected.items())]


#: Template → twin, for those whose rows depend on the run's files alone.
TWINS: dict[str, Callable[..., Rows]] = {
    f.__name__: f
    for f in (
        *(
            search,
            feature,
            neighbours,
            strongest,
            co_drivers,
            hubs,
            layer_flow,
            site_flow,
            feed_forward,
            chain,
            fan_in,
            cascade,
            paths,
            reach,
        ),
        *(behaviors, behavior_graph, shared, quality, methods_agree, audit),
    )
}
