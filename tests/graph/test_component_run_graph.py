"""A run with dictionaries on components, made by the pipeline, in Neo4j: loaded, verified, asked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from feature_graph.database.store import Store
from feature_graph.pipeline import run
from tests.support.commands import Run
from tests.support.mixed_run import NAMES, write_mixed_run

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
