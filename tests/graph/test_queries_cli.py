"""The commands ``ingest`` and ``query``, and the library's store, against the real server."""

from __future__ import annotations

import csv
import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from feature_graph.database import store
from feature_graph.database.store import Projection, Store
from tests.graph import twins
from tests.support.commands import Run
from tests.support.database import EXAMPLE, wipe

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def example(connected: Store) -> str:
    """The shipped example, alone in the database."""
    wipe(connected)
    return connected.ingest(EXAMPLE).run


def test_ingest_says_what_it_did(command: Run, example: str) -> None:
    done = command("ingest", EXAMPLE)
    assert done.exit_code == 0, done.output
    assert f"run {example} is already there (48 features, 167 edges); nothing changed" in done.stdout


def test_every_format_holds_the_same(command: Run, example: str, connected: Store, tmp_path: Path) -> None:
    asked = ("query", "feed_forward", "-p", "kind=incoherent", "-p", "limit=4")
    expected = connected.ask("feed_forward", kind="incoherent", limit=4).records
    assert json.loads(command(*asked, "--format", "json").stdout) == expected
    rows = list(csv.DictReader(io.StringIO(command(*asked, "--format", "csv").stdout)))
    assert [row["source"] for row in rows] == [row["source"] for row in expected]
    assert [float(row["weakest"]) for row in rows] == [row["weakest"] for row in expected]
    table = command(*asked).stdout
    assert all(row["source"] in table for row in expected)
    target = tmp_path / "answer.parquet"
    assert command(*asked, "--format", "parquet", "--output", target).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(target), pd.DataFrame(expected), check_dtype=False)
    for kind in ("json", "csv", "table"):
        path = tmp_path / f"answer.{kind}"
        assert command(*asked, "--format", kind, "--output", path).exit_code == 0
        assert expected[0]["source"] in path.read_text()


def test_lists_are_readable_in_every_format(command: Run, example: str) -> None:
    asked = ("query", "paths", "-p", "source=L2_F28", "-p", "target=L11_F1")
    assert "L2_F28, L8_F154, L11_F1" in command(*asked).stdout
    rows = list(csv.DictReader(io.StringIO(command(*asked, "-f", "csv").stdout)))
    assert json.loads(rows[0]["path"]) == ["L2_F28", "L8_F154", "L11_F1"]


def test_the_list_and_the_text_need_no_database() -> None:
    runner = CliRunner()
    listed = json.loads(runner.invoke(app, ["query", "--list", "--format", "json"]).stdout)
    assert [row["name"] for row in listed] == queries.names()
    assert all(row["question"] for row in listed)
    assert "graph" not in next(row for row in listed if row["name"] == "hubs")["parameters"]
    assert runner.invoke(app, ["query", "hubs", "--show"]).stdout == queries.text("hubs")
    assert runner.invoke(app, ["query", "neighbours", "--show", "--visual"]).stdout == queries.text("neighbours", visual=True)
    shown = runner.invoke(app, ["query", "neighbours", "--show", "--any-status"]).stdout
    assert shown == queries.text("neighbours", any_status=True)
    assert "MATCH (run:Run {id: $run})" in shown


