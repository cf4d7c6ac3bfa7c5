"""Questions of the families motifs and cascades answered from the files of a run, in process; shares no code with ``queries``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import numpy as np

from tests.graph import twins
from tests.graph.twins import Rows, RunFiles, carries, default_effect, effect, led_through, structural, takes, top


def _kept(run: RunFiles, edges: str, min_strength: float, method: str, by: str | None = None) -> dict[tuple[str, str], float]:
    """Pairs and what they weigh, of the edges that a motif may use."""
    found, chosen = {}, by or default_effect(run, method)
    for e in run.edges(method):
        size = effect(e, edges, chosen)
        if structural(e, edges) and size is not None and abs(size) >= min_strength:
            found[e["source"], e["target"]] = size
    return found


def _taking(run: RunFiles, edges: str, method: str, by: str | None = None) -> set[tuple[str, str]]:
    """Pairs whose edge has no sign, by what it weighs."""
    chosen = by or default_effect(run, method)
    weighed = [(e, effect(e, edges, chosen)) for e in run.edges(method)]
    return {(e["source"], e["target"]) for e, size in weighed if size is not None and takes(e, size, chosen)}


def _after(kept: dict[tuple[str, str], float]) -> dict[str, list[str]]:
    after: dict[str, list[str]] = {}
    for s, t in kept:
        after.setdefault(s, []).append(t)
    return after


def _begins(run: RunFiles, node: str, feature: str | None, layer: int | None) -> bool:
    return node == feature if feature is not None else layer in (None, run.layer[node])


def chain(run: RunFiles, signs: str, layer: int | None = None, **given: Any) -> Rows:
    """The plain twin, then signs and layer; without its limit first."""
    names = {(True, True): "excitation", (False, True): "inhibited_excitation", (True, False): "excited_inhibition"}
    rows = twins.chain(run, **given | {"limit": 10**9})
    neither = {(e["source"], e["target"]) for e in run.edges(given["method"]) if takes(e, e["direct"])}
    kept = [
        r
        for r in rows
        if signs == "any" or not {(r["source"], r["middle"]), (r["middle"], r["target"])} & neither
        if signs in ("any", names.get((r["first"] >= 0, r["second"] >= 0), "disinhibition")) and layer in (None, run.layer[r["source"]])
    ]
    return kept[: given["limit"]]


def feed_forward(run: RunFiles, layer: int | None = None, **given: Any) -> Rows:
    rows = twins.feed_forward(run, **given | {"limit": 10**9})
    return [r for r in rows if layer in (None, run.layer[r["source"]])][: given["limit"]]


def fan_in(run: RunFiles, feature: str | None = None, layer: int | None = None, **given: Any) -> Rows:
    rows = twins.fan_in(run, **given | {"limit": 10**9})
    return [r for r in rows if _begins(run, r["target"], feature, layer)][: given["limit"]]


def fan_out(
    run: RunFiles,
    edges: str,
    targets: int,
    min_strength: float,
    limit: int,
    method: str,
    effect: str | None = None,
    feature: str | None = None,
    layer: int | None = None,
) -> Rows:
    kept = {p: w for p, w in _kept(run, edges, min_strength, method, effect).items() if w}
    taking = _taking(run, edges, method, effect)
    rows = []
    for source, ends in _after(kept).items():
        ends.sort(key=lambda t: (-abs(kept[source, t]), t))
        if len(ends) >= targets and _begins(run, source, feature, layer):
            x = np.array([kept[source, t] for t in ends if (source, t) not in taking])
            rows.append(
                {"source": source, "layer": run.layer[source], "excitatory": int((x > 0).sum()), "inhibitory": int((x < 0).sum())}
                | {"from_copy": len(ends) - len(x), "balance": float(x.sum())}
                | {"opposition": 1 - abs(x.sum()) / np.abs(x).sum() if len(x) else 0.0, "targets": ends, "label": run.label[source]}
            )
    return top(rows, limit, lambda r: -len(r["targets"]), lambda r: r["source"])


def _uid(run: RunFiles) -> dict[str, str]:
    return dict(zip(run.features["id"], run.features["uid"], strict=True))


def bi_fan(
    run: RunFiles,
    kind: str,
    edges: str,
    min_strength: float,
    limit: int,
    method: str,
    effect: str | None = None,
    feature: str | None = None,
    layer: int | None = None,
) -> Rows:
    kept, uid, taking = _kept(run, edges, min_strength, method, effect), _uid(run), _taking(run, edges, method, effect)
    after = {s: set(t) for s, t in _after(kept).items()}
    rows = []
    for pair in combinations(sorted(after, key=uid.get), 2):
        starts = [n for n in pair if _begins(run, n, feature, layer)]
        if not starts:
            continue
        a = starts[0]
        b = next(n for n in pair if n != a)
        for c, d in combinations(sorted(after[a] & after[b], key=uid.get), 2):
            x = [kept[a, c], kept[a, d], kept[b, c], kept[b, d]]
            alike = ((x[0] < 0) == (x[2] < 0)) + ((x[1] < 0) == (x[3] < 0))
            found = "neither" if {(a, c), (a, d), (b, c), (b, d)} & taking else ("opposed", "mixed", "alike")[alike]
            if kind in ("any", found):
                ends = {"first": a, "second": b, "target": c, "other_target": d}
                rows.append(ends | {"kind": found, "effects": x, "weakest": min(map(abs, x))})
    return top(rows, limit, lambda r: -r["weakest"], *(lambda r, k=k: r[k] for k in ("first", "second", "target", "other_target")))


def diamond(
    run: RunFiles,
    kind: str,
    edges: str,
    min_strength: float,
    limit: int,
    method: str,
    effect: str | None = None,
    feature: str | None = None,
    layer: int | None = None,
) -> Rows:
    kept, uid, taking = _kept(run, edges, min_strength, method, effect), _uid(run), _taking(run, edges, method, effect)
    after = _after(kept)
    rows = []
    for a in after:
        if not _begins(run, a, feature, layer):
            continue
        for b, c in combinations(sorted(after[a], key=uid.get), 2):
            for d in set(after.get(b, [])) & set(after.get(c, [])):
                x = [kept[a, b], kept[b, d], kept[a, c], kept[c, d]]
                found = "coherent" if ((x[0] < 0) == (x[1] < 0)) == ((x[2] < 0) == (x[3] < 0)) else "incoherent"
                found = "neither" if {(a, b), (b, d), (a, c), (c, d)} & taking else found
                if kind in ("any", found):
                    ends = {"source": a, "middle": b, "other_middle": c, "target": d, "kind": found}
                    rows.append(ends | {"through_middle": x[0] * x[1], "through_other": x[2] * x[3], "weakest": min(map(abs, x))})
    return top(rows, limit, lambda r: -r["weakest"], *(lambda r, k=k: r[k] for k in ("source", "middle", "other_middle", "target")))


def compensation(
    run: RunFiles,
    min_compensation: float,
    min_strength: float,
    limit: int,
    method: str,
    feature: str | None = None,
    layer: int | None = None,
) -> Rows:
    every = {(e["source"], e["target"]): e for e in run.edges(method)}
    step, through_ = {p: e["direct"] for p, e in every.items() if carries(e) and abs(e["direct"]) >= min_strength}, led_through(run, method)
    rows = []
    for (a, c), e in every.items():
        skips = "direct" in e["by"] and abs(e["direct"]) >= min_strength and e["direct"]
        if not skips or not _begins(run, a, feature, layer):
            continue
        products = {b: step[a, b] * step[b, c] for s, b in step if s == a and (b, c) in step and b in through_}
        through, direct = sum(products.values()), e["direct"]
        if not products or not through or (through < 0) == (direct < 0):
            continue
        found = 1 - abs(direct + through) / max(abs(direct), abs(through))
        if found >= min_compensation:
            between = sorted(products, key=lambda b: (-abs(products[b]), b))
            rows.append(
                {"source": a, "target": c, "direct": direct, "through": through, "net": direct + through, "total": e["total"]}
                | {"type": e["type"]}
                | {"compensation": found, "between": between}
            )
    return top(rows, limit, lambda r: -r["compensation"], lambda r: r["source"], lambda r: r["target"])


def _paths(run: RunFiles, source: str, min_strength: float, method: str) -> list[tuple[list[str], float]]:
    """Every path that a cascade may take from a feature, and its product."""
    g, starts = nx.DiGraph(), {source} | led_through(run, method)
    g.add_node(source)
    kept = [e for e in run.edges(method) if carries(e) and abs(e["direct"]) >= min_strength]
    g.add_edges_from((e["source"], e["target"], e) for e in kept if e["source"] in starts)
    paths = [p for node in nx.descendants(g, source) for p in nx.all_simple_paths(g, source, node)]
    return [(p, float(np.prod([g.edges[s]["direct"] for s in pairwise(p)]))) for p in paths]


def cascade(
    run: RunFiles, feature: str, delta: float, max_hops: int, min_strength: float, decay: float, limit: int, method: str, **_: Any
) -> Rows:
    """By listing every path (so with ``min_effect`` 0 only)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path, product in _paths(run, feature, min_strength, method):
        found.setdefault(path[-1], []).append((len(path) - 1, delta * product * decay ** (len(path) - 2)))
    rows = [
        {
            "id": i,
            "layer": run.layer[i],
            "hops": min(h for h, _ in found_paths),
            "effect": sum(x for _, x in found_paths),
            "paths": len(found_paths),
        }
        | {"label": run.label[i]}
        for i, found_paths in found.items()
        if min(h for h, _ in found_paths) <= max_hops
    ]
    return top(rows, limit, lambda r: -abs(r["effect"]), lambda r: r["id"])


