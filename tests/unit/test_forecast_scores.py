"""Scores of forecasts: what is exact scores 1, a negative the negative, resamples are what ranking the repeated rows gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feature_graph.evaluation.forecasts import BASELINES, BOOTSTRAP, EFFECTS, FORECASTERS, ComparedForecasts, forecast_scores, score_rows
from feature_graph.evaluation.forecasts.bootstrap import DocumentTruth, two_way
from feature_graph.evaluation.forecasts.ranks import number_by_size, row_ranks, spearman, weighted_ranks
from feature_graph.evaluation.forecasts.scores import score
from scripts.figures.forecasts import figures


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


def compared(pairs: pd.DataFrame, noise: float = 0.0, documents: int = 10, slots: int = 6) -> ComparedForecasts:
    """What was measured of each pair, in six of ten documents per source, with noise that is 0 on average."""
    rng = np.random.default_rng(9)
    owner, sources = pd.factorize(pairs["source"])
    chosen = np.array([np.sort(rng.permutation(documents)[:slots]) for _ in sources], dtype=np.int64).reshape(-1, slots)
    apart = noise * rng.standard_normal((len(pairs), slots))
    apart -= apart.mean(axis=1, keepdims=True)
    total, copied = (pairs[name].to_numpy()[:, None] + part for name, part in (("measured", apart), ("copied", np.zeros_like(apart))))
    return ComparedForecasts(pairs, chosen[owner], total.astype(np.float32), copied.astype(np.float32))


def test_an_exact_forecast_scores_one_everywhere() -> None:
    found = forecast_scores(compared(simulated()), resamples=20)
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
    found = score(compared(simulated()), "total", resamples=30)
    for how in ("pooled", "within"):
        one, other = found[how]["cosine"], found[how]["−cosine"]
        assert one["value"] == pytest.approx(-other["value"])
        assert one["ci"] == pytest.approx([-other["ci"][1], -other["ci"][0]])


def test_groups_are_what_they_say() -> None:
    pairs = simulated()
    found = forecast_scores(compared(pairs), resamples=5)
    often = pairs[pairs["often"]]
    assert found["often"]["total"]["all"]["pairs"] == len(often)
    assert found["rare"]["total"]["all"]["pairs"] == len(pairs) - len(often)
    assert found["often"]["total"]["4+"]["pairs"] == (often["crossed"] >= 4).sum()
    assert sum(found["often"]["total"][d]["pairs"] for d in ("1", "2", "3", "4+")) == len(often)
    assert found["often"]["orthogonal"]["2"]["pairs"] == ((often["crossed"] == 2) & (often["cosine"].abs() < 0.02)).sum()
    json.dumps(found, allow_nan=False)


def test_scores_are_spearmans_pooled_and_of_each_source() -> None:
    pairs = simulated(noise=1.0)
    found = score(compared(pairs), "computed", resamples=5)
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


def test_resamples_are_repeated_rows_with_the_truth_of_the_drawn_documents() -> None:
    """Two baselines, each right for one half of the sources: in each resample the response is compared with the better one there."""
    pairs = simulated(n_sources=6, noise=0.5)
    first = pairs["source"].isin(pairs["source"].unique()[:3])
    noise = np.random.default_rng(5).standard_normal(len(pairs))
    pairs["paths"], pairs["TWERA"] = np.where(first, pairs["measured"], noise), np.where(first, noise, pairs["measured"])
    known = compared(pairs, noise=2.0, documents=9, slots=3)
    found = score(known, "total", resamples=200, seed=1)
    rng = np.random.default_rng(1)
    owner, _ = pd.factorize(pairs["source"])
    used, slots = np.unique(known.documents, return_inverse=True)
    sources, documents = (rng.multinomial(n, np.full(n, 1 / n), size=200) for n in (6, len(used)))
    scores, left_out = [], 0
    for counts, drawn in zip(sources, documents, strict=True):
        weights = drawn[slots.reshape(-1, 3)]
        seen = weights.sum(axis=1) > 0
        left_out += int((~seen).any())
        truth = (weights * known.total).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
        rows = np.repeat(np.arange(len(pairs)), counts[owner] * seen)
        scores.append(pairs[list(FORECASTERS)].iloc[rows].apply(lambda column, t=truth[rows]: stats.spearmanr(column, t).statistic))
    table = pd.DataFrame(scores)
    values = pairs[list(FORECASTERS)].apply(lambda column: stats.spearmanr(column, pairs["measured"]).statistic)
    kept = values @ table.mean() / (values @ values)
    table = (table / kept).clip(-1, 1)
    assert 0.71 < kept < 0.95
    gains = table["response"] - table[list(BASELINES)].max(axis=1)
    assert left_out > 10
    assert found["documents"] == len(used)
    assert found["pooled"]["response"]["ci"] == pytest.approx(table["response"].quantile([0.025, 0.975]).tolist())
    assert found["gain"]["ci"] == pytest.approx(gains.quantile([0.025, 0.975]).tolist())
    assert found["gain"]["best"] in {"paths", "TWERA"}
    each = [stats.spearmanr(part["response"], part["measured"]).statistic for _, part in pairs.groupby("source", sort=False)]
    low, high = found["within"]["response"]["ci"]
    assert low < np.mean(each) < high


def world(rng: np.random.Generator, shared: float, noise: float) -> tuple[dict[str, np.ndarray], DocumentTruth]:
    """15 sources × 30 targets in 12 documents: a forecast, and effects whose slopes on it differ by source and by document."""
    owner = np.repeat(np.arange(15), 30)
    forecast = rng.standard_normal(len(owner))
    slopes = 1 + 0.2 * rng.standard_normal(15)[owner, None] + shared * rng.standard_normal(12)
    parts = slopes * forecast[:, None] + noise * rng.standard_normal((len(owner), 12))
    slots = np.tile(np.arange(12), (len(owner), 1))
    return {"forecast": forecast}, DocumentTruth(parts.mean(axis=1), parts.astype(np.float32), slots, owner)


def test_intervals_cover_what_other_sources_and_documents_would_give() -> None:
    """With documents that strengthen or weaken the effects of all sources, sources alone give intervals that are too narrow."""
    rng, values, found = np.random.default_rng(17), [], []
    for seed in range(60):
        columns, truth = world(rng, shared=1.2, noise=4.0)
        one = DocumentTruth(
            truth.whole, truth.whole[:, None].astype(np.float32), np.zeros((len(truth.owner), 1), dtype=np.int64), truth.owner
        )
        both, alone = (two_way(columns, some, 60, seed).pooled["forecast"] for some in (truth, one))
        values.append(both[0])
        found.append([np.quantile(some[1:], (0.025, 0.975)) for some in (both, alone)])
        assert both[0] == alone[0] == pytest.approx(stats.spearmanr(columns["forecast"], truth.whole).statistic)
    covered = [np.mean([low <= np.mean(values) <= high for low, high in some]) for some in zip(*found, strict=True)]
    assert 0.88 <= covered[0] <= 0.99
    assert covered[1] < 0.7


def test_a_noisy_truth_makes_no_interval_lie_below_its_value() -> None:
    """Documents drawn with replacement have twice the noise: without the factor, correlations would be a fifth lower than they are."""
    columns, truth = world(np.random.default_rng(3), shared=0.0, noise=5.0)
    found = two_way(columns, truth, 300, 0)
    for some in (found.pooled["forecast"], found.within["forecast"]):
        assert some[1:].mean() == pytest.approx(some[0], abs=0.02)
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=100)
    raw = [stats.spearmanr(columns["forecast"], truth.parts @ w / 12).statistic for w in weights]
    assert np.mean(raw) < 0.85 * found.pooled["forecast"][0]


def test_the_factor_is_the_same_for_all_forecasts() -> None:
    columns, truth = world(np.random.default_rng(4), shared=0.0, noise=5.0)
    rng = np.random.default_rng(5)
    columns |= {"worse": columns["forecast"] + 2 * rng.standard_normal(len(truth.owner)), "none": rng.standard_normal(len(truth.owner))}
    found = two_way(columns, truth, 300, 0)
    for name, tolerance in (("forecast", 0.01), ("worse", 0.03), ("none", 0.05)):
        assert found.pooled[name][1:].mean() == pytest.approx(found.pooled[name][0], abs=tolerance)


def test_ranks_of_rows_are_mean_ranks() -> None:
    values = np.random.default_rng(2).integers(0, 4, (5, 12)).astype(float)
    values[3] = 1.0
    found = row_ranks(values)
    expected = stats.rankdata(values, axis=1) - 6.5
    assert np.isnan(found[3]).all()
    kept = [0, 1, 2, 4]
    np.testing.assert_allclose(found[kept], (expected / np.linalg.norm(expected, axis=1, keepdims=True).clip(1e-9))[kept])
    assert np.isnan(row_ranks(np.arange(7.0)[None])).all()


def test_paths_over_one_site_are_the_response_and_no_baseline() -> None:
    pairs = simulated(noise=0.5).assign(paths=lambda table: table["response"])
    assert score(compared(pairs), "total", resamples=5)["gain"]["best"] == "paths"
    found = score(compared(pairs.assign(crossed=1)), "total", resamples=5)
    assert found["gain"]["best"] != "paths"
    assert found["gain"]["value"] > 0.3
    assert found["pooled"]["paths"] == found["pooled"]["response"]


def test_too_few_pairs_have_no_score() -> None:
    found = score(compared(simulated(n_sources=1).head(5)), "total", resamples=5)
    assert found["pooled"]["response"]["value"] is None
    assert found["gain"] == {"best": None, "value": None, "ci": [None, None]}
    assert score(compared(simulated().head(0)), "total", resamples=5)["pairs"] == 0
    assert math.isnan(spearman(np.ones(20), np.arange(20.0)))


def test_rows_of_the_table() -> None:
    found = forecast_scores(compared(simulated(noise=0.3)), resamples=10)["often"]["total"]
    rows = list(score_rows(found, lambda v: "–" if v is None else f"{v:.2f}"))
    assert [row[0] for row in rows] == [
        *FORECASTERS, "split half", "response − best baseline", "the same within sources", "response − edge", "pairs",
    ]  # fmt: skip
    assert all(len(row) == 6 for row in rows)
    value = found["1"]["pooled"]["response"]["value"]
    assert rows[0][1].startswith(f"{value:.2f} (")


def test_tables_of_two_runs_have_names_of_their_own(tmp_path: Path) -> None:
    found = {"sources": ["L0_F0", "L0_F1"], "bootstrap": BOOTSTRAP, "scores": forecast_scores(compared(simulated()), resamples=5)}
    (tmp_path / "forecasts.json").write_text(json.dumps(found), encoding="utf-8")
    texts = figures(tmp_path, "band")
    quoted = {
        f"band.{effect}.{name}" for effect in ("total", "computed") for name in ("response", "mean_jacobian", "virtual_weight", "cosine")
    }
    assert set(texts) == {*(f"band.{effect}" for effect in EFFECTS), "band.rare", "band.sources", "band.documents", *quoted}
    assert float(texts["band.total.response"]) == round(found["scores"]["often"]["total"]["all"]["pooled"]["response"]["value"], 2)
    assert (texts["band.sources"], texts["band.documents"]) == ("2", "10")
    assert texts["band.total"].startswith("| forecast | 1 crossed | 2 crossed | 3 crossed | 4+ crossed | all |")
