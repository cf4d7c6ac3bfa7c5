"""The families hubs and communities against networkx, numpy and igraph: fixed runs, random ones, and find_hubs in process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import igraph
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import queries
from feature_graph.analysis import HUB_METRICS, compute_graph_statistics, detect_communities, find_hubs, modularity
from feature_graph.database.store import Store
from tests.graph import twins
from tests.graph.twins import undirected
from tests.rundirs import agreeing, random_run, write_files
from tests.support.database import wipe

pytestmark = pytest.mark.graph

EXAMPLE = Path(str(files("queries") / "example"))
ALL = 10_000
MEASURES = queries.template("hubs").parameter("measure").of
ALGORITHMS = queries.template("communities").parameter("algorithm").of

#: Metric of find_hubs → measure of the template, where the names differ; the others are called the same.
NAMES = {
    "total_degree": "degree",
    "weighted_degree": "strength",
    "weighted_in_degree": "in_strength",
    "weighted_out_degree": "out_strength",
}
#: What GDS does not have: it does not weigh HITS.
IN_PROCESS_ONLY = {"weighted_hits_hub", "weighted_hits_authority"}


@dataclass(frozen=True)
class Loaded:
    """A run in the database, and its files."""

    id: str
    files: twins.RunFiles
    store: Store

    def ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return self.store.ask(name, run=self.id, **parameters).records

    def groups(self, **parameters: Any) -> list[list[str]]:
        """The partition, largest group first, numbered as the templates number it."""
        return [row["members"] for row in self.ask("communities", members=ALL, min_size=1, limit=ALL, **parameters)]


@pytest.fixture(scope="module")
def example(connected: Store) -> Loaded:
    wipe(connected)
    return Loaded(connected.ingest(EXAMPLE).run, twins.RunFiles.read(EXAMPLE), connected)


@pytest.fixture(scope="module")
def changed(example: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """The example without its last feature, a tenth of its edges gone and some turned round in sign."""
    features, frame = example.files.features, example.files.interactions
    kept = frame[(frame["src_fid"] < len(features) - 1) & (frame["tgt_fid"] < len(features) - 1)].iloc[::-1].iloc[10:].iloc[::-1].copy()
    kept.loc[kept.index[::7], ["mean_strength", "direct_strength", "later_strength"]] *= -1.0
    root = write_files(tmp_path_factory.mktemp("changed") / "run", features.iloc[:-1], agreeing(kept.reset_index(drop=True)), seed=5)
    run = example.store.ingest(root).run
    yield Loaded(run, twins.RunFiles.read(root), example.store)
    example.store.drop(run)


def close(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal rows in equal order, floats to 1e-9."""
    assert [list(row) for row in got] == [list(row) for row in expected]
    for mine, theirs in zip(got, expected, strict=True):
        assert mine == {k: pytest.approx(v, rel=1e-7, abs=1e-9) if isinstance(v, float) else v for k, v in theirs.items()}


# --- hubs ---


def relays(run: twins.RunFiles, limit: int = 20, layer: int | None = None, site: str | None = None) -> list[dict[str, Any]]:
    edges = {(e["source"], e["target"]): e for e in run.edges()}
    kept = {pair: e["direct"] for pair, e in edges.items() if twins.carries(e)}
    rows = []
    for middle in run.features["id"]:
        paths = {(a, b): kept[a, middle] * kept[middle, b] for a, m in kept if m == middle for m2, b in kept if m2 == middle}
        if paths and middle in twins.led_through(run) and layer in (None, run.layer[middle]) and twins.at(middle, site):
            passed = sum(map(abs, paths.values()))
            rows.append(
                {"id": middle, "layer": run.layer[middle], "paths": len(paths), "passed": passed, "balance": sum(paths.values()) / passed}
                | {"unbridged": sum(ends not in edges for ends in paths), "label": run.label[middle]}
            )
    return list(islice(sorted(rows, key=lambda r: (-round(r["passed"], 10), r["id"])), limit))


