"""``feature-graph runs`` against the real server: list, show, export, diff, drop."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import networkx as nx
import pandas as pd
import pyarrow as pa
import pytest

from feature_graph.artifacts import InteractionSet
from feature_graph.database import server, store
from feature_graph.database.store import Store, StoreError
from ingest.formats import INTERACTIONS, read_meta, read_table, write_table
from ingest.schema import index_statements
from tests.rundirs import agreeing
from tests.support.commands import Run
from tests.support.database import EXAMPLE, wipe

pytestmark = [pytest.mark.graph, pytest.mark.changes_schema]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped example with its first edge lost, the second turned round, the third half as strong and one more found."""
    folder = tmp_path_factory.mktemp("changed") / "run"
    shutil.copytree(EXAMPLE, folder)
    path = folder / "interactions.parquet"
    meta, frame = read_meta(path, INTERACTIONS), read_table(path, INTERACTIONS).to_pandas()
    edges = frame.index[frame["significant"] & (frame["method"] == "clamping")]
    others = frame.index[~frame["significant"] & (frame["method"] == "clamping")]
    frame.loc[edges[0], ["significant", "significant_by"]] = [False, ""]
    for column in ("mean_strength", "direct_strength", "copy_strength", "computed_strength", "ci_low", "ci_high"):
        frame.loc[edges[1], column] *= -1
        frame.loc[edges[2], column] *= 0.5
    turned = {"excitatory": "inhibitory", "inhibitory": "excitatory"}
    frame.loc[edges[1], "interaction_type"] = turned[str(frame.loc[edges[1], "interaction_type"])]
    frame.loc[edges[1], ["ci_low", "ci_high"]] = frame.loc[edges[1], ["ci_high", "ci_low"]].tolist()
    frame.loc[edges[2], "abs_strength"] *= 0.5
    frame.loc[others[0], ["significant", "significant_by", "q_value"]] = [True, "total", 0.01]
    write_table(path, INTERACTIONS, pa.Table.from_pandas(agreeing(frame), preserve_index=False), meta)
    return folder


@pytest.fixture(scope="module")
def two(connected: Store, changed: Path) -> tuple[str, str]:
    wipe(connected)
    return connected.ingest(EXAMPLE).run, connected.ingest(changed).run


def test_list_and_show(command: Run, two: tuple[str, str]) -> None:
    listed = json.loads(command("runs", "list", "--json").stdout)
    assert [run["id"] for run in listed] == list(two)
    assert {run["status"] for run in listed} == {"ready"}
    assert two[0] in command("runs", "list").stdout
    shown = json.loads(command("runs", "show", two[0][:6], "--json").stdout)
    assert shown["run"] == two[0]
    assert any(row["what"] == "model" for row in shown["provenance"])
    assert shown["quality"]
    assert "provenance of" in command("runs", "show", two[0]).stdout


def test_export_holds_what_the_database_holds(command: Run, connected: Store, two: tuple[str, str], tmp_path: Path) -> None:
    nodes, edges = connected.fetch_features(two[0]), connected.fetch_edges(two[0])
    for kind, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        done = command("runs", "export", two[0], tmp_path / kind, "--format", kind)
        assert done.exit_code == 0, done.output
        assert done.stdout.split() == [str(tmp_path / kind / f"{name}.{kind}") for name in ("nodes", "edges")]
        for name, frame in (("nodes", nodes), ("edges", edges)):
            pd.testing.assert_frame_equal(
                read(tmp_path / kind / f"{name}.{kind}")[["fid"] if name == "nodes" else ["strength"]],
                frame[["fid"] if name == "nodes" else ["strength"]],
            )
    command("runs", "export", two[0], tmp_path / "g", "-f", "graphml")
    graph = nx.read_graphml(tmp_path / "g/graph.graphml")
    assert (len(graph), graph.number_of_edges()) == (len(nodes), len(edges))
    first = edges.iloc[0]
    assert graph.edges[first["source"], first["target"]]["strength"] == pytest.approx(first["strength"])
    assert graph.nodes[first["source"]]["layer"] == nodes.set_index("id").loc[first["source"], "layer"]


def test_diff_finds_each_change_and_only_those(command: Run, two: tuple[str, str], changed: Path) -> None:
    found = json.loads(command("runs", "diff", *two, "--json").stdout)
    before = InteractionSet.load(EXAMPLE / "interactions.parquet").frame.query("significant and method == 'clamping'")
    assert found["counts"] == {"gained": 1, "lost": 1, "flipped": 1, "changed": 1, "kept": len(before) - 3}
    assert {edge["change"] for edge in found["edges"]} == {"gained", "lost", "flipped", "changed"}
    lost = next(edge for edge in found["edges"] if edge["change"] == "lost")
    assert lost["other_strength"] is None
    back = json.loads(command("runs", "diff", two[1], two[0], "--json").stdout)
    assert (back["counts"]["gained"], back["counts"]["lost"]) == (1, 1)
    assert json.loads(command("runs", "diff", two[0], two[0], "--json").stdout)["edges"] == []
    assert "1 gained, 1 lost, 1 flipped, 1 changed" in command("runs", "diff", *two).stdout


