"""A run of a million edges: loaded, compared, asked, dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.synthetic import write_run
from feature_graph.database import server, store
from feature_graph.database.store import Store

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.graph, pytest.mark.timeout(3600)]

EDGES = 1_000_000


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Store]:
    """A database of its own, with memory for a million edges."""
    home = tmp_path / "home"
    try:
        where = server.start(home, heap="2g", page_cache="1g", quick=True).connection()
        with store.connect(where.uri, where.username, where.password) as opened:
            yield opened
    finally:
        server.stop(home)


def test_it_is_loaded_whole_answers_and_goes_without_a_trace(roomy: Store, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", EDGES, sites=7)
    report = roomy.ingest(run_dir)
    assert report.edges == EDGES
    assert roomy.verify(run_dir).ok
    hub = roomy.ask("hubs", run=report.run, measure="out_degree", limit=1).records[0]
    assert hub["outgoing"] == hub["score"]
    assert len(roomy.ask("strongest", run=report.run, limit=10).records) == 10
    assert len(roomy.ask("cascade", run=report.run, feature=hub["id"], limit=10).records) == 10
    gone = roomy.drop(report.run)
    assert gone.deleted["edges"] == EDGES
    left = roomy.cypher("MATCH (x) WHERE NOT x:SchemaVersion AND NOT x:Run RETURN DISTINCT labels(x) AS labels")
    assert not {"Feature", "Observation", "IngestBatch"} & {name for names in left["labels"] for name in names}
