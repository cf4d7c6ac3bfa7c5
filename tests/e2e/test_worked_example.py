"""examples/worked_example: the script runs into a real Neo4j on the bundled model, and the notebook is the script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pandas as pd
import pytest

from feature_graph.database import server
from tests import hublayout
from tests.tiny_run import write_tiny_run

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"layers": [11, 19, 27], "n_tokens": 6_000, "top_k_features": 12, "n_intervention_samples": 16, "importance_tokens": 1_024}
CALLS = [
    "Config(",
    "cfg.save(",
    "setup_logging(",
    "set_seed(",
    "load_model_and_saes(",
    "get_sae_dict_size(",
    "collect_activations(",
    "build_coactivation_atlas(",
    "identify_candidates(",
    "measure_interactions(",
    "build_interaction_graph(",
    "save_graph(",
    "compute_graph_statistics(",
    "find_hubs(",
    "count_motifs(",
    "detect_communities(",
    "render_interactive_graph(",
    "render_neighborhood(",
    "plot_degree_distribution",
    "plot_layer_distance_decay",
    "plot_interaction_type_breakdown",
    "extract_behavior_subgraph(",
    "PREDEFINED_BEHAVIORS",
    "predict_cascade(",
    "render_cascade_overlay(",
]


def test_the_script_covers_every_call_of_the_users_example() -> None:
    ours = (EXAMPLES / "worked_example.py").read_text(encoding="utf-8")
    theirs = (Path(__file__).parents[1] / "data" / "worked_example_user.py").read_text(encoding="utf-8")
    assert [call for call in CALLS if call not in theirs] == []
    assert [call for call in CALLS if call not in ours] == []


def test_the_notebook_is_the_script() -> None:
    script = jupytext.read(EXAMPLES / "worked_example.py")
    notebook = jupytext.read(EXAMPLES / "worked_example.ipynb")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [(cell.cell_type, cell.source) for cell in script.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells), "make it again: jupytext --to ipynb examples/worked_example.py"


def runs_into_neo4j(tmp_path: Path, overrides: dict[str, object]) -> tuple[Path, str]:
    """Run the script in ``tmp_path``; give the folder of its results and what it printed."""
    home = tmp_path / "home"
    env = {
        "EXAMPLE_OVERRIDES": json.dumps(overrides),
        "EXAMPLE_HOME": str(home),
        "PLOTLY_RENDERER": "json",
        "PYTHONPATH": str(EXAMPLES.parent),
    }
    try:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "worked_example.py")],
            env=hublayout.apply(env),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.stop(home)
    assert done.returncode == 0, done.stderr[-6000:] + done.stdout[-3000:]
    out = tmp_path / "outputs" / "example"
    for name in ("full_graph.html", "factual_recall_subgraph.html", "behaviors.json", "graph.json", "features.parquet"):
        assert (out / name).stat().st_size > 100, name
    assert json.loads((out / "graph.json").read_text())["nodes"]
    assert "ready" in done.stdout  # the run in the database
    return out, done.stdout


@pytest.mark.slow
@pytest.mark.graph
def test_the_script_runs_into_neo4j_on_a_model_of_ones_own(tmp_path: Path) -> None:
    cfg = write_tiny_run(tmp_path)
    overrides = cfg.model_dump(mode="json", exclude_unset=True, exclude={"output_dir"})
    out, said = runs_into_neo4j(tmp_path, overrides)
    assert f"layers [0, 1, 2] of {tmp_path / 'model'}, top 6 features each" in said
    interactions = pd.read_parquet(out / "interactions.parquet")
    assert interactions["significant"].any()
    assert re.search(r"in all: \d+ features, summed \|change\|", said)  # the cascade


@pytest.mark.long
@pytest.mark.model
@pytest.mark.graph
@pytest.mark.timeout(1800)
def test_the_script_runs_into_neo4j_on_the_bundled_model(tmp_path: Path) -> None:
    out, _ = runs_into_neo4j(tmp_path, SMALL)
    recall = json.loads((out / "behaviors.json").read_text())["behaviors"][0]
    assert recall["clean"] > 2  # logits: the model knows its capitals
    assert recall["accuracy"] > 0.8