def test_a_run_that_failed_is_asked_with_any_status_only(command: Run, example: str, connected: Store) -> None:
    asked = ("query", "hubs", "-p", f"run={example}", "--json")
    ready = command(*asked).stdout
    connected.write("MATCH (r:Run {id: $id}) SET r.status = 'failed'", id=example)
    try:
        refused, answered = command(*asked), command(*asked, "--any-status")
        planned = command("query", "hubs", "-p", f"run={example}", "--any-status", "--explain")
    finally:
        connected.write("MATCH (r:Run {id: $id}) SET r.status = 'ready'", id=example)
    assert refused.exit_code == 2
    assert f"run {example} is failed, not ready" in json.loads(refused.stdout)["error"]
    assert "--any-status" in refused.stdout
    assert answered.exit_code == 0, answered.output
    assert json.loads(answered.stdout) == json.loads(ready)
    assert f"run {example} is failed; what it holds is not whole" in " ".join(answered.stderr.split())
    assert "status" in command("query", "hubs", "--explain").stdout
    assert planned.exit_code == 0, planned.output
    assert "status" not in planned.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query"], "give the name of a question"),
        (["query", "hub"], "did you mean hubs"),
        (["query", "hubs", "-p", "limit=many"], "limit: got 'many'; expected int from 1 to 10000"),
        (["query", "hubs", "-p", "limit"], "expected KEY=VALUE"),
        (["query", "hubs", "-p", "limit=1", "-p", "limit=2"], "each key once"),
        (["query", "cascade"], "cascade needs feature"),
        (["query", "neighbours", "-p", "feature=L5_F281"], "near: "),
        (["query", "hubs", "--format", "parquet"], "say which with --output"),
        (["ingest", "no/such/folder"], "no such directory"),
    ],
)
def test_what_is_wrong_is_one_clear_line(command: Run, example: str, arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert done.exit_code != 0
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_wrong_password_is_said_and_not_shown(command: Run, example: str) -> None:
    done = command("query", "runs", password="not-the-password")
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert "refused user 'neo4j'" in said
    assert "feature-graph db password" in said
    assert "not-the-password" not in done.output


def test_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_GRAPH_HOME", str(tmp_path))
    with pytest.raises(store.NotReachable, match=r"(?s)no Neo4j answers at bolt://127\.0\.0\.1:1: .*feature-graph db start"):
        store.connect("bolt://127.0.0.1:1", "neo4j", "x")
    with pytest.raises(store.NotReachable, match=r"No server is running on .*feature-graph db start.* or set NEO4J_URI"):
        store.connect()


@pytest.mark.parametrize("algorithm", ["degree", "pagerank", "leiden"])
def test_scores_are_written_back_with_their_analysis(connected: Store, example: str, algorithm: str) -> None:
    before = connected.fetch_features(example)
    frame = store.analyze(connected, algorithm, Projection(example))
    files = twins.RunFiles.read(EXAMPLE)
    column = frame.columns[-1]
    got = dict(zip(frame["id"], frame[column], strict=True))
    if algorithm == "leiden":
        rows = connected.ask("communities", members=100, min_size=1).records
        assert {frozenset(frame.loc[frame[column] == c, "id"]) for c in set(frame[column])} == {frozenset(r["members"]) for r in rows}
        sizes = connected.cypher("MATCH (c:Community) RETURN c.size AS size, COUNT { (c)<-[:IN_COMMUNITY]-() } AS members")
        assert sizes["size"].tolist() == sizes["members"].tolist()
        store.analyze(connected, "leiden", Projection(example))
        assert len(connected.cypher("MATCH (c:Community) RETURN c.uid")) == len(sizes)
    else:
        assert got == pytest.approx(twins.hub_scores(twins.graph(files), algorithm), abs=1e-9)
    note = connected.cypher("MATCH (a:Analysis {kind: $kind}) RETURN properties(a) AS a", kind=algorithm)["a"].iloc[0]
    assert (note["property"], note["gds_version"][:4]) == (column, "2.13")
    assert json.loads(note["params"])["run"] == example
    assert connected.cypher("CALL gds.graph.list() YIELD graphName RETURN graphName").empty
    kept = [c for c in before.columns if c not in ("degree", "pagerank", "community")]
    pd.testing.assert_frame_equal(before[kept], connected.fetch_features(example)[kept])


def test_the_method_is_named_where_it_is_not_the_main_one_of_the_run(connected: Store, example: str) -> None:
    frame = store.analyze(connected, "leiden", Projection(example, method="jacobian"))
    features = twins.graph(twins.RunFiles.read(EXAMPLE), method="jacobian")
    assert 1 < frame["community_jacobian"].nunique() < len(frame) == len(features)
    with pytest.raises(queries.ParameterError, match=r"^method: got 'not measured'; run \w+ has edges by clamping, jacobian$"):
        store.analyze(connected, "leiden", Projection(example, method="not measured"))


def test_a_projection_is_dropped_when_its_block_fails(connected: Store, example: str) -> None:
    gds = store.client(connected)

    def fail() -> None:
        with store.projected(gds, Projection(example, sign="inhibitory")) as graph:
            assert graph.node_count() == len(twins.graph(twins.RunFiles.read(EXAMPLE)))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert connected.cypher("CALL gds.graph.list() YIELD graphName RETURN graphName").empty


def test_an_unknown_algorithm_is_refused(connected: Store, example: str) -> None:
    with pytest.raises(store.StoreError, match="expected one of degree, in_degree"):
        store.analyze(connected, "eigenvector")  # type: ignore[arg-type]


def test_the_run_is_found_by_its_beginning(connected: Store, example: str) -> None:
    assert connected.find_run(example[:5]) == connected.find_run() == example
    assert len(connected.fetch_edges(example[:5])) == len(twins.RunFiles.read(EXAMPLE).edges())
    with pytest.raises(queries.ParameterError, match="the ready runs are"):
        connected.fetch_features("zzz")


def test_a_statement_of_ones_own_is_read_only(command: Run, example: str, tmp_path: Path) -> None:
    file = tmp_path / "own.cypher"
    file.write_text("MATCH (o:Observation {layer: $layer}) RETURN o.id AS id, o.fid AS fid ORDER BY fid LIMIT $n")
    done = command("query", "--cypher", file, "-p", "layer=2", "-p", "n=3", "-f", "json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert len(rows) == 3
    assert all(row["id"].startswith("L2_F") for row in rows)
    file.write_text("CREATE (n:Intruder) RETURN n")
    refused = command("query", "--cypher", file)
    assert refused.exit_code == 1
    assert "refused" in refused.output
    assert "Traceback" not in refused.output
    file.write_text("MATCH (n:Intruder) RETURN count(n) AS n")
    assert json.loads(command("query", "--cypher", file, "-f", "json").stdout) == [{"n": 0}]
    for wrong, named in (("MATCH (n RETURN n", "Invalid input"), ("RETURN $missing", "missing"), ("  ", "empty")):
        file.write_text(wrong)
        told = command("query", "--cypher", file)
        assert told.exit_code == 1
        assert named in told.output
    assert command("query", "hubs", "--cypher", file).exit_code == 2


@pytest.mark.parametrize("name", ["runs", "hubs", "cascade"])
def test_a_template_has_a_plan(name: str, command: Run, example: str) -> None:
    """Of one run, of all, and with a parameter that must be given; test_queries.py looks at the plan of every template."""
    done = command("query", name, "--explain")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("ProduceResults")


def check_on_the_command_line(connected: Store) -> dict[str, Any]:
    """What ``query --check`` says; the database of the test is not the one that it asks."""
    before = connected.cypher("MATCH (r:Run) RETURN count(r) AS n")["n"].iloc[0]
    done = CliRunner().invoke(app, ["query", "--check", "--json"])
    assert done.exit_code == 0, done.output
    assert connected.cypher("MATCH (r:Run) RETURN count(r) AS n")["n"].iloc[0] == before
    return dict(json.loads(done.stdout[done.stdout.index("{") :]))


def test_check_asks_in_a_database_of_its_own(connected: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three templates: a server that has just begun takes over a minute to plan them all, which the test below has the session's do."""
    few = ["audit", "neighbours", "runs"]
    monkeypatch.setattr(import_module("queries.check"), "names", lambda: few)
    assert check_on_the_command_line(connected) == {"templates": len(few), "passed": len(few), "failed": 0, "problems": {}}


@pytest.mark.long
def test_check_asks_every_template(connected: Store) -> None:
    every = len(queries.names())
    assert check_on_the_command_line(connected) == {"templates": every, "passed": every, "failed": 0, "problems": {}}


def test_check_notices_a_wrong_row(connected: Store) -> None:
    wipe(connected)
    run = connected.ingest(EXAMPLE).run
    found = queries.check(connected.driver, run)
    assert [one.name for one in found] == queries.names()
    assert all(one.passed for one in found)
    connected.write("MATCH (:Observation {id: 'L5_F280'})-[:OF]->(f)-[e:AFFECTS]->() SET e.strength = e.strength * 1.001")
    wrong = {one.name: one.problem for one in queries.check(connected.driver, run) if not one.passed}
    assert "neighbours" in wrong
    assert "expected" in wrong["neighbours"]
    wipe(connected)


@pytest.mark.parametrize("algorithm", ["leiden", "louvain", "label_propagation"])
def test_communities_are_the_same_after_loading_anew(connected: Store, algorithm: str) -> None:
    """Nodes get other numbers inside the database; the same seed must still give the same groups."""
    found = []
    for _ in range(3):
        wipe(connected)
        run = connected.ingest(EXAMPLE).run
        found.append(connected.query("communities", run=run, algorithm=algorithm)["members"].tolist())
        if algorithm == "leiden":
            found.append(store.analyze(connected, "leiden", Projection(run)).sort_values("id")["community"].tolist())
            found[-2:] = [found[-2:]]
    assert found[0] == found[1] == found[2]
