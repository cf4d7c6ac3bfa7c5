"""A package's face costs no model library: those are imported when a model is at hand, or is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

FACES = [
    "activations",
    "artifacts",
    "candidates",
    "dictionaries",
    "evaluation.planted",
    "interactions",
    "interventions",
]
MODEL_LIBRARIES = ("transformer_lens", "sae_lens", "transformers")


@pytest.mark.parametrize("face", FACES)
def test_a_face_imports_no_model_library(face: str) -> None:
    program = f"import sys, feature_graph.{face}; print(*[name for name in {MODEL_LIBRARIES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