def hub_shift(
    run: twins.RunFiles, other: twins.RunFiles, measure: str, edges: str, sign: str, limit: int, effect: str | None = None
) -> list[dict[str, Any]]:
    """Ranks by hub_scores, which is another implementation than the template's."""
    sides = []
    for one in (run, other):
        scores = twins.hub_scores(twins.graph(one, edges, sign, by=effect, families=False), measure)
        order = sorted(scores, key=lambda i: (-round(scores[i], 10), i))
        uid = dict(zip(one.features["id"], one.features["uid"], strict=True))
        sides.append({uid[i]: (i, scores[i], rank) for rank, i in enumerate(order, 1)})
    rows = []
    for uid, (i, score, rank) in sides[0].items():
        _, theirs, place = sides[1].get(uid, (None, None, None))
        rows.append(
            {"id": i, "layer": run.layer[i], "score": score, "other_score": theirs, "rank": rank, "other_rank": place}
            | {"label": run.label[i]}
        )
    return sorted(rows, key=lambda r: r["rank"])[:limit]


def test_relays(example: Loaded) -> None:
    close(example.ask("relays", limit=1000), relays(example.files, 1000))
    close(example.ask("relays", layer=8, limit=3), relays(example.files, 3, 8))


@pytest.mark.parametrize("measure", ["degree", "in_degree", "out_strength", "strength"])
def test_hubs_of_two_runs(example: Loaded, changed: Loaded, measure: str) -> None:
    for edges, sign, limit, effect in (
        ("structural", "any", ALL, None),
        ("all", "inhibitory", 7, "strength"),
        ("all", "any", 9, "computed"),
    ):
        rows = example.ask("hub_shift", other=changed.id, measure=measure, edges=edges, sign=sign, limit=limit, effect=effect)
        floats = [r | {k: None if r[k] is None else float(r[k]) for k in ("score", "other_score")} for r in rows]
        expected = hub_shift(example.files, changed.files, measure, edges, sign, limit, effect)
        close(floats, [r | {k: None if r[k] is None else float(r[k]) for k in ("score", "other_score")} for r in expected])
    gone = example.files.features["id"].iloc[-1]
    assert next(r for r in example.ask("hub_shift", other=changed.id, limit=ALL) if r["id"] == gone)["other_rank"] is None


def test_hubs_within_their_layer(example: Loaded) -> None:
    rows = example.ask("hubs", measure="out_strength", per_layer=True, limit=3)
    assert [r["layer_rank"] for r in rows] == [1, 2, 3] * 4
    assert [r["layer"] for r in rows] == sorted(r["layer"] for r in rows)


@pytest.mark.parametrize("sign", ["any", "excitatory", "inhibitory"])
def test_find_hubs_agrees_with_graph_data_science(example: Loaded, sign: str) -> None:
    graph = twins.graph(example.files, sign=sign)
    cores = {r["id"]: r["core"] for r in example.ask("cores", sign=sign, min_core=0, limit=ALL)}
    for metric in sorted(set(HUB_METRICS) - IN_PROCESS_ONLY):
        mine = {h["id"]: h[f"{metric}_score"] for h in find_hubs(graph, len(graph), metric)}
        if metric == "core_number":
            assert mine == cores
            continue
        theirs = {r["id"]: r["score"] for r in example.ask("hubs", measure=NAMES.get(metric, metric), sign=sign, limit=ALL)}
        assert mine.keys() == theirs.keys()
        scale = 1.0
        if "pagerank" in metric or metric.startswith("hits"):  # ours add up to 1
            scale = sum(theirs.values()) or 1.0
        elif metric == "betweenness":  # ours is a share of all pairs
            scale = (len(graph) - 1) * (len(graph) - 2)
        tolerance = 1e-6 if metric.startswith("hits") else 1e-9
        assert {n: s / scale for n, s in theirs.items()} == pytest.approx(mine, abs=tolerance), metric


def test_statistics_agree_with_graph_data_science(example: Loaded) -> None:
    graph = twins.graph(example.files, families=False)
    for node, layer in example.files.layer.items():
        graph.nodes[node]["layer"] = layer
    stats = compute_graph_statistics(graph)
    degree = pd.DataFrame(example.ask("hubs", measure="degree", families=False, limit=ALL))
    assert (stats.n_nodes, stats.n_edges) == (len(degree), degree["score"].sum() / 2)
    assert stats.mean_degree == pytest.approx(degree["score"].mean())
    assert (stats.max_in_degree, stats.max_out_degree) == (degree["incoming"].max(), degree["outgoing"].max())
    assert stats.n_sources == ((degree["incoming"] == 0) & (degree["outgoing"] > 0)).sum()
    assert stats.n_sinks == ((degree["outgoing"] == 0) & (degree["incoming"] > 0)).sum()
    parts = example.ask("communities", algorithm="wcc", families=False, min_size=1, limit=ALL)
    assert (stats.n_components, stats.largest_component) == (len(parts), parts[0]["size"])
    flow = example.ask("layer_flow")
    assert stats.edges_per_layer_pair == {(r["source_layer"], r["target_layer"]): r["count"] for r in flow}


