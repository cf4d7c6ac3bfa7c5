"""A package's face costs no model library: those are imported when a model is at hand, or is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import feature_graph

FACES = [
    "activations",
    "analysis",
    "artifacts",
    "bundled",
    "candidates",
    "cli",
    "coactivation",
    "config",
    "database.offline",
    "database.server",
    "database.store",
    "dictionaries",
    "evaluation.calibration",
    "evaluation.forecasts",
    "evaluation.planted",
    "evaluation.pruning_recall",
    "evaluation.validation",
    "graph",
    "interactions",
    "interventions",
    "loading",
    "motifs",
    "pipeline",
    "report",
    "responses",
    "stats",
    "steering",
    "subgraphs",
    "visualization",
]
MODEL_LIBRARIES = ("transformer_lens", "sae_lens", "transformers")


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Face → model libraries that are loaded once it is imported, one face after the other in one process."""
    program = (
        "import importlib, json, sys\nfound = {}\n"
        f"for face in {FACES}:\n"
        "    importlib.import_module(f'feature_graph.{face}')\n"
        f"    found[face] = [name for name in {MODEL_LIBRARIES} if name in sys.modules]\n"
        "print(json.dumps(found))"
    )
    return dict(json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout))


@pytest.mark.parametrize("face", FACES)
def test_a_face_imports_no_model_library(face: str, loaded: dict[str, list[str]]) -> None:
    before = FACES[: FACES.index(face)]
    assert set(loaded[face]) - {name for earlier in before for name in loaded[earlier]} == set()


def test_looking_whether_a_run_is_up_to_date_costs_no_torch() -> None:
    """torch alone takes seconds; ``pipeline`` imports it when a stage runs."""
    program = "import sys\nimport feature_graph.pipeline\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_every_face_is_looked_at() -> None:
    root = Path(feature_graph.__file__).parent
    packages = {path.parent.name for path in root.glob("*/__init__.py")}
    assert {face.split(".")[0] for face in FACES} >= packages
