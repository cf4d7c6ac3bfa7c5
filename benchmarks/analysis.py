"""Graph Data Science, igraph and NetworkX, and this library in process, on the same made-up runs: times, and whether they agree.

Layered signed graphs of 10 k, 100 k and 1 M edges (``benchmarks.synthetic``), every edge by its total effect, weights are magnitudes.
GDS computes on one thread, as this library asks it to (a seed then gives the same answer again); reading and projecting is timed apart,
once along the edges and once without direction, and so is what igraph and NetworkX need to build their graphs from arrays.

Scores are compared after dividing by their sum (largest difference to GDS's), partitions by modularity (igraph's, for all) and by
normalised mutual information with GDS's Leiden. What would take longer than minutes is left out and said: betweenness above a number of
nodes × edges, and what is slow in pure Python above a number of edges.

    python benchmarks/analysis.py [--json] [--quick] [--edges 10000,100000]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import igraph
import networkx as nx
import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp
from graphdatascience import GraphDataScience

from benchmarks.synthetic import write_run
from feature_graph.analysis import HUB_METRICS
from feature_graph.analysis.matrices import Matrices
from feature_graph.database import server, store
from feature_graph.database.offline import bulk_ingest
from feature_graph.database.store import ALGORITHMS, Projection, Store
from ingest.formats import FEATURES, INTERACTIONS

SIZES, QUICK = "10000,100000,1000000", "10000"
SEED, BULK_FROM = 42, 100_000
#: Seconds under which GDS is asked twice and the second call counts.
WARM_UP = 10.0
#: Nodes × edges above which betweenness is left out, and edges above which another task is, by library.
BETWEENNESS_CAP = {"gds": 1e9, "igraph": 1e9, "feature_graph": 1e9, "networkx": 1e7}
EDGE_CAP = {("networkx", "louvain"): 200_000, ("networkx", "label_propagation"): 200_000}
PARTITIONS = ("leiden", "louvain", "label_propagation", "wcc")

Answer = np.ndarray[Any, Any]
#: Gives one value per feature, by fid, and the seconds that it took.
Task = Callable[[], tuple[Answer, float]]


@dataclass(frozen=True)
class Edges:
    """The edges of a run: number of features, and [edges] fids of sources and targets and |strength|."""

    n: int
    source: Answer
    target: Answer
    weight: Answer

    @classmethod
    def read(cls, root: Path) -> Edges:
        """From the files of a run, by the rule that loading follows."""
        names = ["src_fid", "tgt_fid", "mean_strength", "later_strength", "significant_by", "significant"]
        frame = pq.read_table(root / INTERACTIONS.name, columns=names).to_pandas().query("significant")
        strength = np.where(frame["significant_by"] == "later", frame["later_strength"], frame["mean_strength"])
        n = pq.ParquetFile(root / FEATURES.name).metadata.num_rows
        return cls(n, frame["src_fid"].to_numpy(np.int64), frame["tgt_fid"].to_numpy(np.int64), np.abs(strength))

    def left_out(self, library: str, task: str) -> str:
        """Why a task is not tried; empty if it is."""
        size = self.n * len(self.source)
        if task == "betweenness" and size > BETWEENNESS_CAP[library]:
            return f"nodes x edges = {size:.1e}, above {BETWEENNESS_CAP[library]:.0e}"
        cap = EDGE_CAP.get((library, task), np.inf)
        return f"{len(self.source):,} edges, above {cap:,.0f}" if len(self.source) > cap else ""


@dataclass
class Library:
    """One library with its graphs made: seconds that making them took, and its tasks."""

    name: str
    build_s: dict[str, float]
    tasks: dict[str, Task]
    seconds: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def run(self, edges: Edges) -> None:
        """Every task that is not left out."""
        for task, work in self.tasks.items():
            reason = edges.left_out(self.name, task)
            if reason:
                self.skipped[task] = reason
                continue
            self.answers[task], self.seconds[task] = work()
            say(f"    {self.name} {task}: {self.seconds[task]:.3f} s")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    done = work()
    return done, time.perf_counter() - begun


def timing(work: Callable[[], Any]) -> Task:
    """A task of a function that gives one value per feature, in order."""

    def task() -> tuple[Answer, float]:
        done, seconds = timed(work)
        return np.asarray(done, dtype=float), seconds

    return task


def of_groups(groups: list[Any], n: int) -> Answer:
    """Number of the group of each feature, from sets of fids."""
    found = np.zeros(n)
    for number, group in enumerate(groups):
        found[list(group)] = number
    return found


@contextmanager
def in_gds(db: Store, run: str) -> Iterator[Library]:
    """The run projected in both shapes; what is timed is the procedure, not the way of its scores to Python."""
    gds, part = store.client(db), Projection(run, edges="all")
    begun = time.perf_counter()
    with store.projected(gds, part) as along:
        middle = time.perf_counter()
        with store.projected(gds, part, undirected=True) as without:
            build = {"along": middle - begun, "without_direction": time.perf_counter() - middle}
            say(f"    gds projected: {build['along']:.1f} s along, {build['without_direction']:.1f} s without direction")
            graphs = {"degree": along, "pagerank": along, "betweenness": along}
            tasks = {name: gds_task(db, gds, graphs.get(name, without), name) for name in (*graphs, *PARTITIONS)}
            yield Library("gds", build, tasks)


def gds_task(db: Store, gds: GraphDataScience, graph: Any, name: str) -> Task:
    algorithm = ALGORITHMS[name]

    def task() -> tuple[Answer, float]:
        endpoint = getattr(gds, algorithm.endpoint)
        _, seconds = timed(lambda: endpoint.mutate(graph, mutate_property=name, **algorithm.arguments(SEED)))
        if seconds < WARM_UP:  # the first call pays for the server's own compiler
            _, seconds = timed(lambda: endpoint.mutate(graph, mutate_property=f"{name}_again", **algorithm.arguments(SEED)))
        found = gds.graph.node_properties.stream(graph, [name])
        fid = db.cypher("UNWIND $nodes AS node RETURN gds.util.asNode(node).fid AS fid", nodes=found["nodeId"].tolist())["fid"]
        return found[name].to_numpy(float)[np.argsort(fid.to_numpy())], seconds

    return task


def in_igraph(edges: Edges) -> Library:
    def build() -> igraph.Graph:
        made = igraph.Graph(edges.n, list(zip(edges.source.tolist(), edges.target.tolist(), strict=True)), directed=True)
        made.es["weight"] = edges.weight.tolist()
        return made

    graph, along = timed(build)
    flat, without = timed(lambda: graph.as_undirected(combine_edges={"weight": "sum"}))
    igraph.set_random_number_generator(random.Random(SEED))
    tasks = {
        "degree": timing(graph.degree),
        "pagerank": timing(lambda: graph.pagerank(weights="weight")),
        "betweenness": timing(graph.betweenness),
        "leiden": timing(lambda: flat.community_leiden(objective_function="modularity", weights="weight", n_iterations=10).membership),
        "louvain": timing(lambda: flat.community_multilevel(weights="weight").membership),
        "label_propagation": timing(lambda: flat.community_label_propagation(weights="weight").membership),
        "wcc": timing(lambda: graph.connected_components(mode="weak").membership),
    }
    return Library("igraph", {"along": along, "without_direction": without}, tasks)


def in_networkx(edges: Edges) -> Library:
    def build() -> nx.DiGraph:
        made: nx.DiGraph = nx.DiGraph()
        made.add_nodes_from(range(edges.n))
        made.add_weighted_edges_from(zip(edges.source.tolist(), edges.target.tolist(), edges.weight.tolist(), strict=True))
        return made

    graph, along = timed(build)
    flat, without = timed(graph.to_undirected)
    find = nx.community
    tasks = {
        "degree": timing(lambda: [d for _, d in graph.degree()]),
        "pagerank": timing(lambda: list(nx.pagerank(graph, weight="weight", tol=1e-12, max_iter=500).values())),
        "betweenness": timing(lambda: list(nx.betweenness_centrality(graph, normalized=False).values())),
        "louvain": timing(lambda: of_groups(find.louvain_communities(flat, weight="weight", seed=SEED), edges.n)),
        "label_propagation": timing(
            lambda: of_groups(list(find.fast_label_propagation_communities(flat, weight="weight", seed=SEED)), edges.n)
        ),
        "wcc": timing(lambda: of_groups(list(nx.weakly_connected_components(graph)), edges.n)),
    }
    return Library("networkx", {"along": along, "without_direction": without}, tasks)


def in_process(edges: Edges) -> Library:
    """This library's own sparse matrices; communities of ``detect_communities`` are NetworkX's."""
    shape = (edges.n, edges.n)

    def build() -> Matrices:
        ones = sp.csr_array((np.ones(len(edges.source)), (edges.source, edges.target)), shape=shape)
        weights = sp.csr_array((edges.weight, (edges.source, edges.target)), shape=shape)
        return Matrices([str(i) for i in range(edges.n)], ones, weights)

    matrices, seconds = timed(build)
    names = {"degree": "total_degree", "pagerank": "pagerank", "betweenness": "betweenness"}
    tasks = {task: timing(lambda m=metric: HUB_METRICS[m](matrices)) for task, metric in names.items()}
    return Library("feature_graph", {"along": seconds}, tasks)


def agreement(libraries: list[Library], edges: Edges) -> dict[str, Any]:
    """Scores against GDS's after dividing by their sum; partitions by modularity, and by NMI with GDS's Leiden."""
    reference = libraries[0].answers
    flat = igraph.Graph(edges.n, list(zip(edges.source.tolist(), edges.target.tolist(), strict=True)))
    found: dict[str, Any] = {"largest_difference": {}, "modularity": {}, "nmi_with_gds_leiden": {}, "communities": {}}
    for library in libraries:
        for task, answer in library.answers.items():
            if task not in PARTITIONS:
                difference = np.abs(answer / (answer.sum() or 1) - reference[task] / (reference[task].sum() or 1)).max()
                found["largest_difference"].setdefault(task, {})[library.name] = float(difference)
                continue
            groups, mine = (np.unique(a, return_inverse=True)[1].tolist() for a in (answer, reference["leiden"]))
            found["communities"].setdefault(task, {})[library.name] = max(groups) + 1
            found["modularity"].setdefault(task, {})[library.name] = flat.modularity(groups, weights=edges.weight.tolist())
            found["nmi_with_gds_leiden"].setdefault(task, {})[library.name] = igraph.compare_communities(mine, groups, method="nmi")
    return found


def measure(folder: Path, size: int) -> dict[str, Any]:
    """One size, in a database of its own."""
    say(f"{size:,} edges: writing the run")
    root, home = write_run(folder / "run", size, sites=7, features=max(600, size // 50)), folder / "home"
    server.start(home, heap="2g" if size > 200_000 else "768m", page_cache="512m" if size > 200_000 else "128m", quick=True)
    try:
        _, loading = timed(lambda: bulk_ingest(home, root)) if size >= BULK_FROM else timed(lambda: _load(home, root))
        say(f"  loaded in {loading:.1f} s")
        address = server.connection(home)
        edges = Edges.read(root)
        with store.connect(address.uri, address.username, address.password) as db:
            run = db.find_run()
            version = str(store.client(db).server_version())
            needed = store.memory_needed(store.client(db), edges.n, len(edges.source), list(ALGORITHMS))
            with in_gds(db, run) as gds:
                gds.run(edges)
        libraries = [gds]
        for make in (in_igraph, in_process, in_networkx):
            libraries.append(library := make(edges))
            library.run(edges)
    finally:
        server.stop(home)
    return {
        "gds": version,
        "edges": len(edges.source),
        "features": edges.n,
        "load_s": loading,
        "heap_estimate_mb": needed.needed / 2**20,
        "build_s": {one.name: one.build_s for one in libraries},
        "seconds": {one.name: one.seconds for one in libraries},
        "left_out": {one.name: one.skipped for one in libraries if one.skipped},
        "agreement": agreement(libraries, edges),
    }


def _load(home: Path, root: Path) -> None:
    address = server.connection(home)
    with store.connect(address.uri, address.username, address.password) as db:
        db.ingest(root)


def show(figures: dict[str, Any]) -> None:
    print(f"\n{figures['edges']:,} edges, {figures['features']:,} features; loaded in {figures['load_s']:.1f} s")
    names = list(figures["seconds"])
    print(f"{'seconds':24}" + "".join(f"{name:>15}" for name in names))
    rows = {"graph": {name: sum(figures["build_s"][name].values()) for name in names}}
    for task in ("degree", "pagerank", "betweenness", *PARTITIONS):
        rows[task] = {name: figures["seconds"][name].get(task) for name in names}
    for task, values in rows.items():
        print(f"{task:24}" + "".join(f"{'' if v is None else format(v, '.3f'):>15}" for v in values.values()))
    for kind, tasks in figures["agreement"].items():
        for task, values in tasks.items():
            print(f"{kind + ' ' + task:44}" + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} edges only")
    parser.add_argument("--edges", default="", help=f"sizes, joined by commas; default {SIZES}")
    options = parser.parse_args()
    sizes = [int(text) for text in (options.edges or (QUICK if options.quick else SIZES)).split(",")]
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder), size))
    versions = {"gds": found[0].pop("gds"), "igraph": igraph.__version__, "networkx": nx.__version__}
    if options.json:
        print(json.dumps({"versions": versions, "sizes": found}))
        return
    for figures in found:
        show(figures)


if __name__ == "__main__":
    main()