# --- communities ---


def conductance(graph: nx.Graph, group: set[str]) -> float | None:
    inside = sum(2 * d["weight"] for _, _, d in graph.subgraph(group).edges(data=True))
    leaving = nx.cut_size(graph, group, weight="weight")
    return leaving / (inside + leaving) if inside + leaving else None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("sign", "effect", "families"),
    [("any", None, True), ("excitatory", "strength", False), ("any", "computed", True), ("inhibitory", "copy", True)],
)
def test_conductance(example: Loaded, algorithm: str, sign: str, effect: str | None, families: bool) -> None:
    graph = undirected(twins.graph(example.files, sign=sign, by=effect, families=families))
    asked = {"sign": sign, "effect": effect, "families": families}
    for row in example.ask("communities", algorithm=algorithm, members=ALL, min_size=1, limit=ALL, **asked):
        assert row["conductance"] == pytest.approx(conductance(graph, set(row["members"])), abs=1e-9)
        assert row["size"] == len(row["members"])


def boundary(
    run: twins.RunFiles, groups: list[list[str]], edges: str, sign: str, min_size: int, effect: str | None = None, families: bool = True
) -> list[dict[str, Any]]:
    number = {n: i for i, group in enumerate(groups, 1) for n in group}
    crossing: dict[tuple[int, int], list[tuple[float, str, str, int]]] = {}
    for u, v, d in twins.graph(run, edges, sign, by=effect, families=families).edges(data=True):
        ends = number[u], number[v]
        if ends[0] != ends[1] and min(len(groups[e - 1]) for e in ends) >= min_size:
            crossing.setdefault(ends, []).append((d["signed"], u, v, d["acts"]))
    rows = []
    for (a, b), across in crossing.items():
        values = np.array([x for x, *_ in across])
        does = np.array([x[3] for x in across])
        largest, u, v, _ = min(across, key=lambda e: (-abs(e[0]), run.fid[e[1]], run.fid[e[2]]))
        rows.append(
            {"source_community": a, "target_community": b, "count": len(across), "excitatory": int((does > 0).sum())}
            | {"inhibitory": int((does < 0).sum()), "from_copy": int((does == 0).sum()), "strength": np.abs(values).sum()}
            | {"balance": values[does != 0].sum() / np.abs(values[does != 0]).sum() if does.any() else 0.0}
            | {"strongest_source": u, "strongest_target": v, "largest": largest}
        )
    return sorted(rows, key=lambda r: (-round(r["strength"], 10), r["source_community"], r["target_community"]))


@pytest.mark.parametrize(
    ("algorithm", "edges", "sign", "min_size", "effect", "families"),
    [
        ("leiden", "structural", "any", 1, None, True),
        ("louvain", "all", "inhibitory", 3, "strength", False),
        ("louvain", "all", "any", 1, "computed", True),
        ("leiden", "structural", "excitatory", 1, "copy", True),
    ],
)
def test_edges_between_communities(
    example: Loaded, algorithm: str, edges: str, sign: str, min_size: int, effect: str | None, families: bool
) -> None:
    chosen = {"algorithm": algorithm, "edges": edges, "sign": sign, "effect": effect, "families": families}
    expected = boundary(example.files, example.groups(**chosen), edges, sign, min_size, effect, families)
    assert expected
    close(example.ask("boundary", min_size=min_size, limit=ALL, **chosen), expected)


