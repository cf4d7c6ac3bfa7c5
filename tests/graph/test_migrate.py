"""``db migrate`` on the real server: a fresh database, one behind, a newer one, altered ones; and what it would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.database.store import Store
from ingest import SchemaMismatch, schema
from ingest.migrations import migrations
from tests.support.database import EXAMPLE

pytestmark = [pytest.mark.graph, pytest.mark.changes_schema]

LAST = migrations()[-1]


@pytest.fixture
def migrated(database: Store) -> Iterator[Store]:
    """The session's server, migrated; its record of migrations is put back whatever a test did to it."""
    database.migrate()
    before = database.cypher("MATCH (v:SchemaVersion) RETURN properties(v) AS v")["v"].tolist()
    yield database
    database.write("MATCH (v:SchemaVersion) DETACH DELETE v")
    database.write("UNWIND $all AS one CREATE (v:SchemaVersion) SET v = one", all=before)
    assert database.migrate() == []


@pytest.fixture
def command(neo4j_server: server.Connection, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)
    return lambda *words: CliRunner().invoke(app, ["db", "migrate", *words, "--uri", neo4j_server.uri])


def recorded(store: Store) -> list[int]:
    return store.cypher("MATCH (v:SchemaVersion) RETURN v.n AS n ORDER BY n")["n"].tolist()


def forget(store: Store, n: int) -> None:
    store.write("MATCH (v:SchemaVersion {n: $n}) DELETE v", n=n)


def test_a_fresh_database_gets_all(migrated: Store, command: Callable[..., Any]) -> None:
    for index in schema.INDEXES:
        migrated.write(f"DROP INDEX {index.name} IF EXISTS")
    for n in recorded(migrated):
        forget(migrated, n)
    dry = command("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.output.count("would be applied") == len(migrations()) + 1
    assert f"{len(migrations())} would be applied; nothing was written" in dry.output
    assert recorded(migrated) == []
    done = command()
    assert f"{len(migrations())} applied; the schema is up to date" in done.output
    assert recorded(migrated) == [m.n for m in migrations()]
    there = set(migrated.cypher("SHOW INDEXES YIELD name, state WHERE state = 'ONLINE' RETURN name")["name"])
    assert {index.name for index in schema.INDEXES} <= there
    assert "0 applied" in command().output


def test_one_behind_gets_that_one_by_the_command_or_by_a_load(migrated: Store, command: Callable[..., Any]) -> None:
    forget(migrated, LAST.n)
    dry = command("--dry-run")
    assert "1 would be applied; nothing was written" in dry.output
    assert LAST.n not in recorded(migrated)
    assert "1 applied" in command().output
    forget(migrated, LAST.n)
    migrated.ingest(EXAMPLE)
    assert recorded(migrated) == [m.n for m in migrations()]
    checksums = migrated.cypher("MATCH (v:SchemaVersion) RETURN v.checksum AS c ORDER BY v.n")["c"].tolist()
    assert checksums == [m.checksum for m in migrations()]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        ("CREATE (:SchemaVersion {n: 99, checksum: 'x'})", "the database has schema version 99, this program knows"),
        ("MATCH (v:SchemaVersion {n: 2}) SET v.checksum = 'altered'", r"0002_decoder_vectors\.cypher was applied with another text"),
        ("MATCH (v:SchemaVersion {n: 2}) REMOVE v.checksum", r"0002_decoder_vectors\.cypher was applied with another text"),
        ("MATCH (v:SchemaVersion {n: 1}) DELETE v", "and not 1: its record of migrations was altered"),
    ],
)
def test_a_newer_or_an_altered_history_is_refused(migrated: Store, command: Callable[..., Any], alter: str, message: str) -> None:
    migrated.write(alter)
    before = recorded(migrated)
    for attempt in (migrated.migrate, migrated.schema_history, lambda: migrated.ingest(EXAMPLE)):
        with pytest.raises(SchemaMismatch, match=message):
            attempt()
    for words in ([], ["--dry-run"]):
        done = command(*words)
        assert done.exit_code == 1
        assert "Traceback" not in done.output
        assert "error:" in done.output
    assert recorded(migrated) == before
    assert migrated.cypher("MATCH (r:Run) RETURN r").empty
