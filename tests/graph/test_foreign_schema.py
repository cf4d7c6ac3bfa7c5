"""In a database that other programs use, too: questions, lists and checks see what is ours only; names that are taken are said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.database import store as graph_store
from feature_graph.database.store import Store
from ingest import SchemaMismatch
from ingest.migrations import FORMER, migrations
from ingest.schema import UNIQUE_KEYS
from queries.browser import gather
from tests.graph.overlapping import FOREIGN, Foreign
from tests.rundirs import random_run

pytestmark = pytest.mark.graph
EXAMPLE = queries.example_run()


@pytest.fixture(scope="module")
def put_back(connected: Store) -> Iterator[None]:
    """Afterwards the session's server has our constraints, indexes and its record of migrations again, whatever a test did."""
    connected.migrate()
    before = connected.cypher("MATCH (v:SchemaVersion) WHERE v.n IS NOT NULL RETURN properties(v) AS v")["v"].tolist()
    yield
    connected.write("MATCH (n) DETACH DELETE n")
    clear(connected)
    connected.migrate()
    connected.write("MATCH (v:SchemaVersion) WITH v UNWIND $all AS one WITH v, one WHERE v.n = one.n SET v = one", all=before)
    assert connected.migrate() == []


@pytest.fixture
def bare(database: Store, put_back: None) -> Store:
    """The session's server without our constraints, indexes and migrations."""
    clear(database)
    database.write("MATCH (v:SchemaVersion) DETACH DELETE v")
    return database


def clear(store: Store) -> None:
    for name in store.cypher("SHOW CONSTRAINTS YIELD name RETURN name")["name"]:
        store.write(f"DROP CONSTRAINT {name}")
    for name in store.cypher("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name")["name"]:
        store.write(f"DROP INDEX {name}")


def test_every_template_gives_the_same_beside_foreign_data(database: Store, neo4j_server: server.Connection) -> None:
    early = Foreign(database)
    run = database.ingest(EXAMPLE).run
    late = Foreign(database, FOREIGN.replace("geo/1", "geo/2").replace("id: 7", "id: 8").replace("r-1", "r-2"))
    wrong = {one.name: one.problem for one in queries.check(database.driver, run) if not one.passed}
    assert wrong == {}
    assert database.ask("runs").records == [row for row in database.ask("runs").records if row["id"] == run]
    assert graph_store.list_runs(database)["id"].tolist() == [run]
    assert database.find_run() == database.find_run(run[:6]) == run
    facts = gather(database.driver)
    assert facts is not None
    assert (facts.run, facts.other) == (run, None)
    report = database.verify(EXAMPLE)
    assert report.ok, [check for check in report.checks if not check.ok]
    for foreign in (early, late):
        foreign.check()


def test_commands_list_and_name_our_runs_only(database: Store, neo4j_server: server.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    Foreign(database)
    run = database.ingest(EXAMPLE).run
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)
    for words in (["query", "runs", "--json"], ["runs", "list", "--json"], ["runs", "show", run[:8]], ["verify", str(EXAMPLE)]):
        done = CliRunner().invoke(app, [*words, "--uri", neo4j_server.uri])
        assert done.exit_code == 0, done.output
        assert "Marathon" not in done.output
    for words in (["runs", "drop", "r-1", "--yes"], ["runs", "show", "r-1"], ["query", "hubs", "-p", "run=r-1"]):
        done = CliRunner().invoke(app, [*words, "--uri", neo4j_server.uri])
        assert done.exit_code in (1, 2)
        assert "got 'r-1'" in done.stderr


def test_a_run_that_failed_is_listed(database: Store, tmp_path: Path) -> None:
    run = database.ingest(random_run(tmp_path / "run")).run
    database.write("MATCH (r:Run) SET r.status = 'failed' REMOVE r.finished")
    assert [(row["id"], row["status"], row["finished"]) for row in database.ask("runs").records] == [(run, "failed", None)]