def cores(run: twins.RunFiles, edges: str, sign: str, effect: str | None = None, families: bool = True) -> list[dict[str, Any]]:
    graph = twins.graph(run, edges, sign, by=effect, families=families).to_undirected()
    core = nx.core_number(graph)
    rows = []
    for i in sorted(graph, key=lambda i: (-core[i], run.fid[i])):
        within = sum(core[other] >= core[i] for other in graph[i])
        rows.append({"id": i, "layer": run.layer[i], "core": core[i], "within": within, "beyond": graph.degree(i) - within})
    return [r | {"label": run.label[r["id"]]} for r in rows]


def test_cores(example: Loaded) -> None:
    for edges, sign, effect, families in (
        ("structural", "any", None, True),
        ("all", "excitatory", "strength", False),
        ("all", "inhibitory", "computed", True),
    ):
        asked = {"edges": edges, "sign": sign, "effect": effect, "families": families}
        expected = cores(example.files, edges, sign, effect, families)
        close(example.ask("cores", min_core=0, limit=ALL, **asked), expected)
        assert all(row["within"] >= row["core"] for row in expected)
        close(example.ask("cores", min_core=2, limit=4, **asked), [r for r in expected if r["core"] >= 2][:4])


def test_communities_of_two_runs(example: Loaded, changed: Loaded) -> None:
    mine, yours = example.groups(families=False), changed.groups(families=False)
    uid = [dict(zip(r.files.features["id"], r.files.features["uid"], strict=True)) for r in (example, changed)]
    both = set(uid[0].values()) & set(uid[1].values())
    first, second = ([{u[i] for i in group} for group in groups] for u, groups in zip(uid, (mine, yours), strict=True))
    for row in example.ask("community_match", other=changed.id, min_size=1, limit=ALL):
        group = first[row["community"] - 1]
        assert (row["size"], row["seen"]) == (len(group), len(group & both))
        shared = [len(group & other) for other in second]
        best = max(shared)
        assert row["shared"] == best
        if best:
            assert row["other_community"] == shared.index(best) + 1
            other = second[row["other_community"] - 1]
            assert row["other_size"] == len(other)
            assert row["jaccard"] == pytest.approx(best / len((group | other) & both))
        else:
            assert (row["other_community"], row["other_size"], row["jaccard"]) == (None, None, 0.0)
    same = example.ask("community_match", other=example.id, min_size=1, limit=ALL)
    assert {row["jaccard"] for row in same} == {1.0}


def as_igraph(graph: nx.Graph) -> tuple[igraph.Graph, list[str]]:
    nodes = list(graph)
    number = {n: i for i, n in enumerate(nodes)}
    made = igraph.Graph(len(nodes), [(number[u], number[v]) for u, v in graph.edges])
    made.es["weight"] = [d["weight"] for *_, d in graph.edges(data=True)]
    return made, nodes


def membership(groups: list[list[str]] | list[set[str]], nodes: list[str]) -> list[int]:
    number = {n: i for i, group in enumerate(groups) for n in group}
    return [number[n] for n in nodes]


@pytest.mark.parametrize("algorithm", ["leiden", "louvain"])
def test_quality_is_that_of_igraph_and_of_ours(example: Loaded, algorithm: str) -> None:
    graph = twins.graph(example.files, families=False)
    made, nodes = as_igraph(undirected(graph))
    found = example.groups(algorithm=algorithm, families=False)
    quality = made.modularity(membership(found, nodes), weights="weight")
    rows = example.ask("communities", algorithm=algorithm, families=False, min_size=1, limit=ALL)
    assert math.fsum(r["modularity"] for r in rows) == pytest.approx(quality, abs=1e-9)
    second = made.community_leiden(objective_function="modularity", weights="weight", n_iterations=-1)
    ours = detect_communities(graph)
    assert modularity(graph, ours) == pytest.approx(made.modularity(membership(ours, nodes), weights="weight"), abs=1e-9)
    best = max(second.modularity, modularity(graph, ours))
    assert quality > 0.97 * best


