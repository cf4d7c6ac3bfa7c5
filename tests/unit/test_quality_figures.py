"""Figures with intervals: of sums by document, and of features that were never active."""

from __future__ import annotations

import numpy as np
import pytest

from feature_graph.evaluation.quality import QualityFigure
from feature_graph.evaluation.quality.figures import figure_of, resamples, unseen_share


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / sums[..., 0]


def test_an_interval_is_that_of_a_mean_over_documents() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(3.0, 1.0, 400)
    found = figure_of(np.stack([np.ones(400), values], axis=1), 400, resamples(400, 4000, 7), mean)
    assert found is not None
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.ci_low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.ci_high == pytest.approx(values.mean() + half, abs=0.01)


def test_documents_weigh_by_their_tokens() -> None:
    found = figure_of(np.array([[1.0, 10.0], [9.0, 0.0]]), 10, resamples(2, 100, 0), mean)
    assert found == QualityFigure(1.0, 10, 0.0, 10.0)


def test_what_is_not_defined_is_none_and_one_document_has_no_interval() -> None:
    drawn = resamples(3, 50, 0)
    assert figure_of(np.zeros((3, 2)), 0, drawn, mean) is None
    assert figure_of(np.zeros((3, 2)), 5, drawn, mean) is None  # 0 / 0
    assert figure_of(np.array([[2.0, 3.0], [0.0, 0.0], [0.0, 0.0]]), 2, drawn, mean) == QualityFigure(1.5, 2, None, None)


def test_resamples_are_those_of_the_seed() -> None:
    assert np.array_equal(resamples(5, 10, 3), resamples(5, 10, 3))
    assert not np.array_equal(resamples(5, 10, 3), resamples(5, 10, 4))
    assert (resamples(5, 10, 3).sum(axis=1) == 5).all()
    assert resamples(0, 10, 3).shape == (10, 0)


def test_unseen_features_are_counted_with_the_jackknife_of_burnham_and_overton() -> None:
    documents_of = np.array([0, 0, 1, 1, 1, 2, 5, 9, 9, 9])
    only_in = np.array([0, 0, 3, 3, 7, 0, 0, 0, 0, 0])
    found = unseen_share(documents_of, only_in, 10, 500)
    assert found is not None
    without = 0.2 + np.array([0, 0, 0, 0.2, 0, 0, 0, 0.1, 0, 0])
    error = np.sqrt(9 / 10 * np.square(without - without.mean()).sum())
    assert (found.value, found.n) == (0.2, 500)
    assert found.ci_low == max(0.0, 0.2 - 1.96 * error)
    assert found.ci_high == pytest.approx(0.2 + 1.96 * error)


def test_where_every_feature_is_often_active_none_is_dead_for_certain() -> None:
    assert unseen_share(np.full(6, 4), np.zeros(6, dtype=np.int64), 8, 100) == QualityFigure(0.0, 100, 0.0, 0.0)
    assert unseen_share(np.zeros(6, dtype=np.int64), np.zeros(6, dtype=np.int64), 1, 100) == QualityFigure(1.0, 100, None, None)
    assert unseen_share(np.zeros(6, dtype=np.int64), np.zeros(6, dtype=np.int64), 0, 0) is None
