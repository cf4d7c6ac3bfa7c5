"""Loading runs into the real server: complete, once, resumable, independent of each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ingest
import queries
from feature_graph.database import server, store
from feature_graph.database.store import Store
from ingest import IngestError, IngestMismatch, LeaseHeld, LeaseLost, SchemaMismatch, runs, schema
from ingest.connection import DriverDatabase
from ingest.rundir import open_run
from tests.graph.formerly import UNKNOWN, digest_of_version_5
from tests.rundirs import dense, random_run, write_files
from tests.strategies import random_interactions
from tests.support.database import EXAMPLE, graph_digest

pytestmark = pytest.mark.graph


def number(store: Store, query: str, **parameters: Any) -> int:
    return int(store.cypher(query, **parameters).iloc[0, 0])


def significant(root: Path) -> pd.DataFrame:
    frame = pd.read_parquet(root / "interactions.parquet")
    return frame[frame["significant"]].reset_index(drop=True)


def test_the_database_holds_what_the_files_hold(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", direct_alone=3)
    report = database.ingest(root)
    edges, features = significant(root), pd.read_parquet(root / "features.parquet")
    assert (report.nodes, report.edges, report.already, report.resumed) == (len(features), len(edges), False, 0)
    stored = database.fetch_edges(report.run)
    columns = {"source": "src_id", "target": "tgt_id", "direct": "direct_strength", "later": "later_strength", "copy": "copy_strength"}
    columns |= {"se": "se", "ci_low": "ci_low", "ci_high": "ci_high", "p": "p_value", "q": "q_value", "q_direct": "q_direct"}
    columns |= {"q_later": "q_later", "n": "n_samples", "type": "interaction_type", "by": "significant_by", "span": "span"}
    columns |= {"placebo": "placebo_quantile", "replicated": "replicated", "jacobian": "strength_jacobian"}
    for mine, theirs in columns.items():
        pd.testing.assert_series_equal(stored[mine], edges[theirs], check_names=False, check_dtype=False, check_exact=True)
    lead = {"total": "mean_strength", "direct": "direct_strength", "later": "later_strength"}
    led = ["later" if by == "later" else "direct" if by.startswith("direct") else "total" for by in edges["significant_by"]]
    strength = [row[lead[by]] for by, row in zip(led, edges.to_dict("records"), strict=True)]
    assert stored["strength"].tolist() == strength
    assert stored["sign"].tolist() == np.sign(strength).tolist()
    assert stored["structural"].tolist() == ((edges["span"] == 1) | edges["significant_by"].str.contains("direct")).tolist()
    assert stored["total"].notna().tolist() == [by != "total" for by in led]
    assert {"total", "direct"} <= {*led} & {by.partition("+")[0] for by in edges["significant_by"]}
    assert set(stored["run_id"]) == {report.run[:8]}
    seen = database.fetch_features(report.run)
    shown = database.cypher("MATCH (f:Feature) RETURN properties(f) AS f")["f"]
    plain = pd.DataFrame(shown.tolist()).sort_values("uid", ignore_index=True)
    wanted = features.sort_values("uid", ignore_index=True)
    for name in ("id", "layer", "index", "density", "mean_act", "max_act", "dead", "dense", "importance"):
        pd.testing.assert_series_equal(plain[name], wanted[name], check_names=False, check_dtype=False, check_exact=True)
    assert set(plain["scores_run"]) == {report.n}
    for name in ("uid", "hook", "index", "id", "fid", "layer", "label", "density", "mean_act", "max_act", "dead", "dense", "importance"):
        pd.testing.assert_series_equal(seen[name], features[name], check_names=False, check_dtype=False, check_exact=True)
    assert number(database, "MATCH (f:Feature) RETURN count(f)") == len(features)
    assert number(database, "MATCH ()-[e:AFFECTS]->() RETURN count(e)") == len(edges)


def test_what_belongs_to_a_run(database: Store) -> None:
    report = database.ingest(EXAMPLE)
    run = database.cypher("MATCH (r:Run) RETURN properties(r) AS r")["r"].iloc[0]
    assert run["id"] == ingest.run_id(EXAMPLE) == report.run
    assert (run["status"], run["methods"], run["layers"], run["alpha"]) == ("ready", ["clamping", "jacobian"], [2, 5, 8, 11], 0.05)
    assert json.loads(run["config"])["sae_release"] == "toy-res"
    assert json.loads(run["facts"])["families"] == dict.fromkeys(("total", "direct", "later"), run["measured"])
    sites = database.cypher("MATCH (:Run)-[:COVERS]->(s:Site) RETURN s.layer AS layer, s.hook AS hook, s.point AS point ORDER BY layer")
    assert sites.to_numpy().tolist() == [[layer, f"blocks.{layer}.hook_resid_post", layer + 1] for layer in (2, 5, 8, 11)]
    saes = database.cypher("MATCH (:Run)-[:USES_SAE]->(s:SAE) RETURN s.release AS r, s.sae_id AS i, s.d_sae AS d ORDER BY d, i")
    assert set(saes["r"]) == {"toy-res"}
    assert set(saes["i"]) == {f"blocks.{layer}" for layer in (2, 5, 8, 11)}
    assert set(saes["d"]) == {512}


def test_only_what_the_schema_describes_is_in_the_graph(database: Store) -> None:
    database.ingest(EXAMPLE)
    types = {"String": "STRING", "Long": "INTEGER", "Double": "FLOAT", "Boolean": "BOOLEAN"}
    types |= {"StringArray": "LIST<STRING>", "LongArray": "LIST<INTEGER>", "DoubleArray": "LIST<FLOAT>"}
    described = {(n.label, p.name): p.type for n in schema.NODES for p in n.properties}
    described |= {(r.type, p.name): p.type for r in schema.RELATIONSHIPS for p in r.properties}
    nodes = database.cypher("CALL db.schema.nodeTypeProperties() YIELD nodeLabels, propertyName, propertyTypes RETURN *")
    edges = database.cypher("CALL db.schema.relTypeProperties() YIELD relType, propertyName, propertyTypes RETURN *")
    found = [(row.nodeLabels[0], row.propertyName, row.propertyTypes) for row in nodes.itertuples() if isinstance(row.propertyName, str)]
    found += [
        (row.relType.strip(":`"), row.propertyName, row.propertyTypes) for row in edges.itertuples() if isinstance(row.propertyName, str)
    ]
    assert found
    for owner, name, kinds in found:
        assert [types[kind] for kind in kinds] == [described[owner, name]], (owner, name, kinds)
    relations = database.cypher("MATCH (a)-[r]->(b) RETURN DISTINCT labels(a)[0] AS a, type(r) AS r, labels(b)[0] AS b")
    assert {tuple(row) for row in relations.to_numpy()} <= {(r.source, r.type, r.target) for r in schema.RELATIONSHIPS}


def test_keys_and_indexes_are_those_of_the_schema(database: Store) -> None:
    database.ingest(EXAMPLE)
    there = set(database.cypher("SHOW INDEXES YIELD name, state WHERE state = 'ONLINE' RETURN name")["name"])
    assert {index.name for index in schema.INDEXES} <= there
    assert {f"{node.label.lower()}_{node.key}" for node in schema.NODES} | {"run_n"} <= there


def test_twice_is_once(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    first = database.ingest(root)
    whole = database.cypher("MATCH (n) OPTIONAL MATCH (n)-[r]->() RETURN count(DISTINCT n) AS n, count(r) AS r, collect(r.p) AS p")
    second = database.ingest(root)
    assert second.already
    assert "already there" in second.summary()
    assert (second.run, second.n, second.nodes, second.edges, second.digest) == (first.run, first.n, first.nodes, first.edges, first.digest)
    assert graph_digest(database, first.n) == first.digest
    again = database.cypher("MATCH (n) OPTIONAL MATCH (n)-[r]->() RETURN count(DISTINCT n) AS n, count(r) AS r, collect(r.p) AS p")
    assert again[["n", "r"]].equals(whole[["n", "r"]])


def test_a_run_from_before_standardised_effects_is_still_whole(database: Store, tmp_path: Path) -> None:
    """As earlier versions left it: no such property, and the digest without it. Without the property alone, something was taken away."""
    root = random_run(tmp_path / "run")
    loaded = database.ingest(root)
    for statement in UNKNOWN:
        database.driver.execute_query(statement)
    edge = "MATCH ()-[e:AFFECTS {run: $n}]->()"
    assert number(database, f"{edge} WHERE e.standardised IS NOT NULL RETURN count(e)", n=loaded.n) == loaded.edges
    database.driver.execute_query(f"{edge} REMOVE e.standardised", n=loaded.n)
    assert not ingest.verify_run(database.driver, root).ok
    earlier = digest_of_version_5(root, standardised=False)
    database.driver.execute_query("MATCH (r:Run {n: $n}) SET r.digest = $digest, r.digest_version = 1", n=loaded.n, digest=earlier)
    assert ingest.verify_run(database.driver, root).ok
    database.driver.execute_query(f"{edge} WITH e LIMIT 1 REMOVE e.computed", n=loaded.n)
    assert not ingest.verify_run(database.driver, root).ok
    asked = database.ask("strongest", limit=1000).records
    assert {row["standardised"] for row in asked} == {None}
    assert [abs(row["value"]) for row in asked] == sorted((abs(row["value"]) for row in asked), reverse=True)


def test_runs_do_not_touch_each_other(database: Store, tmp_path: Path) -> None:
    """Load A, load B on the same features, drop B: A is what it was, and what only B saw is gone."""
    made = random_interactions(4, 12, 120, seed=1)
    features, frame = dense(made)
    a = database.ingest(write_files(tmp_path / "a", features, frame))
    before = graph_digest(database, a.n)
    labels = database.cypher("MATCH (f:Feature) RETURN f.uid AS uid, f.label AS label, f.label_run AS run ORDER BY uid")
    relabelled, others = features.assign(label=features["label"] + " again"), frame.copy()
    others[["mean_strength", "abs_strength", "copy_strength", "computed_strength", "direct_strength", "ci_low", "ci_high"]] *= 2.0
    extra = relabelled.iloc[-1:].assign(fid=len(features), index=99_999, id=lambda f: "L" + f["layer"].astype(str) + "_F99999")
    extra["uid"] = extra["uid"].str.rpartition("/")[0] + "/99999"
    b = database.ingest(write_files(tmp_path / "b", pd.concat([relabelled, extra]), others))
    assert b.n != a.n
    assert b.digest != a.digest
    assert graph_digest(database, a.n) == before == a.digest
    assert number(database, "MATCH (f:Feature) WHERE f.label ENDS WITH ' again' RETURN count(f)") == len(features) + 1
    dropped = database.drop(b.run)
    assert (dropped.deleted["edges"], dropped.deleted["observations"], dropped.deleted["features"]) == (b.edges, b.nodes, 1)
    assert graph_digest(database, a.n) == before
    after = database.cypher("MATCH (f:Feature) RETURN f.uid AS uid, f.label AS label, f.label_run AS run ORDER BY uid")
    pd.testing.assert_frame_equal(after, labels)
    assert database.ask("audit", run=a.run).records == [row | {"ok": True} for row in database.ask("audit", run=a.run).records]


def test_a_dropped_run_can_be_loaded_again(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    first = database.ingest(root)
    database.drop(first.run[:8])
    assert database.cypher("MATCH (r:Run) RETURN r.status AS s")["s"].tolist() == ["dropped"]
    assert number(database, "MATCH (n) WHERE NOT n:Run AND NOT n:SchemaVersion AND n.run IS NOT NULL RETURN count(n)") == 0
    second = database.ingest(root)
    assert (second.run, second.n, second.digest, second.already) == (first.run, first.n, first.digest, False)
    with pytest.raises(IngestError, match=r"got 'abc', no run begins or is called like this"):
        database.drop("abc")


_KILLED = """
import os, signal, sys
import neo4j
from ingest import DriverDatabase, ingest_run