@pytest.fixture(scope="module")
def planted(example: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loaded, list[int]]]:
    """A run whose features fall into three groups: every pair of neighbouring sites within a group, and few weak edges across."""
    rng = np.random.default_rng(4)
    features = example.files.features
    frame = example.files.interactions
    model = frame[frame["significant"] & (frame["span"] == 1) & frame["significant_by"].str.contains("direct")].iloc[0].to_dict()
    sites = features["layer"].rank(method="dense").astype(int).tolist()
    group = [(fid % 12) // 4 for fid in features["fid"]]
    rows = []
    for u in range(len(features)):
        for v in range(len(features)):
            together = group[u] == group[v]
            if sites[v] == sites[u] + 1 and (together or rng.random() < 0.05):
                strength = float(rng.choice([-1, 1]) * (rng.uniform(0.5, 1) if together else 0.1))
                ends = {f"{end}_{k}": features.loc[i, k] for end, i in (("src", u), ("tgt", v)) for k in ("fid", "id", "layer")}
                same = dict.fromkeys(("mean_strength", "direct_strength"), strength) | {"abs_strength": abs(strength)}
                rows.append(model | ends | same | {"ci_low": strength - 0.1, "ci_high": strength + 0.1, "copy_strength": 0.0})
    table = pd.DataFrame(rows, columns=frame.columns).assign(computed_strength=lambda f: f["mean_strength"]).astype(frame.dtypes)
    root = write_files(tmp_path_factory.mktemp("planted") / "run", features, agreeing(table), seed=9)
    run = example.store.ingest(root).run
    yield Loaded(run, twins.RunFiles.read(root), example.store), group
    example.store.drop(run)


@pytest.mark.parametrize("algorithm", ["leiden", "louvain", "label_propagation"])
def test_the_planted_groups_come_back(planted: tuple[Loaded, list[int]], algorithm: str) -> None:
    run, group = planted
    nodes = run.files.features["id"].tolist()
    found = membership(run.groups(algorithm=algorithm), nodes)
    assert igraph.compare_communities(group, found, method="nmi") > 0.95


# --- random layered signed graphs ---


@settings(max_examples=3, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), n_layers=st.integers(2, 6), n_features=st.integers(2, 9), n_edges=st.integers(4, 90))
def test_cypher_equals_its_twin_on_random_graphs(
    connected: Store, tmp_path_factory: pytest.TempPathFactory, seed: int, n_layers: int, n_features: int, n_edges: int
) -> None:
    root = random_run(tmp_path_factory.mktemp("any") / "run", n_layers, n_features, n_edges, seed, window=3)
    run = Loaded(connected.ingest(root).run, twins.RunFiles.read(root), connected)
    try:
        for measure in MEASURES:
            given_ = {
                "measure": measure,
                "edges": "all" if seed % 2 else "structural",
                "sign": ("any", "excitatory", "inhibitory")[seed % 3],
            }
            close(
                sorted(run.ask("hubs", limit=ALL, **given_), key=lambda r: r["id"]),
                sorted(twins.hubs(run.files, limit=ALL, method="clamping", **given_), key=lambda r: r["id"]),
            )
        close(run.ask("relays", limit=1000), relays(run.files, 1000))
        close(run.ask("cores", edges="all", min_core=0, limit=ALL), cores(run.files, "all", "any"))
        groups = run.groups(edges="all")
        graph = undirected(twins.graph(run.files, "all"))
        rows = run.ask("communities", edges="all", min_size=1, limit=ALL)
        assert sorted(n for g in groups for n in g) == sorted(graph)
        if graph.number_of_edges():
            ours = nx.community.modularity(graph, [set(g) for g in groups], weight="weight")
            assert math.fsum(r["modularity"] for r in rows) == pytest.approx(ours, abs=1e-9)
        close(run.ask("boundary", edges="all", min_size=1, limit=ALL), boundary(run.files, groups, "all", "any", 1))
        same = run.ask("community_match", other=run.id, edges="all", min_size=1, limit=ALL)
        assert [row["jaccard"] for row in same] == [1.0] * len(run.groups(edges="all", families=False))
    finally:
        connected.drop(run.id)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_graph_without_edges_has_scores_all_the_same(example: Loaded, measure: str) -> None:
    example.store.write("MATCH (r:Run {id: $id}) SET r.methods = r.methods + 'none'", id=example.id)
    try:
        rows = example.ask("hubs", measure=measure, method="none", limit=ALL)
    finally:
        example.store.write("MATCH (r:Run {id: $id}) SET r.methods = [m IN r.methods WHERE m <> 'none']", id=example.id)
    expected = pytest.approx(0.15) if "rank" in measure else 0
    assert [row["score"] for row in rows] == [expected] * 48, "no edges, no families"
