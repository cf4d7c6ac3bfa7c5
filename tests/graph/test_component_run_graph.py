"""A run with dictionaries on components, made by the pipeline, in Neo4j: loaded, verified, asked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import queries
from feature_graph.artifacts import site_sequence
from feature_graph.database.store import Store
from feature_graph.graph import load_graph
from feature_graph.pipeline import run
from tests.graph import twins
from tests.support.commands import Run
from tests.support.database import ALL, same_rows
from tests.support.mixed_run import NAMES, SITES, write_mixed_run
from tests.support.report_run import words

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cfg = write_mixed_run(tmp_path_factory.mktemp("mixed"))
    run(cfg)
    return Path(cfg.output_dir)


def test_every_edge_and_site_arrives_and_is_found_by_its_id(database: Store, command: Run, mixed: Path) -> None:
    loaded = database.ingest(mixed).run
    edges = pd.read_parquet(mixed / "interactions.parquet")
    text = "MATCH (r:Run {id: $run}) MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = r.n RETURN "
    found = database.cypher(text + "e.span AS span, e.total AS total, s.uid AS source, t.uid AS target", run=loaded)
    significant = edges[edges["significant"]]
    uids = pd.read_parquet(mixed / "features.parquet").set_index("id")["uid"]
    pairs = set(zip(significant["src_id"].map(uids), significant["tgt_id"].map(uids), significant["span"], strict=True))
    assert pairs <= set(zip(found["source"], found["target"], found["span"], strict=True))
    assert (significant["span"] == 0).any()
    names = database.fetch_features(loaded)["id"].str.replace(r"_F\d+$", "", regex=True)
    assert set(names) == set(NAMES)
    done = command("verify", mixed)
    assert done.exit_code == 0, done.output


def test_questions_take_features_of_components(database: Store, mixed: Path) -> None:
    loaded = database.ingest(mixed).run
    edges = pd.read_parquet(mixed / "interactions.parquet")
    row = edges[edges["significant"] & edges["src_id"].str.contains("attn") & edges["tgt_id"].str.contains("tc")].iloc[0]
    found = database.ask("neighbours", run=loaded, feature=row["src_id"], direction="out", limit=1000).records
    assert row["tgt_id"] in {record["id"] for record in found}


def test_sites_and_edges_are_those_of_the_graph_in_process(database: Store, mixed: Path) -> None:
    loaded, graph = database.ingest(mixed), load_graph(mixed / "graph.json")
    assert site_sequence(graph).names == tuple(NAMES)
    sites = database.cypher("MATCH (p:Site) RETURN p.name AS name, p.kind AS kind, p.reads AS reads, p.writes AS writes")
    assert sites.sort_values(["reads", "writes"])["name"].tolist() == NAMES
    assert sites.set_index("name")["kind"].loc[NAMES].tolist() == [site.get("kind", "residual") for site in SITES]
    rows = database.fetch_edges(loaded.run)
    assert set(zip(rows["source"], rows["target"], strict=True)) == set(graph.edges)
    layer = {node: data["layer"] for node, data in graph.nodes(data=True)}
    for row in rows.itertuples():
        edge = graph.edges[row.source, row.target]
        assert (row.strength, row.span, row.structural) == (edge["strength"], edge["span"], edge["structural"])
        assert row.blocks == layer[row.target] - layer[row.source]


@pytest.mark.parametrize("name", ["site_flow", "layer_flow", "strongest", "hubs", "quality"])
def test_questions_equal_their_twins(database: Store, mixed: Path, name: str) -> None:
    loaded, template = database.ingest(mixed).run, queries.template(name)
    asked = {"limit": ALL} if "limit" in {p.name for p in template.parameters} else {}
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection")}
    expected = twins.TWINS[name](twins.RunFiles.read(mixed), **defaults | asked)
    assert expected
    same_rows(database.ask(name, run=loaded, **asked).records, expected, ordered=name != "hubs")


def test_the_report_names_sites(mixed: Path) -> None:
    text = words(mixed / "report.html")
    for piece in ("at 5 sites of 3 layers", "L1.attn → L1.tc", "L1.tc → L2.mlp"):
        assert piece in text, piece