def between(run: RunFiles, source: str, target: str, max_hops: int, min_strength: float, limit: int, method: str) -> Rows:
    found_paths = [(p, x) for p, x in _paths(run, source, min_strength, method) if p[-1] == target]
    whole = sum(x for _, x in found_paths)
    rows = []
    for node in {n for p, _ in found_paths if len(p) <= max_hops + 1 for n in p[1:-1]}:
        mine = [x for p, x in found_paths if node in p]
        share = sum(mine) / whole if whole else None
        rows.append(
            {"id": node, "layer": run.layer[node], "paths": len(mine), "effect": sum(mine), "share": share}
            | {"bottleneck": len(mine) == len(found_paths), "label": run.label[node]}
        )
    return top(rows, limit, lambda r: -abs(r["effect"]), lambda r: r["id"])


def bottlenecks(run: RunFiles, edges: str, min_strength: float, limit: int, method: str) -> Rows:
    g = nx.DiGraph(list(_kept(run, edges, min_strength, method, "strength")))
    rows = [
        {"id": n, "layer": run.layer[n], "incoming": g.in_degree(n), "outgoing": g.out_degree(n)}
        | {"flow": g.in_degree(n) * g.out_degree(n), "label": run.label[n]}
        for n in nx.articulation_points(g.to_undirected())
    ]
    return top(rows, limit, lambda r: -(r["incoming"] + r["outgoing"]), lambda r: r["id"])


#: Template → twin.
TWINS: dict[str, Callable[..., Rows]] = {
    f.__name__: f for f in (chain, feed_forward, fan_in, fan_out, bi_fan, diamond, compensation, cascade, between, bottlenecks)
}
