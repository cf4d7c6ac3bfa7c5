"""Scores of forecasts: what is exact scores 1, a negative the negative, resamples are what ranking the repeated rows gives."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feature_graph.evaluation.forecasts import BASELINES, EFFECTS, FORECASTERS, forecast_scores, score_rows
from feature_graph.evaluation.forecasts.scores import number_by_size, score, spearman, weighted_ranks


def simulated(n_sources: int = 12, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Pairs whose copied and computed parts are known; the response is the truth plus noise, the edge too, twice as noisy."""
    rng = np.random.default_rng(seed)
    n = n_sources * 40
    cosine = rng.uniform(-0.06, 0.3, n)
    copied, computed = 1.5 * cosine, rng.standard_normal(n)
    truth = copied + computed
    pairs = pd.DataFrame(
        {
            "source": np.repeat([f"L0_F{i}" for i in range(n_sources)], 40),
            "target": [f"L1_F{i}" for i in range(n)],
            "crossed": rng.integers(1, 7, n),
            "often": rng.random(n) < 0.7,
            "on": 0.5,
            "measured": truth,
            "copied": copied,
            "measured_se": 0.1,
            "computed_se": 0.1,
        }
    )
    for half in ("0", "1"):
        pairs[f"measured_{half}"] = truth + 0.2 * rng.standard_normal(n)
        pairs[f"copied_{half}"] = copied
    for name in FORECASTERS:
        pairs[name] = pairs[f"{name} computed"] = rng.standard_normal(n)
    for name, sign in (("cosine", 1), ("−cosine", -1)):
        pairs[name] = pairs[f"{name} computed"] = sign * cosine
    for name, size in (("response", noise), ("edge", 2 * noise)):
        pairs[name] = truth + size * rng.standard_normal(n)
        pairs[f"{name} computed"] = pairs[name] - copied
    return pairs


def test_an_exact_forecast_scores_one_everywhere() -> None:
    found = forecast_scores(simulated(), resamples=20)
    for often in ("often", "rare"):
        assert set(found[often]) == set(EFFECTS)
        for effect in EFFECTS:
            for scores in found[often][effect].values():
                if scores["pairs"] < 8:
                    continue
                for name in ("response", "edge"):
                    assert scores["pooled"][name]["value"] == pytest.approx(1.0)
                    assert scores["sign"][name] == 1.0
                assert scores["pooled"]["response"]["ci"] == pytest.approx([1.0, 1.0])
                assert scores["over_edge"] == {"best": "edge", "value": pytest.approx(0.0), "ci": pytest.approx([0.0, 0.0])}
                assert scores["gain"]["value"] > 0.3


def test_the_negative_of_the_cosine_scores_its_negative() -> None:
    found = score(simulated(), "total", resamples=30)
    for how in ("pooled", "within"):
        one, other = found[how]["cosine"], found[how]["−cosine"]
        assert one["value"] == pytest.approx(-other["value"])
        assert one["ci"] == pytest.approx([-other["ci"][1], -other["ci"][0]])


def test_groups_are_what_they_say() -> None:
    pairs = simulated()
    found = forecast_scores(pairs, resamples=5)
    often = pairs[pairs["often"]]
    assert found["often"]["total"]["all"]["pairs"] == len(often)
    assert found["rare"]["total"]["all"]["pairs"] == len(pairs) - len(often)
    assert found["often"]["total"]["4+"]["pairs"] == (often["crossed"] >= 4).sum()
    assert sum(found["often"]["total"][d]["pairs"] for d in ("1", "2", "3", "4+")) == len(often)
    assert found["often"]["orthogonal"]["2"]["pairs"] == ((often["crossed"] == 2) & (often["cosine"].abs() < 0.02)).sum()
    json.dumps(found, allow_nan=False)


