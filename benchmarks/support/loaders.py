"""The four ways into Neo4j that benchmarks/ingest_speed.py compares; each runs in a process of its own, so that its memory is its own.

    python -m benchmarks.support.loaders METHOD RUN_DIR WARM_UP_DIR HOME      # prints one line of JSON

``py2neo`` and ``merge`` are what a careful user writes by hand: features by their key, then edges in batches of 10,000, with the keys and
indexes of the schema there before. They check nothing, keep no ledger, and cannot be resumed.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import neo4j
import pyarrow as pa
import pyarrow.parquet as pq

import ingest
from feature_graph.database import server
from ingest.rows import EDGE_FILE_COLUMNS, EDGE_PROPERTIES, edge_groups

BATCH = 10_000
#: A question that uses the keys and the index, the same for all: the strongest edges of the feature with the most.
QUESTION = (
    "MATCH (s:Feature {uid: $uid})-[e:AFFECTS]->(t:Feature) WHERE e.run = $n AND e.method = 'clamping' "
    "RETURN t.uid AS target, e.strength AS strength ORDER BY abs(strength) DESC LIMIT 10"
)
_MERGE_FEATURES = "UNWIND $rows AS row MERGE (f:Feature {uid: row.uid}) SET f += row"
_MERGE_EDGES = (
    "UNWIND $rows AS row MATCH (s:Feature {uid: row.source}) MATCH (t:Feature {uid: row.target}) "
    "MERGE (s)-[e:AFFECTS {run: $n, method: row.properties.method}]->(t) SET e += row.properties"
)


@dataclass
class Timing:
    """What one load took.

    Attributes:
        edges: Edges loaded.
        seconds: From the Parquet files to an answered question, indexes online; a stop and a start of the server left out.
        parts: Seconds of what is shown apart.
        marks: (edges done, seconds since the beginning) while edges were written.
    """

    edges: int = 0
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    marks: list[tuple[int, float]] = field(default_factory=list)


def by_py2neo(root: Path, at: server.Connection, n: int) -> int:
    """Features with merge_nodes, edges with create_relationships."""
    from py2neo import Graph
    from py2neo.bulk import create_relationships, merge_nodes

    graph, edges = Graph(at.uri, auth=at.auth), 0
    features = _features(root)
    for start in range(0, len(features), BATCH):
        merge_nodes(graph.auto(), features[start : start + BATCH], ("Feature", "uid"))
    for rows in _edges(root, [f["uid"] for f in features], n):
        data = [(source, properties, target) for source, target, properties in rows]
        create_relationships(graph.auto(), data, "AFFECTS", start_node_key=("Feature", "uid"), end_node_key=("Feature", "uid"))
        edges += len(rows)
    return edges


def by_merge(root: Path, at: server.Connection, n: int) -> int:
    """UNWIND and MERGE with the official driver."""
    edges, features = 0, _features(root)
    with neo4j.GraphDatabase.driver(at.uri, auth=at.auth) as driver, driver.session() as session:
        for start in range(0, len(features), BATCH):
            rows = features[start : start + BATCH]
            session.execute_write(lambda tx, rows=rows: tx.run(_MERGE_FEATURES, rows=rows).consume())
        for chunk in _edges(root, [f["uid"] for f in features], n):
            maps = [{"source": source, "target": target, "properties": properties} for source, target, properties in chunk]
            session.execute_write(lambda tx, rows=maps: tx.run(_MERGE_EDGES, rows=rows, n=n).consume())
            edges += len(chunk)
    return edges


def _features(root: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if v is not None} for row in pq.read_table(root / "features.parquet").to_pylist()]


def _edges(root: Path, uids: list[str], n: int) -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    with pq.ParquetFile(root / "interactions.parquet") as file:
        for batch in file.iter_batches(BATCH, columns=EDGE_FILE_COLUMNS):
            groups = edge_groups(pa.Table.from_batches([batch]), uids)
            yield [(source, row[0], _named(row[1:], n)) for source, rows in groups for row in rows]


def _named(values: tuple[Any, ...], n: int) -> dict[str, Any]:
    return {"run": n} | {name: value for name, value in zip(EDGE_PROPERTIES, values, strict=True) if value is not None}


def load_by_hand(load: Callable[[Path, server.Connection, int], int], root: Path, warm: Path, home: Path) -> Timing:
    """Time one of the two loaders above, after the warm-up: by our path, so that plans are made with statistics, and by the loader.

    Without statistics MERGE is planned through the index on the run, and is quadratic until the plan is made anew.
    """
    at = server.connection(home)
    with neo4j.GraphDatabase.driver(at.uri, auth=at.auth) as driver:
        ingest.ingest_run(driver, warm)
        driver.execute_query("CALL db.prepareForReplanning(60)")
        load(warm, at, 2)
        begun = time.perf_counter()
        edges = load(root, at, 3)
        ask(driver, root, 3)
        return Timing(edges, time.perf_counter() - begun)


def load_online(root: Path, warm: Path, home: Path) -> Timing:
    """Time the online path, after the warm-up."""
    at, timing = server.connection(home), Timing()
    with neo4j.GraphDatabase.driver(at.uri, auth=at.auth) as driver:
        ingest.ingest_run(driver, warm)
        begun = time.perf_counter()

        def progress(what: str, done: int, _: int) -> None:
            if what == "edges":
                timing.marks.append((done, time.perf_counter() - begun))

        report = ingest.ingest_run(driver, root, progress)
        loaded = time.perf_counter() - begun
        ask(driver, root, report.n)
        timing.edges, timing.seconds = report.edges, time.perf_counter() - begun
        timing.parts = {
            "check, claim, features": timing.marks[0][1],
            "edges": timing.marks[-1][1] - timing.marks[0][1],
            "compare": loaded - timing.marks[-1][1],
        }
        return timing


def load_in_bulk(root: Path, home: Path) -> Timing:
    """Time the bulk path into the empty database; it stops and starts the server, which is taken out of the total."""
    from feature_graph.database.offline import bulk_ingest

    begun = time.perf_counter()
    report = bulk_ingest(home, root, check_store=False)
    apart = sum(report.seconds.get(name, 0.0) for name in ("stop", "start", "halt", "restart"))
    at = server.connection(home)
    with neo4j.GraphDatabase.driver(at.uri, auth=at.auth) as driver:
        ask(driver, root, report.ingest.n)
    return Timing(report.ingest.edges, time.perf_counter() - begun - apart, report.seconds)


def ask(driver: neo4j.Driver, root: Path, n: int) -> int:
    """Wait for the indexes and ask the question; the number of its rows.

    Raises:
        RuntimeError: If the answer is empty.
    """
    first = pq.ParquetFile(root / "interactions.parquet").read_row_group(0, columns=["src_fid"])["src_fid"][0].as_py()
    uid = pq.read_table(root / "features.parquet", columns=["uid"])["uid"][first].as_py()
    driver.execute_query("CALL db.awaitIndexes(600)")
    rows = driver.execute_query(QUESTION, uid=uid, n=n).records
    if not rows:
        raise RuntimeError(f"{uid} has no edges in run {n}: the load is not what it should be")
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.support.loaders", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("method", choices=("py2neo", "merge", "online", "bulk"))
    parser.add_argument("run_dir", type=Path, help="the run that is loaded")
    parser.add_argument("warm_up_dir", type=Path, help="a run that is loaded first, untimed")
    parser.add_argument("home", type=Path, help="database home of its own")
    given = parser.parse_args()
    method, root, warm, home = given.method, given.run_dir, given.warm_up_dir, given.home
    if method in {"py2neo", "merge"}:
        timing = load_by_hand(by_py2neo if method == "py2neo" else by_merge, root, warm, home)
    else:
        timing = load_online(root, warm, home) if method == "online" else load_in_bulk(root, home)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(vars(timing) | {"rss_gb": peak}))


if __name__ == "__main__":
    main()
