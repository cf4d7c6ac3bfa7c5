"""A run with dictionaries on components, made by the pipeline, in Neo4j: loaded, verified, asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import queries
from feature_graph.artifacts import site_sequence
from feature_graph.config import Config
from feature_graph.database.store import Store
from feature_graph.graph import load_graph
from feature_graph.pipeline import run, write_decoders
from ingest import InvalidRun
from tests.graph import twins, twins_runs
from tests.support.commands import Run
from tests.support.database import ALL, same_rows, wipe
from tests.support.mixed_run import NAMES, SITES, write_mixed_run
from tests.support.report_run import words

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = {"candidates": "responses", "shortlist_pairs": 120, "response_documents": 3, "response_samples": 3}
    cfg = write_mixed_run(tmp_path_factory.mktemp("mixed"), **chosen)
    run(cfg)
    return Path(cfg.output_dir)


@pytest.fixture(scope="module")
def here(connected: Store) -> Store:
    """The session's server, emptied once: who ingests a run that is there already has it at once."""
    wipe(connected)
    return connected


def test_every_edge_and_site_arrives_and_is_found_by_its_id(here: Store, command: Run, mixed: Path) -> None:
    loaded = here.ingest(mixed).run
    edges = pd.read_parquet(mixed / "interactions.parquet")
    text = "MATCH (r:Run {id: $run}) MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = r.n RETURN "
    found = here.cypher(text + "e.span AS span, e.total AS total, s.uid AS source, t.uid AS target", run=loaded)
    significant = edges[edges["significant"]]
    uids = pd.read_parquet(mixed / "features.parquet").set_index("id")["uid"]
    pairs = set(zip(significant["src_id"].map(uids), significant["tgt_id"].map(uids), significant["span"], strict=True))
    assert pairs <= set(zip(found["source"], found["target"], found["span"], strict=True))
    assert (significant["span"] == 0).any()
    names = here.fetch_features(loaded)["id"].str.replace(r"_F\d+$", "", regex=True)
    assert set(names) == set(NAMES)
    done = command("verify", mixed)
    assert done.exit_code == 0, done.output


def test_questions_take_features_of_components(here: Store, mixed: Path) -> None:
    loaded = here.ingest(mixed).run
    edges = pd.read_parquet(mixed / "interactions.parquet")
    row = edges[edges["significant"] & edges["src_id"].str.contains("attn") & edges["tgt_id"].str.contains("tc")].iloc[0]
    found = here.ask("neighbours", run=loaded, feature=row["src_id"], direction="out", limit=1000).records
    assert row["tgt_id"] in {record["id"] for record in found}


def test_sites_and_edges_are_those_of_the_graph_in_process(here: Store, mixed: Path) -> None:
    loaded, graph = here.ingest(mixed), load_graph(mixed / "graph.json")
    assert site_sequence(graph).names == tuple(NAMES)
    sites = here.cypher("MATCH (p:Site) RETURN p.name AS name, p.kind AS kind, p.reads AS reads, p.writes AS writes")
    assert sites.sort_values(["reads", "writes"])["name"].tolist() == NAMES
    assert sites.set_index("name")["kind"].loc[NAMES].tolist() == [site.get("kind", "residual") for site in SITES]
    rows = here.fetch_edges(loaded.run)
    assert set(zip(rows["source"], rows["target"], strict=True)) == set(graph.edges)
    layer = {node: data["layer"] for node, data in graph.nodes(data=True)}
    for row in rows.itertuples():
        edge = graph.edges[row.source, row.target]
        assert (row.strength, row.span, row.structural) == (edge["strength"], edge["span"], edge["structural"])
        assert row.blocks == layer[row.target] - layer[row.source]


@pytest.mark.parametrize("name", ["site_flow", "layer_flow", "strongest", "hubs", "quality"])
def test_questions_equal_their_twins(here: Store, mixed: Path, name: str) -> None:
    loaded, template = here.ingest(mixed).run, queries.template(name)
    asked = {"limit": ALL} if "limit" in {p.name for p in template.parameters} else {}
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection")}
    expected = twins.TWINS[name](twins.RunFiles.read(mixed), **defaults | asked)
    assert expected
    same_rows(here.ask(name, run=loaded, **asked).records, expected, ordered=name != "hubs")


