"""A run with several dictionaries a layer in the real database: loaded, verified, its sites, and questions that ask for sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import queries
from feature_graph.database import store as graph_store
from feature_graph.database.store import Store
from ingest import verify_run
from ingest.sites import points_of
from tests.graph import twins, twins_runs
from tests.mixed_runs import PLACES, mixed_run, site_facts
from tests.support.database import ALL, Loaded, same_rows, wipe

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    wipe(connected)
    root = mixed_run(tmp_path_factory.mktemp("mixed") / "run")
    return Loaded(connected.ingest(root).run, twins.RunFiles.read(root), connected)


@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "of a program that counts sites"])
def test_it_is_loaded_verified_and_dropped(loaded: Loaded, tmp_path: Path, foreign: bool) -> None:
    root = mixed_run(tmp_path / "run", seed=9, foreign=foreign)
    report = loaded.store.ingest(root)
    found = verify_run(loaded.store.driver, root)
    assert found.ok, [check for check in found.checks if not check.ok]
    assert all(row["ok"] for row in loaded.store.ask("audit", run=report.run).records)
    spans = loaded.store.cypher("MATCH ()-[e:AFFECTS {run: $n}]->() RETURN DISTINCT e.span AS span, e.blocks AS blocks", n=report.n)
    inside = set(spans.query("blocks == 0")["span"])
    assert inside == ({1, 2, 3} if foreign else {0})
    assert set(spans["blocks"]) == {0, 1, 2, 3}
    loaded.store.drop(report.run)


def test_sites_say_what_they_are_and_where(loaded: Loaded) -> None:
    rows = loaded.store.cypher(
        "MATCH (:Run {id: $run})-[:COVERS]->(p:Site) "
        "RETURN p.name AS name, p.layer AS layer, p.kind AS kind, p.reads AS reads, p.writes AS writes",
        run=loaded.id,
    ).to_dict("records")
    assert {row["name"]: row["kind"] for row in rows} == {place.name: place.kind for place in PLACES}
    for place in PLACES:
        row = next(row for row in rows if row["name"] == place.name)
        assert (row["layer"], row["reads"], row["writes"]) == (
            place.layer,
            6 * place.reads.block + place.reads.tensor,
            6 * place.writes.block + place.writes.tensor,
        )
    assert [points_of(facts)["kind"] for facts in site_facts()] == [place.kind for place in PLACES]
    named = {row["name"] for row in loaded.ask("provenance").records if row["what"] == "site"}
    assert named == {place.name for place in PLACES}


def test_every_edge_leads_from_what_is_written_to_what_is_read_later(loaded: Loaded) -> None:
    """In Cypher alone, by the sites' places."""
    rows = loaded.store.cypher(
        "MATCH (r:Run {id: $run}) MATCH (s:Feature)-[e:AFFECTS {run: r.n}]->(t:Feature) "
        "MATCH (s)<-[:OF]-(a:Observation {run: r.n}) MATCH (t)<-[:OF]-(b:Observation {run: r.n}) "
        "MATCH (r)-[:COVERS]->(p:Site) WHERE a.id STARTS WITH p.name + '_F' "
        "MATCH (r)-[:COVERS]->(q:Site) WHERE b.id STARTS WITH q.name + '_F' "
        "RETURN count(*) AS n, count(DISTINCT e) AS edges, sum(CASE WHEN p.writes < q.reads THEN 1 ELSE 0 END) AS forward",
        run=loaded.id,
    ).iloc[0]
    assert rows["n"] == rows["edges"] == rows["forward"] == len(loaded.files.edges())


@pytest.mark.parametrize("site", ["mlp", "tc"])
def test_relays_of_one_site(loaded: Loaded, site: str) -> None:
    every = loaded.ask("relays", limit=1000).records
    wanted = [row for row in every if twins.at(row["id"], site)]
    same_rows(loaded.ask("relays", site=site, limit=1000).records, wanted)  # sums are not always added in the same order
    assert 0 < len(wanted) < len(every)
    drawn = loaded.ask("relays", site=site, visual=True).rows
    assert drawn
    layer = wanted[0]["layer"]
    same_rows(loaded.ask("relays", site=site, layer=layer, limit=1000).records, [row for row in wanted if row["layer"] == layer])


#: Of block 3 both MLP dictionaries are there, and paths take the transcoder.
LED_THROUGH = {"L2.mlp", "L3.tc", "L5.tc"}


def test_relays_are_features_of_mlp_dictionaries(loaded: Loaded) -> None:
    assert {twins.site_of(row["id"]) for row in loaded.ask("relays", limit=1000).records} == {"L2.mlp", "L3.tc"}  # nothing follows L5.tc
    assert not loaded.ask("relays", site="residual").rows


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("cascade", {"feature": "FIRST", "min_effect": 0.0}),
        ("between", {"source": "FROM", "target": "TO"}),
        ("paths", {"source": "FROM", "target": "TO", "k": 50}),
        ("chain", {}),
        ("relays", {}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_pictures_lead_paths_through_the_same_features(loaded: Loaded, name: str, given: dict[str, Any]) -> None:
    words = {"FIRST": loaded.first_source(), **dict(zip(("FROM", "TO"), loaded.far_pair(), strict=True))}
    rows = loaded.ask(name, visual=True, **{k: words.get(v, v) for k, v in given.items()}).rows
    passed = {node["properties"]["id"] for row in rows for path in row for node in path["nodes"][1:-1]}
    assert passed
    assert {twins.site_of(node) for node in passed} <= LED_THROUGH


@pytest.mark.parametrize("edges", ["structural", "all"])
def test_duplicates_are_of_one_dictionary(loaded: Loaded, edges: str) -> None:
    asked = {"edges": edges, "min_overlap": 0.0, "min_shared": 1, "limit": ALL}
    template = queries.template("duplicates")
    defaults = {p.name: p.default for p in template.parameters if p.type != "run"}
    expected = twins_runs.duplicates(loaded.files, **defaults | asked)
    assert any(row["layer"] == 3 for row in expected)
    same_rows(loaded.ask("duplicates", **asked).records, expected)


def test_scores_are_kept_for_every_site(loaded: Loaded) -> None:
    graph_store.analyze(loaded.store, "pagerank", graph_store.Projection(loaded.id))
    found = loaded.store.cypher("MATCH (o:Observation) WHERE o.pagerank IS NOT NULL RETURN o.id AS id")["id"]
    assert {twins.site_of(name) for name in found} == {place.name for place in PLACES}