@pytest.mark.changes_schema
def test_a_fresh_database_of_another_program_takes_a_run(bare: Store) -> None:
    """Foreign nodes are there before the first migration, with properties that it looks at; an index of theirs serves for ours."""
    foreign = Foreign(bare)
    bare.write("CREATE INDEX theirs FOR (x:Observation) ON (x.run, x.layer)")
    run = bare.ingest(EXAMPLE).run
    foreign.check()
    assert bare.verify(EXAMPLE).ok
    assert len(bare.ask("similar", run=run, feature="L5_F280", limit=8)) == 8
    assert all(row["ok"] for row in bare.ask("audit", run=run).records)


@pytest.mark.changes_schema
@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (
            ["CREATE INDEX feature_uid FOR (x:Person) ON (x.name)"],
            r"the name feature_uid is taken by an index .*Person\(name\): DROP INDEX",
        ),
        (["CREATE CONSTRAINT run_id FOR (x:Person) REQUIRE x.id IS UNIQUE"], r"run_id is taken by a constraint .*DROP CONSTRAINT run_id"),
        (["CREATE INDEX feature_labels FOR (x:Feature) ON (x.label)"], r"the name feature_labels is taken by an index"),
        (["CREATE INDEX affects_run_method FOR ()-[x:LIKES]-() ON (x.run)"], r"affects_run_method is taken .*LIKES\(run\)"),
        (["CREATE INDEX quick FOR (x:Feature) ON (x.uid)"], r"the index quick on Feature\(uid\) stands in the way of .*DROP INDEX quick"),
        (["CREATE FULLTEXT INDEX texts FOR (x:Feature) ON EACH [x.label]"], r"the index texts on Feature\(label\) stands in the way"),
        (
            ["CREATE CONSTRAINT theirs FOR (x:Feature) REQUIRE x.id IS UNIQUE"],
            r"the unique key theirs on Feature\(id\) stands in the way of feature_id.*DROP CONSTRAINT theirs",
        ),
        (["CREATE (:Run {id: 'x'}), (:Run {id: 'x'})"], r"several nodes \(:Run\) with the same id, which another program made"),
    ],
)
def test_what_stands_in_the_way_of_the_schema_is_said_in_one_sentence(bare: Store, statements: list[str], message: str) -> None:
    for statement in statements:
        bare.write(statement)
    with pytest.raises(SchemaMismatch, match=message) as caught:
        bare.ingest(EXAMPLE)
    assert "another home, or --database" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bare.cypher("MATCH (r:Run) WHERE r.n IS NOT NULL RETURN r").empty


@pytest.mark.changes_schema
def test_a_unique_key_of_theirs_under_another_name_serves(bare: Store) -> None:
    bare.write("CREATE CONSTRAINT theirs FOR (x:Feature) REQUIRE x.uid IS UNIQUE")
    bare.ingest(EXAMPLE)
    assert bare.verify(EXAMPLE).ok
    made = bare.cypher("SHOW CONSTRAINTS YIELD name RETURN name")["name"].tolist()
    assert set(made) == {"theirs", *(name for name, *_ in UNIQUE_KEYS)} - {"feature_uid"}


@pytest.mark.changes_schema
def test_the_text_of_a_migration_before_it_was_mended_is_known(database: Store) -> None:
    """Migration 3 once labelled every node called Feature; databases that recorded that text go on."""
    database.migrate()
    database.write("MATCH (v:SchemaVersion {n: 3}) SET v.checksum = 'altered'")
    with pytest.raises(SchemaMismatch, match="applied with another text"):
        database.migrate()
    database.write("MATCH (v:SchemaVersion {n: 3}) SET v.checksum = $c", c=next(iter(FORMER[3])))
    assert database.migrate() == []
    database.write("MATCH (v:SchemaVersion {n: 3}) SET v.checksum = $c", c=migrations()[2].checksum)