#: Questions about behaviours, whose seeds are features of components.
OF_BEHAVIORS: list[tuple[str, dict[str, Any]]] = [
    ("behaviors", {}),
    ("behavior_graph", {"behavior": "greater_than", "hops": 2, "edges": "all"}),
    ("behavior_graph", {"behavior": "spelling", "hops": 1, "edges": "all"}),
    ("shared", {"behavior": "greater_than", "other": "spelling", "edges": "all"}),
    ("behavior_hubs", {"min_behaviors": 1, "edges": "all"}),
    ("seed_paths", {"behavior": "greater_than"}),
]


@pytest.mark.parametrize(("name", "given"), OF_BEHAVIORS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())))
def test_questions_about_behaviours_equal_their_twins(here: Store, mixed: Path, name: str, given: dict[str, Any]) -> None:
    loaded, template = here.ingest(mixed).run, queries.template(name)
    asked = given | ({"limit": ALL} if "limit" in {p.name for p in template.parameters} else {})
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection", "behavior")}
    twin = twins.TWINS.get(name) or getattr(twins_runs, name)
    expected = twin(twins.RunFiles.read(mixed), **defaults | asked)
    assert expected
    same_rows(here.ask(name, run=loaded, **asked).records, expected)


def test_behaviours_arrive_with_seeds_at_components(here: Store, command: Run, mixed: Path) -> None:
    loaded = here.ingest(mixed)
    assert loaded.behaviors == 2
    listed = json.loads((mixed / "behaviors.json").read_text())["behaviors"]
    seeds = {(b["name"], s["id"], s["uid"], s["rank"]) for b in listed for s in b["seeds"]}
    assert {s.partition("_F")[0] for _, s, _, _ in seeds} - {"L0", "L2"}
    text = "MATCH (b:Behavior)-[s:SEEDED_BY]->(f:Feature) RETURN b.name AS name, s.id AS id, f.uid AS uid, s.rank AS rank"
    assert set(here.cypher(text).itertuples(index=False, name=None)) == seeds
    text = "MATCH (b:Behavior)-[m:HAS_MEMBER]->(f:Feature) RETURN b.name AS name, m.id AS id, f.hook AS hook"
    members = here.cypher(text)
    assert set(zip(members["name"], members["id"], strict=True)) == {(b["name"], m) for b in listed for m in b["members"]}
    hooks = dict(zip(NAMES, (site["hook"] for site in json.loads((mixed / "manifest.json").read_text())["saes"].values()), strict=True))
    assert (members["hook"] == members["id"].str.replace(r"_F\d+$", "", regex=True).map(hooks)).all()
    done = command("query", "behaviors", "-p", f"run={loaded.run}")
    assert done.exit_code == 0, done.output


def test_features_of_all_sites_are_found_by_direction(database: Store, mixed: Path, tmp_path: Path) -> None:
    root = shutil.copytree(mixed, tmp_path / "run")
    loaded = database.ingest(root)
    found = pd.read_parquet(write_decoders(Config.load(root / "config.json"), root).path)
    added = database.ingest(root)
    assert (added.already, added.decoders) == (True, len(found)) == (True, loaded.nodes)
    matrix = np.stack(found["decoder"].tolist()).astype(float)
    ids = pd.read_parquet(root / "features.parquet")["id"].tolist()
    own = next(i for i, name in enumerate(ids) if name.startswith("L1.tc"))
    cosines = dict(zip(ids, matrix @ matrix[own], strict=True))
    answer = database.ask("similar", run=loaded.run, feature=ids[own], search="exact", min_cosine=-1.0, limit=1000).records
    assert {row["id"] for row in answer} == {*ids} - {ids[own]}
    assert {row["id"].partition("_F")[0] for row in answer} == {*NAMES}
    assert [row["cosine"] for row in answer] == pytest.approx([cosines[row["id"]] for row in answer], abs=2e-6)
    assert database.verify(root).ok


def test_an_unknown_site_is_refused(database: Store, mixed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(mixed, tmp_path / "run")
    text = (copy / "behaviors.json").read_text()
    seed = json.loads(text)["behaviors"][0]["seeds"][0]["id"]
    (copy / "behaviors.json").write_text(text.replace(f'"{seed}"', '"L1.z_F3"'))
    with pytest.raises(InvalidRun, match=r"seed L1\.z_F3: the run has the sites L0, L1\.attn, L1\.tc, L2, L2\.mlp"):
        database.ingest(copy)


def test_the_report_names_sites(mixed: Path) -> None:
    text = words(mixed / "report.html")
    for piece in ("at 5 sites of 3 layers", "L1.attn → L1.tc", "L1.tc → L2.mlp"):
        assert piece in text, piece