class Killed(DriverDatabase):
    writes = 0

    def write(self, work):
        def last(tx):
            answer = work(tx)
            Killed.writes += 1
            if Killed.writes == int(sys.argv[4]):
                os.kill(os.getpid(), signal.SIGKILL)   # inside the transaction: done, and not committed
            return answer
        return super().write(last)

with neo4j.GraphDatabase.driver(sys.argv[1], auth=("neo4j", os.environ["PASSWORD_OF_TEST"])) as driver:
    ingest_run(Killed(driver), sys.argv[2], transaction_blocks=int(sys.argv[3]))
"""


def kill_in_write(at: server.Connection, root: Path, write: int) -> None:
    """Load in another process that is killed inside its n-th transaction."""
    environment = os.environ | {"PASSWORD_OF_TEST": at.password, "PYTHONPATH": str(Path(ingest.__file__).parents[1])}
    command = [sys.executable, "-c", _KILLED, at.uri, str(root), "1", str(write)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def pass_time(store: Store) -> None:
    """As if the lease had been silent for longer than it may."""
    store.write("MATCH (r:Run) WHERE r.lease_at IS NOT NULL SET r.lease_at = r.lease_at - $ms", ms=1000 * runs.LEASE_SECONDS)


def test_a_killed_load_goes_on_where_it_stopped(database: Store, neo4j_server: server.Connection, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_features=60, n_edges=7_000, seed=5)
    undisturbed = database.ingest(root)
    database.drop(undisturbed.run)
    database.write("MATCH (r:Run) DETACH DELETE r")
    # Writes: schema (there), claim, places, features, then one for each block of edges: the fifth is the second block of edges.
    kill_in_write(neo4j_server, root, 5)
    assert database.cypher("MATCH (r:Run) RETURN r.status AS s")["s"].tolist() == ["loading"]
    written = number(database, "MATCH ()-[e:AFFECTS]->() RETURN count(e)")
    blocks = number(database, "MATCH (b:IngestBatch) RETURN count(b)")
    assert 0 < written == number(database, "MATCH (b:IngestBatch) WHERE b.key CONTAINS ':' RETURN sum(b.rows)") <= 1_000
    with pytest.raises(LeaseHeld, match=r"is being loaded by .+:\d+:\w+ since 20\d\d-.* s ago"):
        database.ingest(root)
    pass_time(database)
    resumed = database.ingest(root)
    assert resumed.resumed == blocks >= 2
    assert f"went on after {blocks} blocks" in resumed.summary()
    assert (resumed.edges, resumed.nodes, resumed.digest) == (undisturbed.edges, undisturbed.nodes, undisturbed.digest)
    assert number(database, "MATCH ()-[e:AFFECTS]->() RETURN count(e)") == undisturbed.edges


def test_a_load_whose_lease_was_taken_writes_no_more(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    report = database.ingest(root)
    base = DriverDatabase(database.driver)
    database.write("MATCH (r:Run) SET r.status = 'failed'")
    old = runs.claim(base, report.run, {})
    pass_time(database)
    new = runs.claim(base, report.run, {})
    assert (old.n, new.before) == (new.n, "loading")
    base.write(lambda tx: runs.hold(tx, new))
    with pytest.raises(LeaseLost, match="another process took it over"):
        base.write(lambda tx: runs.hold(tx, old))


def test_a_graph_that_does_not_hold_the_files_is_not_made_ready(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    database.ingest(root)
    database.write("MATCH ()-[e:AFFECTS]->() WITH e LIMIT 1 SET e.direct = e.direct + 0.001 WITH e MATCH (r:Run) SET r.status = 'failed'")
    with pytest.raises(IngestMismatch, match="drop the run and ingest it again"):
        database.ingest(root)
    failed = database.cypher("MATCH (r:Run) RETURN r.status AS status, r.error AS error, r.lease_owner AS owner").iloc[0]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("IngestMismatch")
    assert failed["owner"] is None
    database.drop(ingest.run_id(root))
    assert database.ingest(root).already is False


def test_nothing_is_written_when_a_file_is_wrong(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    frame = pd.read_parquet(root / "interactions.parquet")
    frame.loc[7, "q_value"] = 1.5
    write_files(root, pd.read_parquet(root / "features.parquet"), frame)
    with pytest.raises(ingest.InvalidRun, match=r"interactions\.parquet, row 7: q_value = 1\.5; expected a value in \[0, 1\]"):
        database.ingest(root)
    assert number(database, "MATCH (n) WHERE NOT n:SchemaVersion RETURN count(n)") == 0


def test_a_run_without_edges(database: Store, tmp_path: Path) -> None:
    features, frame = dense(random_interactions(3, 5, 20, seed=2))
    root = write_files(tmp_path / "run", features, frame.assign(significant=False, significant_by=""))
    report = database.ingest(root)
    assert (report.edges, report.nodes) == (0, len(features))
    empty = write_files(tmp_path / "empty", features.iloc[:0], frame.iloc[:0])
    report = database.ingest(empty)
    assert (report.edges, report.nodes) == (0, 0)
    for name in ("hubs", "communities", "strongest", "layer_flow", "quality"):
        assert database.ask(name, run=ingest.run_id(empty)).rows == []
    assert {row["score"] for row in database.ask("hubs", run=ingest.run_id(root)).records} == {0.0}


def test_a_run_by_another_method_is_asked_by_it(database: Store, tmp_path: Path) -> None:
    features, frame = dense(random_interactions(3, 5, 40, seed=2))
    root = write_files(tmp_path / "run", features, frame.assign(method="jacobian"))
    report = database.ingest(root)
    assert len(database.ask("strongest", effect="strength", limit=1000).rows) == len(database.fetch_edges()) == report.edges > 0
    assert store.analyze(database, "degree")["degree"].sum() > 0
    with pytest.raises(queries.ParameterError, match="has edges by jacobian"):
        database.ask("strongest", method="clamping")


def test_behaviors_and_seeds_outside_the_graph(database: Store) -> None:
    report = database.ingest(EXAMPLE)
    assert report.behaviors == 2
    query = (
        "MATCH (b:Behavior)-[s:SEEDED_BY]->(f:Feature) RETURN b.name AS name, s.id AS id, s.rank AS rank, f.uid AS uid ORDER BY name, rank"
    )
    seeds = database.cypher(query)
    assert seeds["id"].tolist() == ["L2_F28", "L5_F190", "L8_F69", "L5_F190", "L8_F327", "L11_F500"]
    assert seeds["uid"].iloc[-1] == "toy@0123abcd/toy-res/blocks.11/500"
    assert number(database, "MATCH (f:Feature) WHERE NOT EXISTS { (f)<-[:OF]-() } RETURN count(f)") == 1
    database.drop(report.run)
    assert number(database, "MATCH (n) WHERE n:Feature OR n:Behavior OR n:Observation RETURN count(n)") == 0


def test_py2neo_loads_the_same_graph(database: Store, py2neo_graph: Any, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    by_driver = database.ingest(root)
    database.drop(by_driver.run)
    by_py2neo = ingest.ingest_run(py2neo_graph, root)
    assert (by_py2neo.digest, by_py2neo.edges, by_py2neo.already) == (by_driver.digest, by_driver.edges, False)
    assert ingest.ingest_run(py2neo_graph, root).already
    assert ingest.drop_run(py2neo_graph, by_py2neo.run).deleted["edges"] == by_driver.edges


def test_a_database_of_another_schema_is_refused(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    database.ingest(root)
    database.write("CREATE (:SchemaVersion {n: 99, checksum: 'x'})")
    try:
        with pytest.raises(SchemaMismatch, match=f"the database has schema version 99, this program knows {schema.VERSION}"):
            database.ingest(root)
    finally:
        database.write("MATCH (v:SchemaVersion {n: 99}) DELETE v")
    checksum = database.cypher("MATCH (v:SchemaVersion {n: 1}) RETURN v.checksum AS c")["c"].iloc[0]
    database.write("MATCH (v:SchemaVersion {n: 1}) SET v.checksum = 'altered'")
    try:
        with pytest.raises(SchemaMismatch, match=r"0001_schema\.cypher was applied with another text"):
            database.ingest(root)
    finally:
        database.write("MATCH (v:SchemaVersion {n: 1}) SET v.checksum = $c", c=checksum)


def test_the_run_s_id_is_known_without_a_database(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    assert database.ingest(root).run == ingest.run_id(root) == open_run(root).id
