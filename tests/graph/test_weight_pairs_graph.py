"""A mixed run with the pairs between which nothing is computed: through the pipeline, in Neo4j, in the report, and steered."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from feature_graph.database.store import Store
from feature_graph.graph import load_graph
from feature_graph.pipeline import run
from feature_graph.steering import predict_cascade
from tests.graph import twins
from tests.support.commands import Run
from tests.support.database import ALL, same_rows
from tests.support.mixed_run import write_mixed_run
from tests.support.report_run import words

pytestmark = pytest.mark.graph


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = {"candidates": "responses", "shortlist_pairs": 240, "response_documents": 3, "response_samples": 3, "weight_pairs": True}
    cfg = write_mixed_run(tmp_path_factory.mktemp("weighted"), **chosen)
    run(cfg)
    return Path(cfg.output_dir)


def weights_of(root: Path) -> pd.DataFrame:
    """Significant edges from the MLP of block 2 to the stream after it."""
    edges = pd.read_parquet(root / "interactions.parquet")
    return edges[edges["significant"] & edges["src_id"].str.startswith("L2.mlp_F") & edges["tgt_id"].str.startswith("L2_F")]


def test_the_edges_arrive_and_are_found_by_a_question(database: Store, command: Run, weighted: Path) -> None:
    loaded, own = database.ingest(weighted).run, weights_of(weighted)
    assert len(own) > 3
    assert (own["span"] == 0).all()
    source = own["src_id"].iloc[0]
    found = database.ask("neighbours", run=loaded, feature=source, direction="out", limit=1000).records
    expected = own[own["src_id"] == source].set_index("tgt_id")
    assert {row["id"] for row in found} == {*expected.index}  # nothing else lies after it
    for row in found:
        edge = expected.loc[row["id"]]
        assert row["strength"] == pytest.approx(edge["mean_strength"])
        assert row["computed"] == pytest.approx(0, abs=1e-5)
        assert row["specific"] == pytest.approx(0, abs=1e-5)
        assert row["span"] == 0
    assert command("verify", weighted).exit_code == 0


@pytest.mark.parametrize("name", ["site_flow", "layer_flow", "strongest", "quality"])
def test_questions_equal_their_twins(database: Store, weighted: Path, name: str) -> None:
    loaded, template = database.ingest(weighted).run, queries.template(name)
    asked = {"limit": ALL} if "limit" in {p.name for p in template.parameters} else {}
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection")}
    expected = twins.TWINS[name](twins.RunFiles.read(weighted), **defaults | asked)
    assert expected
    same_rows(database.ask(name, run=loaded, **asked).records, expected)


def test_the_report_names_the_pair_of_sites(weighted: Path) -> None:
    assert "L2.mlp → L2" in words(weighted / "report.html")


def test_paths_count_a_weight_once(weighted: Path) -> None:
    graph, own = load_graph(weighted / "graph.json"), weights_of(weighted)
    for source, edges in own.groupby("src_id"):
        found = predict_cascade(graph, str(source), 1.0, min_effect=0.0, by="paths")
        assert found.path_sums == pytest.approx(dict(zip(edges["tgt_id"], edges["mean_strength"], strict=True)))


def test_a_steer_is_read_where_the_weight_leads(weighted: Path) -> None:
    own = weights_of(weighted)
    source = own["src_id"].value_counts().index[0]
    asked = ["--quiet", "steer", str(weighted), "--feature", source, "--delta", "0.25", "--json"]
    result = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    features = pd.DataFrame(json.loads(result.stdout)["side_effects"]["features"]).set_index("feature")
    reached = own.loc[own["src_id"] == source, "tgt_id"]
    assert {*reached} <= {*features.index}
    assert {name.partition("_F")[0] for name in features.index} == {"L2"}
    assert (features.loc[reached, "measured"].abs() > 0).any()