def test_drop_asks_and_takes_one_run_only(command: Run, connected: Store, two: tuple[str, str]) -> None:
    digest = connected.cypher("MATCH (r:Run {id: $id}) RETURN r.digest AS digest", id=two[0])["digest"].iloc[0]
    assert command("runs", "drop", two[1]).exit_code == 1  # nobody answered yes
    done = command("runs", "drop", two[1], "--yes")
    assert done.exit_code == 0, done.output
    assert f"run {two[1]} dropped" in done.stdout
    listed = {run["id"]: run["status"] for run in json.loads(command("runs", "list", "--json").stdout)}
    assert listed == {two[0]: "ready", two[1]: "dropped"}
    assert connected.ingest(EXAMPLE).run == two[0]
    assert connected.cypher("MATCH (r:Run {id: $id}) RETURN r.digest AS digest", id=two[0])["digest"].iloc[0] == digest


def test_bad_requests_are_refused_by_name(command: Run, connected: Store, two: tuple[str, str], tmp_path: Path) -> None:
    for arguments in (("show", "nothing"), ("diff", two[0], "nothing"), ("export", "nothing", tmp_path), ("drop", "nothing", "--yes")):
        done = command("runs", *arguments)
        assert done.exit_code in (1, 2)
        assert "nothing" in done.output
        assert "Traceback" not in done.output
    with pytest.raises(StoreError, match="format: got 'xlsx'"):
        store.export_run(connected, two[0], tmp_path, "xlsx")  # type: ignore[arg-type]


def test_verify_compares_every_property_with_the_files(command: Run, connected: Store, changed: Path) -> None:
    wipe(connected)
    missing = command("verify", EXAMPLE, "--json")
    assert missing.exit_code == 1
    assert json.loads(missing.stdout)["checks"] == [{"check": "run", "found": "not in the database", "expected": "ready", "ok": False}]
    run = connected.ingest(EXAMPLE).run
    good = command("verify", EXAMPLE, "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["run"] == run
    assert command("verify", changed).exit_code == 1  # another result, not loaded

    def wrong() -> set[str]:
        done = command("verify", EXAMPLE, "--json")
        assert done.exit_code == 1
        return {check["check"] for check in json.loads(done.stdout)["checks"] if not check["ok"]}

    connected.write("MATCH ()-[e:AFFECTS {method: 'clamping'}]->() WITH e LIMIT 1 SET e.strength = e.strength + 0.001")
    assert wrong() == {"digest of all properties"}
    connected.write(
        "MATCH (s)-[e:AFFECTS {method: 'clamping'}]->(t) WITH s, t, e LIMIT 1 CREATE (s)-[x:AFFECTS]->(t) SET x = properties(e)"
    )
    assert wrong() == {"digest of all properties", "edges", "edges that are there twice"}
    connected.write("MATCH (r:Run) CREATE (:Feature {uid: 'nobody/s', brought_by: r.n})")
    connected.write("MATCH (s)-[e:AFFECTS]->(t) WITH s, t, e LIMIT 1 CREATE (s)-[x:AFFECTS]->(t) SET x = properties(e), x.run = 999")
    assert {"features that nothing refers to", "edges of no run"} <= wrong()
    connected.driver.execute_query("DROP INDEX behavior_run_name")
    try:
        assert "indexes missing or not online" in wrong()
    finally:
        for statement in index_statements():
            connected.driver.execute_query(statement)
        wipe(connected)


# py2neo's own connection fails once more when it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_py2neo_says_that_the_password_is_wrong(connected: Store, neo4j_server: server.Connection) -> None:
    graph = store.connect_py2neo(neo4j_server.uri, neo4j_server.username, neo4j_server.password)
    assert graph.evaluate("RETURN 1") == 1
    graph.service.connector.close()
    with pytest.raises(store.LoginRefused, match="refused user 'neo4j'"):
        store.connect_py2neo(neo4j_server.uri, "neo4j", "not the password")
    with pytest.raises(store.NotReachable, match=r"no Neo4j answers at bolt://127\.0\.0\.1:9"):
        store.connect_py2neo("bolt://127.0.0.1:9", "neo4j", "any")
    with pytest.raises(store.NotEncrypted):
        store.connect_py2neo("bolt://db.example.org:7687", "neo4j", "any")
    gc.collect()
