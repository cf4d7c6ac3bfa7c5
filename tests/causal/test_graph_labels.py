"""The worked example's way: measured and built in one process, no feature table in between, and still every node has its label."""

from __future__ import annotations

from pathlib import Path

from feature_graph.activations import collect_activations
from feature_graph.artifacts import InteractionSet, RunPaths
from feature_graph.candidates import identify_candidates
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.graph import build_interaction_graph
from feature_graph.interactions import measure_interactions
from feature_graph.loading import load_model_and_saes
from feature_graph.pipeline import run
from ingest.formats import FEATURES, read_table
from tests.tiny_run import write_tiny_run


def test_nodes_have_the_labels_that_the_pipeline_writes(tmp_path: Path) -> None:
    cfg = write_tiny_run(tmp_path)
    model, saes = load_model_and_saes(cfg)
    store = collect_activations(model, saes, cfg)
    candidates = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=model)
    interactions = measure_interactions(model, saes, candidates, cfg, progress=False)
    graph = build_interaction_graph(interactions, cfg)
    assert graph.number_of_edges() > 0
    assert all(data["label"] for _, data in graph.nodes(data=True))
    interactions.save(tmp_path / "interactions.parquet")
    read = build_interaction_graph(InteractionSet.load(tmp_path / "interactions.parquet"), cfg)
    assert {data["label"] for _, data in read.nodes(data=True)} == {""}  # a file of interactions knows no text
    for stage in ("collect", "atlas", "candidates", "measure"):
        run(cfg, only=stage)
    table = read_table(RunPaths.of(cfg.output_dir).features, FEATURES).to_pandas().set_index("id")
    for name, data in graph.nodes(data=True):
        assert data["label"] == table.loc[name, "label"]
        assert data["uid"] == table.loc[name, "uid"]
        assert data["density"] == table.loc[name, "density"]
