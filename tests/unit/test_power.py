"""How many samples power asks for, by paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from feature_graph import stats
from feature_graph.config import Config
from feature_graph.interactions.power import samples_wanted


def rows(mean: float, sd: float, *, computed: float = 0.0, smallest: float = 0.01, n: int = 30) -> pd.DataFrame:
    """One pair measured on 30 documents."""
    error = sd / np.sqrt(n)
    values = {"src_layer": 3, "src_index": 7, "mean_strength": mean, "se": error, "computed_strength": computed, "se_computed": error}
    return pd.DataFrame([values | {"smallest": smallest, "n_documents": n}])


CFG = Config(n_intervention_samples=30, sample_doublings=5)


@pytest.mark.parametrize(
    ("mean", "sd", "samples"),
    [
        (1.0, 0.5, 30),  # found anyway
        (0.2, 0.3, 60),  # (3.65 · 0.3 / 0.19)² = 33
        (0.1, 0.3, 240),  # 148
        (0.1, 3.0, 960),  # more than five doublings
        (0.04, 0.3, 30),  # less than five times the smallest effect: not what more samples are for
        (0.0, 5.0, 30),
        (0.2, 0.0, 30),
    ],
)
def test_samples_double_until_the_effect_is_found(mean: float, sd: float, samples: int) -> None:
    assert samples_wanted(rows(mean, sd), CFG) == {(3, 7): samples}


def test_the_computed_effect_counts_as_well_and_the_neediest_pair_decides() -> None:
    both = pd.concat([rows(1.0, 0.1), rows(0.0, 0.3, computed=0.1)], ignore_index=True)
    assert samples_wanted(both, CFG) == {(3, 7): 240}


def test_so_many_documents_find_four_of_five_such_effects() -> None:
    rng = np.random.default_rng(0)
    needed = round(((2.81 + 0.84) * 0.3 / 0.09) ** 2)
    p = stats.mean_test(rng.normal(0.1, 0.3, (needed, 4000)), smallest=0.01).p
    assert (p <= scipy_stats.norm.sf(2.81)).mean() == pytest.approx(0.8, abs=0.04)