def test_scores_are_spearmans_pooled_and_of_each_source() -> None:
    pairs = simulated(noise=1.0)
    found = score(pairs, "computed", resamples=5)
    truth = pairs["measured"] - pairs["copied"]
    assert found["pooled"]["response"]["value"] == pytest.approx(stats.spearmanr(pairs["response computed"], truth).statistic)
    each = [stats.spearmanr(p["response computed"], p["measured"] - p["copied"]).statistic for _, p in pairs.groupby("source")]
    assert found["within"]["response"]["value"] == pytest.approx(np.mean(each))
    halves = stats.spearmanr(pairs["measured_0"] - pairs["copied_0"], pairs["measured_1"] - pairs["copied_1"]).statistic
    assert found["pooled"]["split half"]["value"] == pytest.approx(halves)
    clear = truth.abs() > 1.96 * 0.1
    assert found["sign"]["response"] == pytest.approx((np.sign(pairs["response computed"]) == np.sign(truth))[clear].mean())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_weighted_ranks_are_those_of_repeated_rows(rows: list[tuple[int, int]]) -> None:
    values, counts = np.array([r[0] for r in rows], dtype=float), np.array([r[1] for r in rows])
    found = weighted_ranks(number_by_size(values), counts.astype(float))
    repeated = stats.rankdata(np.repeat(values, counts))
    np.testing.assert_allclose(np.repeat(found, counts), repeated)


def test_the_best_baseline_is_chosen_anew_in_each_resample() -> None:
    """Two baselines, each right for one half of the sources: in each resample the response is compared with the better one there."""
    pairs = simulated(n_sources=6, noise=0.5)
    first = pairs["source"].isin(pairs["source"].unique()[:3])
    noise = np.random.default_rng(5).standard_normal(len(pairs))
    pairs["paths"], pairs["TWERA"] = np.where(first, pairs["measured"], noise), np.where(first, noise, pairs["measured"])
    found = score(pairs, "total", resamples=300, seed=1)
    rng = np.random.default_rng(1)
    owner, sources = pd.factorize(pairs["source"])
    gains = []
    for counts in rng.multinomial(6, np.full(6, 1 / 6), size=300):
        rows = np.repeat(np.arange(len(pairs)), counts[owner])
        scores = {
            name: stats.spearmanr(pairs[name].iloc[rows], pairs["measured"].iloc[rows]).statistic for name in ("response", *BASELINES)
        }
        gains.append(scores["response"] - max(scores[name] for name in BASELINES))
    assert len(sources) == 6
    assert found["gain"]["ci"] == pytest.approx(np.quantile(gains, (0.025, 0.975)).tolist())
    assert found["gain"]["best"] in {"paths", "TWERA"}


def test_paths_over_one_site_are_the_response_and_no_baseline() -> None:
    pairs = simulated(noise=0.5).assign(paths=lambda table: table["response"])
    assert score(pairs, "total", resamples=5)["gain"]["best"] == "paths"
    found = score(pairs.assign(crossed=1), "total", resamples=5)
    assert found["gain"]["best"] != "paths"
    assert found["gain"]["value"] > 0.3
    assert found["pooled"]["paths"] == found["pooled"]["response"]


def test_too_few_pairs_have_no_score() -> None:
    found = score(simulated(n_sources=1).head(5), "total", resamples=5)
    assert found["pooled"]["response"]["value"] is None
    assert found["gain"] == {"best": None, "value": None, "ci": [None, None]}
    assert score(simulated().head(0), "total", resamples=5)["pairs"] == 0
    assert math.isnan(spearman(np.ones(20), np.arange(20.0)))


def test_rows_of_the_table() -> None:
    found = forecast_scores(simulated(noise=0.3), resamples=10)["often"]["total"]
    rows = list(score_rows(found, lambda v: "–" if v is None else f"{v:.2f}"))
    assert [row[0] for row in rows] == [
        *FORECASTERS, "split half", "response − best baseline", "the same within sources", "response − edge", "pairs",
    ]  # fmt: skip
    assert all(len(row) == 6 for row in rows)
    value = found["1"]["pooled"]["response"]["value"]
    assert rows[0][1].startswith(f"{value:.2f} (")
