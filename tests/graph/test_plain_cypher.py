"""Every statement of docs/cypher.md, run as it is printed on the graph that the page is about, and as the guide fills it in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import neo4j.graph
import pytest

import queries
from feature_graph.database.store import Store
from ingest import Options, Selection, ingest_run
from queries.browser import STATEMENTS, filled, gather
from tests.support.database import EXAMPLE, wipe

pytestmark = pytest.mark.graph

PAGE = Path(__file__).parents[2] / "docs" / "cypher.md"
PRINTED = re.findall(r"^```cypher\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
LAYERS = (2, 5, 8, 11)


@pytest.fixture(scope="module")
def numbers(connected: Store) -> dict[int, int]:
    """The shipped run, and a part of it that was loaded before; number on the page → number in this database."""
    wipe(connected)
    second = ingest_run(connected.driver, EXAMPLE, options=Options(Selection(limit=100)))
    first = connected.ingest(EXAMPLE)
    return {1: first.n, 2: second.n}


def ask(store: Store, text: str) -> list[dict[str, Any]]:
    return [dict(record) for record in store.driver.execute_query(text, routing_=neo4j.RoutingControl.READ).records]


def renumbered(text: str, numbers: dict[int, int]) -> str:
    return re.sub(r"((?<!\w)run: |(?:\.run|scores_run) = )([12])\b", lambda m: f"{m[1]}{numbers[int(m[2])]}", text)


def answer(store: Store, numbers: dict[int, int], name: str) -> list[dict[str, Any]]:
    place = next(i for i, s in enumerate(STATEMENTS) if s.name == f"plain-{name}")
    return ask(store, renumbered(PRINTED[place + 1], numbers))


@pytest.mark.parametrize("text", PRINTED, ids=[f"statement-{i}" for i in range(len(PRINTED))])
def test_what_is_printed_runs_and_answers(connected: Store, numbers: dict[int, int], text: str) -> None:
    rows = ask(connected, renumbered(text, numbers))
    assert rows
    assert all(value is not None for row in rows for name, value in row.items() if name != "other_strength")


def test_the_page_has_ten_statements_and_one_for_the_runs() -> None:
    assert len(PRINTED) == len(STATEMENTS) + 1 == 11


def test_the_guide_fills_in_the_newest_run(connected: Store, numbers: dict[int, int]) -> None:
    facts = gather(connected.driver)
    assert facts is not None
    assert (facts.n, facts.other_n) == (numbers[1], numbers[2])
    for statement in STATEMENTS:
        text = filled(statement, facts)
        assert text is not None, statement.name
        assert "$" not in text
        assert ask(connected, text), statement.name


def test_the_strongest_edges_are_those_of_the_question(connected: Store, numbers: dict[int, int]) -> None:
    run = queries.example_run()
    asked = connected.ask("strongest", run=connected.verify(run).run, edges="all", by="value", limit=20).records
    rows = answer(connected, numbers, "strongest")
    assert [abs(row["strength"]) for row in rows] == pytest.approx([abs(row["value"]) for row in asked])


def test_hubs_are_those_of_the_question(connected: Store, numbers: dict[int, int]) -> None:
    asked = connected.ask("hubs", run=connected.verify(EXAMPLE).run, measure="out_degree", families=False, limit=20).records
    rows = answer(connected, numbers, "hubs")
    assert [row["drives"] for row in rows][:5] == [int(row["score"]) for row in asked][:5]


def test_paths_are_of_strong_edges_of_one_run_from_the_first_layer_to_the_last(connected: Store, numbers: dict[int, int]) -> None:
    for row in answer(connected, numbers, "path"):
        path = row["path"]
        assert (path.start_node["layer"], path.end_node["layer"]) == (LAYERS[0], LAYERS[-1])
        for edge in path.relationships:
            assert (edge["run"], edge["method"], edge["structural"]) == (numbers[1], "clamping", True)
            assert abs(edge["strength"]) >= 0.1


def test_inhibitory_chains_inhibit_twice(connected: Store, numbers: dict[int, int]) -> None:
    for row in answer(connected, numbers, "inhibit"):
        assert [edge["strength"] < 0 for edge in row["path"].relationships] == [True, True]
        assert row["path"].nodes[1] == row["path"].relationships[0].end_node


def test_what_a_person_expects_at_first_sight(connected: Store, numbers: dict[int, int]) -> None:
    feature = ask(connected, "MATCH (f:Feature {id: 'L5_F280'}) RETURN f")[0]["f"]
    seen = ask(connected, f"MATCH (o:Observation {{run: {numbers[1]}, id: 'L5_F280'}}) RETURN o")[0]["o"]
    assert (feature["importance"], feature["density"], feature["scores_run"]) == (seen["importance"], seen["density"], numbers[1])
    plan = connected.driver.execute_query("EXPLAIN MATCH (f:Feature {id: 'L5_F280'}) RETURN f").summary.plan
    assert "NodeIndexSeek" in str(plan)
    runs = ask(connected, "MATCH ()-[e:AFFECTS]->() MATCH (r:Run {n: e.run}) RETURN DISTINCT e.run_id = left(r.id, 8) AS same")
    assert runs == [{"same": True}]


def test_two_runs_differ_where_the_part_lacks_an_edge(connected: Store, numbers: dict[int, int]) -> None:
    rows = answer(connected, numbers, "two-runs")
    assert {row["other_strength"] for row in rows} == {None}
    assert [abs(row["strength"]) for row in rows] == sorted((abs(row["strength"]) for row in rows), reverse=True)
