"""``doctor``: what it finds, and that it says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app, doctor
from feature_graph.cli.doctor import GIB, Finding, checks, needed_disk


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no database, no server of the user's own."""
    monkeypatch.setenv("FEATURE_GRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEATURE_GRAPH_HOME", str(tmp_path / "home"))
    for name in ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD", "NEO4J_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


def found() -> dict[str, Finding]:
    return {check.name: check for check in checks()}


def test_a_good_set_up_with_empty_caches(tmp_path: Path) -> None:
    every = found()
    assert {every[name].state for name in ("Python", "packages", "package queries", "package ingest", "Java", "disk, cache")} == {"ok"}
    assert every["Java"].found.startswith("21.")
    for name, command in (("Neo4j jars", "db start"), ("Neo4j", "db start"), ("bundled model", "run bundled")):
        assert every[name].state == "warning"
        assert command in every[name].advice
    assert "GDS" not in every
    assert list(tmp_path.iterdir()) == [], "looking changes nothing"


def test_another_package_named_queries_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "queries-2.1.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: queries\nVersion: 2.1.1\n")
    (info / "top_level.txt").write_text("queries\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    check = next(check for check in doctor.own_packages() if check.name == "package queries")
    assert check.state == "problem"
    assert check.advice == "pip uninstall queries; pip install --force-reinstall --no-deps feature-graph"


def test_a_server_of_ones_own_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_PASSWORD", "not a password")
    (check,) = doctor.database()
    assert check.state == "problem"
    assert "127.0.0.1:1" in check.found
    assert "not a password" not in check.found


def test_room_that_is_needed_shrinks_with_the_caches(tmp_path: Path) -> None:
    empty = needed_disk()
    model = tmp_path / "cache" / "models" / "smollm2-135m-instruct-0-1"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_text("")
    assert GIB < needed_disk() < empty < 7 * GIB


def test_json_table_and_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.python, doctor.memory, doctor.disk))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    values = json.loads(result.stdout)
    assert [value["name"] for value in values] == ["Python", "memory", "disk, cache", "disk, here"]
    assert result.exit_code == 0
    table = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"])
    assert all(value["name"] in table.stdout for value in values)


def test_a_problem_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.database,))
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 1
