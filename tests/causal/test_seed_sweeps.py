"""Planted truth over more seeds than CI has time for."""

from __future__ import annotations

import pytest

from feature_graph.evaluation.calibration.variants import measure_variant
from feature_graph.evaluation.planted import COMPONENT_VARIANTS, VARIANTS
from tests.support.variants import OPPOSING, n_planted, opposing

pytestmark = [pytest.mark.long, pytest.mark.slow]


@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_what_is_planted_comes_back_whatever_the_seed(name: str, seed: int) -> None:
    cell = measure_variant(name, seed=seed)
    assert (cell["missed"], cell["false"]) == ([], [])
    assert cell["n_signs"] == cell["n_planted"] == n_planted(name)
    assert opposing(cell["types"]) == OPPOSING.get(name, {})
    assert (cell["n_decoys_found"], cell["n_faint_found"]) == (0, 0)


@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("name", list(COMPONENT_VARIANTS))
def test_dictionaries_on_components_find_it_whatever_the_seed(name: str, seed: int) -> None:
    cell = measure_variant(name, seed=seed)
    assert (cell["missed"], cell["false"]) == ([], [])
    assert cell["n_signs"] == cell["n_planted"] > 10
    assert max(error for errors in cell["errors"].values() for error in errors) < 1e-4
