"""A whole run with ``targets: all``: every stage and the ingest's own checks on what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feature_graph.artifacts import InteractionSet
from feature_graph.config import Config
from feature_graph.pipeline import run
from ingest.formats import FEATURES, read_table
from ingest.rundir import open_run
from ingest.validate import validate
from tests.tiny_run import write_tiny_run


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = write_tiny_run(tmp_path_factory.mktemp("all"), targets="all", max_edges_per_target=4)
    run(made)
    return made


def test_every_stage_goes_on_from_an_exhaustive_run(cfg: Config) -> None:
    root = Path(cfg.output_dir)
    found = InteractionSet.load(root / "interactions.parquet")
    assert len(found) > 20
    assert found.frame["significant"].all()
    assert found.frame.groupby("tgt_id").size().max() <= 4
    features = read_table(root / "features.parquet", FEATURES).to_pandas()
    assert sorted(set(found.frame["src_id"]) | set(found.frame["tgt_id"])) == sorted(features["id"])
    assert features.set_index("id")["fid"].loc[found.frame["src_id"]].tolist() == found.frame["src_fid"].tolist()
    graph = json.loads((root / "graph.json").read_text())
    assert graph["graph"]["tested"] == found.meta["families"]["total"] > len(found)
    assert f"{found.meta['families']['total']:,} pairs of features" in (root / "report.html").read_text()
    checked = validate(open_run(root))
    assert (checked.rows, checked.edges) == (len(found), len(found))


def test_another_cut_keeps_the_measured_blocks(cfg: Config, caplog: pytest.LogCaptureFixture) -> None:
    root = Path(cfg.output_dir)
    before = {path.name: path.stat().st_mtime_ns for path in sorted((root / "measure.parts").glob("*.parquet"))}
    assert before
    run(cfg.model_copy(update={"max_edges_per_target": 1}))
    after = {path.name: path.stat().st_mtime_ns for path in sorted((root / "measure.parts").glob("*.parquet"))}
    assert after == before
    assert InteractionSet.load(root / "interactions.parquet").frame.groupby("tgt_id").size().max() == 1
