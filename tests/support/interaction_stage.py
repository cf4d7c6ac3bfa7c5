"""A tiny model with text and candidates, ready to be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from feature_graph.activations import collect_activations
from feature_graph.artifacts import CandidateSet, InteractionSet
from feature_graph.config import Config
from feature_graph.interactions import measure_interactions
from ingest.formats import CANDIDATES
from tests.support.tiny_models import Tiny, make_tiny

SAMPLES = 6


def config(**changes: object) -> Config:
    values = {
        "model_name": "tiny",
        "sae_release": "random",
        "layers": [0, 1, 3],
        "context_length": 12,
        "n_tokens": 600,
        "n_intervention_samples": SAMPLES,
        "n_placebo": 5,
        "min_documents": 3,
        "sae_quality": "off",
        "position_horizon": 2,
    }
    return Config(**(values | changes))  # type: ignore[arg-type]


class Stage:
    """A tiny model, its store, and some candidates."""

    def __init__(self, folder: Path, shape: str = "llama", kind: str = "standard", **changes: object) -> None:
        self.tiny: Tiny = make_tiny(shape, kind, n_docs=50)
        self.cfg = config(**changes)
        self.store = collect_activations(self.tiny.model, self.tiny.saes, self.cfg, tokens=self.tiny.tokens, path=folder / "a.h5")
        rng = np.random.default_rng(0)
        pairs = {(s, int(i), t, int(j)) for s, t in self.cfg.layer_pairs for i, j in rng.integers(0, 40, (40, 2))}
        rows = [(*pair, 0.5, 0.25, 10, 0.1, "kept") for pair in sorted(pairs)]
        self.candidates = CandidateSet(pd.DataFrame(rows, columns=CANDIDATES.given), self.store)

    def run(self, **changes: object) -> InteractionSet:
        arguments: dict[str, object] = {"candidates": self.candidates, "cfg": self.cfg, "progress": False} | changes
        return measure_interactions(self.tiny.model, self.tiny.saes, **arguments)  # type: ignore[arg-type]
