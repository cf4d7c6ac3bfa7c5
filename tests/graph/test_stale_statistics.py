"""Questions on a server whose indexes were last counted while they were empty, as every index is for some seconds after a load.

A statement that looks a family up by its index at every edge is fast in such a plan's estimate, and quadratic in truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic import write_run
from feature_graph.database import server, store
from feature_graph.database.server import settings
from feature_graph.database.store import Store
from ingest import load
from queries.library import names, template, text
from queries.runner import check_parameters

pytestmark = [pytest.mark.graph, pytest.mark.slow, pytest.mark.timeout(900)]

#: Edges and features of a small run, and how many times as many of both the large one has.
EDGES, FEATURES, TIMES = 800, 105, 8
BY_FAMILY = ["hubs", "family_hubs", "communities", "community_of", "boundary", "cores"]


@pytest.fixture(scope="module")
def never_counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A server that does not count its indexes by itself."""
    home, conf = tmp_path_factory.mktemp("stale") / "home", settings.server_conf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "server_conf", lambda *given: conf(*given) | {"db.index_sampling.background_enabled": "false"})
        try:
            where = server.start(home, heap="1g", page_cache="256m", quick=True).connection()
            with store.connect(where.uri, where.username, where.password) as opened:
                yield opened
        finally:
            server.stop(home)


@pytest.fixture(scope="module")
def runs(never_counted: Store, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ids of a small run and of one that has more of everything."""
    root = tmp_path_factory.mktemp("runs")
    folders = [write_run(root / str(times), times * EDGES, sites=7, features=times * FEATURES) for times in (1, TIMES)]
    return [never_counted.ingest(folder).run for folder in folders]


def accesses(opened: Store, statement: str, parameters: dict[str, Any]) -> int:
    """How often a statement looked into the store."""
    with opened.driver.session(database=opened.database) as session:
        plan = session.run(f"PROFILE {statement}", parameters).consume().profile
    assert plan is not None
    return sum(_hits(plan))


def _hits(plan: dict[str, Any]) -> Iterator[int]:
    yield plan.get("dbHits", 0)
    for child in plan.get("children", []):
        yield from _hits(child)


def asked(opened: Store, name: str, run: str) -> dict[str, Any]:
    """A question's parameters by default, about a run of the one method of made-up runs."""
    first = opened.cypher("MATCH (r:Run {id: $run}) MATCH (o:Observation {run: r.n}) RETURN o.id AS id ORDER BY id LIMIT 1", run=run)["id"][
        0
    ]
    found = template(name)
    given = {p.name: first for p in found.parameters if p.type == "feature" and p.required}
    values = check_parameters(found, given) | {"run": run, "method": "clamping", "effect": "specific", "graph": f"{name}-{run}"}
    return {key: value for key, value in values.items() if f"${key}" in text(name)}


@pytest.mark.parametrize("name", BY_FAMILY)
def test_accesses_grow_with_the_edges_and_not_with_their_square(never_counted: Store, runs: list[str], name: str) -> None:
    few, many = (accesses(never_counted, text(name), asked(never_counted, name, run)) for run in runs)
    assert many < 2 * TIMES * few


def test_every_question_that_asks_for_families_is_in_the_list() -> None:
    assert sorted(name for name in names() if "[:MEMBER_OF" in text(name)) == sorted([*BY_FAMILY, "families"])


def test_a_large_load_has_the_indexes_counted_again(
    never_counted: Store, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def families() -> int:
        data = never_counted.cypher("CALL db.stats.retrieve('GRAPH COUNTS') YIELD data RETURN data")["data"][0]
        (size,) = (i["totalSize"] for i in data["indexes"] if i.get("labels") == ["Family"] and i["properties"] == ["run", "method"])
        return int(size)

    assert families() == 0
    monkeypatch.setattr(load, "REPLANNED_EDGES", EDGES)
    never_counted.ingest(write_run(tmp_path / "run", EDGES, sites=7, features=FEATURES, seed=1))
    assert families() == never_counted.cypher("MATCH (x:Family) RETURN count(x) AS n")["n"][0]
