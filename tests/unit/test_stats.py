"""The arithmetic of tests over documents, against scipy, statsmodels and enumeration by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from feature_graph import stats

finite = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@given(hnp.arrays(np.float64, st.tuples(st.integers(13, 40), st.integers(1, 4)), elements=finite))
def test_t_equals_scipy(means: np.ndarray) -> None:
    means = means + np.random.default_rng(0).normal(size=means.shape)
    found, expected = stats.mean_test(means), scipy_stats.ttest_1samp(means, 0.0)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6, atol=1e-60)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose(found.ci_low, low, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.ci_high, high, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.se, scipy_stats.sem(means), rtol=1e-6)


@settings(max_examples=40)
@given(hnp.arrays(np.int64, st.tuples(st.integers(2, 8), st.integers(1, 3)), elements=st.integers(-10_000, 10_000)))
def test_sign_flip_counts_every_pattern(eighths: np.ndarray) -> None:
    means = eighths / 8  # sums of eighths are exact, so that ties are ties
    signs = np.array(list(itertools.product([-1, 1], repeat=len(means))))
    sums, observed = np.abs(signs @ means), np.abs(means.sum(0))
    expected = (sums >= observed).mean(0)
    np.testing.assert_allclose(stats.mean_test(means).p, expected, atol=1e-12)


@given(hnp.arrays(np.float64, st.integers(2, 30), elements=finite))
def test_p_does_not_depend_on_sign_order_or_scale(means: np.ndarray) -> None:
    p = stats.mean_test(means).p
    assert 0 <= p <= 1
    np.testing.assert_allclose(stats.mean_test(-means).p, p, rtol=1e-6)
    np.testing.assert_allclose(stats.mean_test(means[::-1]).p, p, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(stats.mean_test(means * 8).p, p, rtol=1e-6, atol=1e-12)


def test_no_variance_is_handled() -> None:
    found = stats.mean_test(np.stack([np.full(20, 0.5), np.zeros(20)], axis=1))
    assert found.p[0] < 1e-50
    assert found.p[1] == 1
    noisy = stats.mean_test(np.full((20, 1), 0.5) * (1 + 1e-9 * np.arange(20)[:, None]))
    assert noisy.p[0] == pytest.approx(found.p[0], rel=1e-4)
    assert found.ci_low.tolist() == found.ci_high.tolist() == [0.5, 0.0]
    few = stats.mean_test(np.stack([np.full(6, 0.5), np.zeros(6)], axis=1))
    assert few.p.tolist() == [2 / 2**6, 1.0]


@pytest.mark.parametrize("n", [0, 1])
def test_one_document_proves_nothing(n: int) -> None:
    found = stats.mean_test(np.ones((n, 2)))
    assert found.p.tolist() == [1.0, 1.0]
    assert np.isnan(found.se).all()


def test_the_smallest_p_is_reached_and_not_undercut() -> None:
    for n in (2, 6, 12):
        assert stats.mean_test(np.arange(1.0, n + 1)).p == pytest.approx(stats.smallest_p(n))
    assert stats.smallest_p(13) == 0
    assert stats.smallest_p(1) == 1
    with pytest.raises(ValueError, match="13 documents"):
        stats.sign_flip_p(np.ones(13))


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_samples_are_averaged_within_documents_first(labels: list[int]) -> None:
    values = np.random.default_rng(1).normal(size=(len(labels), 3))
    found = stats.document_means(values, labels)
    for row, document, count in zip(found.values, found.documents, found.counts, strict=True):
        mine = values[np.array(labels) == document]
        assert count == len(mine)
        np.testing.assert_allclose(row, mine.mean(0), atol=1e-12)


def test_averaging_refuses_what_it_cannot_average() -> None:
    with pytest.raises(ValueError, match="one label per sample"):
        stats.document_means(np.ones(3), [0, 1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        stats.document_means([1.0, np.nan], [0, 1])


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(0, 1)), st.sampled_from(["fdr_bh", "fdr_by", "holm", "bonferroni"]))
def test_adjusting_is_statsmodels(p: np.ndarray, method: str) -> None:
    q = stats.adjust(p, method)
    np.testing.assert_allclose(q, multipletests(p, method=method)[1])
    assert (q >= p - 1e-12).all()


def test_adjusting_bad_families() -> None:
    assert stats.adjust([], "fdr_bh").shape == (0,)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.adjust([0.1, np.nan], "fdr_bh")


def test_the_floor_is_the_quantile_or_the_least_effect() -> None:
    placebos = np.array([[-0.4, 0.001], [0.1, 0.002], [0.2, -0.003]])
    np.testing.assert_allclose(stats.placebo_floor(placebos, 0.99, 0.01), [0.4, 0.01])
    np.testing.assert_allclose(stats.placebo_floor(np.zeros((0, 2)), 0.99, 0.01), [0.01, 0.01])
    np.testing.assert_allclose(stats.placebo_share(np.array([0.3, 0.0025]), placebos), [2 / 3, 2 / 3])
    assert np.isnan(stats.placebo_share(np.array([0.3]), np.zeros((0, 1)))).all()


@pytest.mark.parametrize("method", ["fdr_bh", "fdr_by", "bonferroni"])
@pytest.mark.parametrize("p", [2.0**-5, 2.0**-8, 2.0**-11, 1e-9])
def test_edges_needed_in_a_family_too_large_to_write_down(method: str, p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for n_tests in (10, 1_000, 7_777):
        searched = stats.edges_needed(n_tests, p, 0.05, method)
        with monkeypatch.context() as patched:
            patched.setattr(stats, "LARGE_FAMILY", 0)
            assert stats.edges_needed(n_tests, p, 0.05, method) == searched
    assert stats.edges_needed(13_000_000_000, 2.0**-5, 0.05, "fdr_bh") == 8_125_000_001


def test_edges_needed_by_the_correction() -> None:
    p = stats.smallest_p(6)
    assert stats.edges_needed(1000, p, 0.05, "bonferroni") is None
    needed = stats.edges_needed(1000, p, 0.05, "fdr_bh")
    assert needed == 626  # k > p · m / level: 0.03125 · 1000 / 0.05 = 625 gives q = level, which is not below it
    assert stats.edges_needed(0, p, 0.05, "fdr_bh") is None


def test_under_the_null_the_level_is_kept() -> None:
    rng = np.random.default_rng(7)
    for n in (8, 30):
        p = stats.mean_test(rng.normal(size=(n, 4000))).p
        assert (p < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_an_interval_null_is_the_two_sided_test_at_zero_and_counts_both_tails() -> None:
    rng = np.random.default_rng(3)
    means = rng.normal(0.3, 1, (20, 50))
    expected = scipy_stats.ttest_1samp(means, 0).pvalue
    np.testing.assert_allclose(stats.mean_test(means).p, expected, rtol=1e-12)
    m, se = means.mean(0), means.std(0, ddof=1) / np.sqrt(20)
    delta = rng.uniform(0, 0.5, 50)
    t = scipy_stats.t(19)
    both = t.sf((np.abs(m) - delta) / se) + t.sf((np.abs(m) + delta) / se)
    np.testing.assert_allclose(stats.mean_test(means, smallest=delta).p, np.minimum(both, 1), rtol=1e-10)


@pytest.mark.parametrize("n", [8, 30])
def test_an_effect_of_just_the_smallest_size_passes_at_the_level(n: int) -> None:
    """At |mean| = δ the error is the level, whatever the sign; below it, less."""
    rng = np.random.default_rng(n)
    for truth in (0.2, -0.2, 0.0):
        p = stats.mean_test(rng.normal(truth, 1, (n, 20_000)), smallest=0.2).p
        rate = float((p <= 0.05).mean())
        assert rate <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 20_000)
        assert rate >= (0.03 if truth else 0.005)  # the test has the power that it can have


def test_few_documents_are_flipped_around_the_smallest_effect() -> None:
    means = np.array([0.5, 0.7, 0.9, 1.1])
    signs = np.array(list(itertools.product([1, -1], repeat=4)))

    def tail(values: np.ndarray) -> float:
        return float(((signs @ values) >= values.sum() - 1e-12).mean())

    for delta in (0.0, 0.3, 0.6, 2.0):
        expected = min(tail(means - delta) + tail(means + delta), 1.0)
        assert stats.sign_flip_p(means[:, None], delta)[0] == pytest.approx(expected)
        assert stats.sign_flip_p(-means[:, None], delta)[0] == pytest.approx(expected)


def test_pairs_and_their_effects_are_adjusted_level_by_level() -> None:
    """The adjusted p of an effect is the smallest level at which the procedure of Benjamini and Bogomolov finds it."""
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(40, 4)) ** rng.choice([1, 6], size=(40, 1))
    p[rng.uniform(size=p.shape) < 0.2] = np.nan
    pairs, effects = stats.adjust_pairs(p, "fdr_bh")
    for level in (0.01, 0.05, 0.1, 0.3):
        chosen = multipletests([_simes(row) for row in p], method="fdr_bh")[1] <= level
        np.testing.assert_array_equal(pairs <= level, chosen)
        share = level * chosen.sum() / len(p)
        for i, row in enumerate(p):
            tested = np.flatnonzero(~np.isnan(row))
            found = np.zeros(4, dtype=bool)
            if chosen[i]:
                found[tested] = multipletests(row[tested], method="fdr_bh")[1] <= share
            np.testing.assert_array_equal(effects[i] <= level, found)
    np.testing.assert_allclose(np.nanmin(effects, axis=1), pairs, rtol=1e-12)


def _simes(row: np.ndarray) -> float:
    known = np.sort(row[~np.isnan(row)])
    return float((known * len(known) / np.arange(1, len(known) + 1)).min()) if len(known) else 1.0


def test_a_family_wise_correction_takes_all_effects_as_one_family() -> None:
    p = np.array([[0.001, np.nan], [0.02, 0.5]])
    pairs, effects = stats.adjust_pairs(p, "bonferroni")
    np.testing.assert_allclose(effects, [[0.003, 1.0], [0.06, 1.0]])
    np.testing.assert_allclose(pairs, [0.003, 0.06])


def test_falsely_found_effects_stay_within_the_level_over_the_union() -> None:
    """Realised false discoveries, averaged over the chosen pairs, with true and false effects mixed within the pairs."""
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(200):
        truth = rng.uniform(size=(300, 3)) < np.repeat(rng.choice([0.0, 0.5], size=(300, 1), p=[0.7, 0.3]), 3, axis=1)
        z = rng.normal(size=truth.shape) + 4.0 * truth
        pairs, effects = stats.adjust_pairs(2 * scipy_stats.norm.sf(np.abs(z)), "fdr_bh")
        found = effects <= 0.1
        chosen = found.any(1)
        rates.append(float(((found & ~truth).sum(1)[chosen] / found.sum(1)[chosen]).mean()) if chosen.any() else 0.0)
        assert (chosen == (pairs <= 0.1)).all()
    assert np.mean(rates) <= 0.1
