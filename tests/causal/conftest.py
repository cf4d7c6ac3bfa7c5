"""Small models of every supported shape, dictionaries for them, and the planted model."""

from __future__ import annotations

import pytest

from feature_graph.evaluation.calibration.pairs import all_pairs as all_pairs
from feature_graph.evaluation.planted import PlantedModel, planted_model


@pytest.fixture(scope="session")
def planted() -> PlantedModel:
    return planted_model(seed=0)
