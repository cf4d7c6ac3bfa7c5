"""The comparison of forecasts on models with a known answer, and on a tiny run from its text to the printed table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from feature_graph.activations import collect_activations
from feature_graph.artifacts import CONFIRM, TEST, RunPaths, parse_feature_id
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.forecasts import FORECASTERS, ComparisonOptions, compare_forecasts
from feature_graph.evaluation.forecasts.draw import Draws, draw_sources
from feature_graph.evaluation.forecasts.scores import score
from feature_graph.evaluation.planted import PlantedModel, planted_model
from feature_graph.interventions import AnalysedModel, Perturbation, Perturber, SamplePositions
from feature_graph.responses import ResponseScreen, measure_responses
from tests.tiny_run import write_tiny_run

OPTIONS = ComparisonOptions(n_sources=30, multiple=0.3, min_documents=3, resamples=20, rare_targets=5)


class Planted:
    """A planted model with responses, compared."""

    def __init__(self, folder: Path) -> None:
        self.planted: PlantedModel = planted_model(seed=3, n_docs=120)
        self.cfg = self.planted.config(n_tokens=120 * 24, response_samples=40, response_documents=3)
        self.store = collect_activations(
            self.planted.model, self.planted.saes, self.cfg, tokens=self.planted.tokens, path=folder / "activations.h5"
        )
        model = AnalysedModel.of(self.planted.model, self.planted.saes, self.cfg)
        self.responses = measure_responses(model, self.planted.saes, self.store, self.cfg, folder / "responses.h5", progress=False)
        self.compared = compare_forecasts(model, self.planted.saes, self.store, self.cfg, self.responses, OPTIONS)
        self.pairs = self.compared.pairs


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("forecasts"))


@pytest.fixture(scope="module")
def known(found: Planted) -> pd.DataFrame:
    """The pairs whose effect follows from what was planted: 0 where nothing was; those beyond a gate, or of three sites, are left out.

    The index is the place among all pairs.
    """
    ends = [(parse_feature_id(s), parse_feature_id(t)) for s, t in zip(found.pairs["source"], found.pairs["target"], strict=True)]
    bent = {*found.planted.nonlinear, *found.planted.faint}
    rows = np.array([pair not in bent for pair in ends]) & (found.pairs["crossed"] <= 2).to_numpy()
    effects = {pair: effect.total for pair, effect in found.planted.edges.items()}
    return found.pairs.assign(planted=[effects.get(pair, 0.0) for pair in ends])[rows]


def test_what_is_measured_is_what_was_planted(known: pd.DataFrame) -> None:
    wired = known[known["planted"] != 0]
    assert len(wired) >= 6
    assert len(known) > 400
    np.testing.assert_allclose(known["measured"], known["planted"], atol=1e-4)
    np.testing.assert_allclose(wired["edge"], wired["planted"], atol=1e-4)
    np.testing.assert_allclose(wired["copied"], 0.0, atol=1e-4)  # directions are orthonormal
    np.testing.assert_allclose(wired["response"], wired["planted"] * wired["on"], atol=1e-3)
    # the neuron that carries a wire is off at tokens at which its source is off, so that the mean derivative over random tokens is smaller
    assert (wired["mean Jacobian"].abs() < wired["response"].abs()).all()


def test_an_exact_forecast_scores_one(found: Planted, known: pd.DataFrame) -> None:
    """What was planted in the place of a forecast, against what steering measured, to the precision of the engine."""
    exact = known.assign(response=known["planted"].round(3), measured=known["measured"].round(3) + 0.0)
    mine = found.compared.rows(known.index.to_numpy())
    scores = score(replace(mine, pairs=exact, total=mine.total.round(3) + 0.0), "total", resamples=20)
    assert scores["pooled"]["response"]["value"] == pytest.approx(1.0)
    assert scores["pooled"]["response"]["ci"] == pytest.approx([1.0, 1.0])
    assert scores["within"]["response"]["value"] == pytest.approx(1.0)
    assert scores["gain"]["value"] > 0.3


def test_the_negative_of_the_cosine_scores_its_negative(found: Planted) -> None:
    scores = score(found.compared, "total", resamples=10)
    assert scores["pooled"]["cosine"]["value"] == pytest.approx(-scores["pooled"]["−cosine"]["value"])


def test_paths_are_products_of_steps(found: Planted) -> None:
    one = found.pairs[found.pairs["crossed"] == 1]
    np.testing.assert_allclose(one["paths"], one["response"])
    two = found.pairs[found.pairs["crossed"] == 2]
    assert np.abs(two["paths"]).max() > 0.1
    analysed = AnalysedModel.of(found.planted.model, found.planted.saes, found.cfg)
    screen = ResponseScreen(found.responses, found.store, analysed.codecs)
    layers = sorted(analysed.codecs)
    step = np.zeros((analysed.codecs[layers[1]].d_sae, analysed.codecs[layers[2]].d_sae))
    for block in screen.blocks(layers[1], layers[2]):
        step[block.sources] = block.effects["total"]
    seen = 0
    for name, part in two.groupby("source"):
        layer, index = parse_feature_id(str(name))
        if layer == layers[0]:
            (first,) = screen.blocks(layer, layers[1], np.array([index]))
            targets = [parse_feature_id(target)[1] for target in part["target"]]
            np.testing.assert_allclose(part["paths"], (first.effects["total"][0] @ step)[targets], rtol=1e-6, atol=1e-9)
            seen += len(targets)
    assert seen > 50


def test_what_is_measured_is_the_mean_over_the_documents_of_the_source(found: Planted) -> None:
    known, held = found.compared, found.compared.documents >= 0
    assert held.shape == known.total.shape == known.copied.shape
    assert 3 <= held.sum(axis=1).min() <= held.sum(axis=1).max() <= OPTIONS.n_tokens
    for name, values in (("measured", known.total), ("copied", known.copied)):
        np.testing.assert_allclose(values.sum(axis=1) / held.sum(axis=1), known.pairs[name], atol=1e-6)
        assert not values[~held].any()
    used = np.unique(known.documents[held])
    assert (found.store.splits[used] == CONFIRM).all()
    first = known.pairs.groupby("source").head(1).index
    assert len(used) < held[first].sum()  # sources share documents


def test_every_forecast_is_there_for_every_pair(found: Planted) -> None:
    names = [*FORECASTERS, *(f"{name} computed" for name in FORECASTERS)]
    assert np.isfinite(found.pairs[names].to_numpy(dtype=float)).all()
    assert not found.pairs.duplicated(["source", "target"]).any()
    assert (found.pairs["often"] == (found.pairs["on"] >= 0.1)).all()
    for name in ("response", "paths", "mean Jacobian"):
        np.testing.assert_allclose(found.pairs[f"{name} computed"], found.pairs[name] - found.pairs["virtual weight"], atol=1e-12)


def test_sources_are_steered_at_tokens_that_nothing_was_measured_at(found: Planted) -> None:
    draws = Draws.of(found.store, found.cfg, 64)
    among = {layer: sources.index for layer, sources in found.responses.sources.items()}
    sources = draw_sources(draws, among, 30, 24, 3, np.random.default_rng(0))
    for source in sources:
        active = found.store.activations[source.layer][:, [source.index]].toarray().reshape(found.store.tokens.shape)
        for samples, split in ((source.truth, CONFIRM), (source.edge, TEST)):
            assert (found.store.splits[samples.documents] == split).all()
            assert samples.n_documents >= 3
            np.testing.assert_array_equal(active[samples.documents, samples.positions], samples.values)
            assert (samples.values > 0).all()
    per_site = pd.Series([s.layer for s in sources]).value_counts()
    assert per_site.max() <= 10


def test_the_truth_is_what_perturbing_the_model_gives(found: Planted) -> None:
    """One source, steered by another engine."""
    draws = Draws.of(found.store, found.cfg, OPTIONS.most_documents)
    name = found.pairs["source"].iloc[0]
    layer, index = parse_feature_id(name)
    (samples,) = draws.truth.of_layer(layer, np.array([index]), OPTIONS.n_tokens)
    analysed = AnalysedModel.of(found.planted.model, found.planted.saes)
    delta = OPTIONS.multiple * float(found.store.mean_activations[layer][index])
    rows, documents = np.unique(samples.documents, return_inverse=True)
    perturber = Perturber(analysed, found.store.tokens[rows])
    where = SamplePositions(documents.astype(np.int64), samples.positions)
    mine = found.pairs[found.pairs["source"] == name]
    targets = [parse_feature_id(t) for t in mine["target"]]
    read = {n: sorted(i for m, i in targets if m == n) for n in {n for n, _ in targets}}
    clean, moved = perturber.run(where, [[Perturbation(layer, analysed.codecs[layer].w_dec[index], d)] for d in (0.0, delta)], read)
    for row, (n, i) in zip(mine.itertuples(), targets, strict=True):
        change = (moved.activations[n] - clean.activations[n])[:, read[n].index(i)].double().numpy() / delta
        by_document = pd.Series(change).groupby(documents).mean()
        assert row.measured == pytest.approx(by_document.mean(), abs=1e-5)


def test_too_little_text_is_said(found: Planted) -> None:
    draws = Draws.of(found.store, found.cfg, 64)
    with pytest.raises(EvaluationError, match="active in 500 documents"):
        draw_sources(draws, {0: np.arange(3)}, 30, 24, 500, np.random.default_rng(0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run whose activations are there."""
    from feature_graph.pipeline import run as do

    fields = {"behaviors": [], "candidates": "responses", "shortlist_pairs": 60, "response_documents": 3, "n_tokens": 200 * 16}
    cfg = write_tiny_run(tmp_path_factory.mktemp("tiny"), **fields)
    do(cfg, only="collect")
    return cfg


def asked(cfg: Config, *further: str) -> Result:
    return CliRunner().invoke(app, ["--quiet", "forecasts", cfg.output_dir, "--sources", "8", *further], env={"COLUMNS": "200"})


def test_a_run_is_compared(tiny: Config) -> None:
    done = asked(tiny, "--json")
    assert done.exit_code == 0, done.output
    printed, kept = json.loads(done.stdout), json.loads(RunPaths.of(tiny.output_dir).forecasts.read_text(encoding="utf-8"))
    assert (kept.pop("kind"), kept.pop("version")) == ("forecasts", 1)
    assert printed == kept
    assert len(printed["sources"]) == 8
    assert printed["scores"]["often"]["total"]["all"]["pairs"] > 0
    assert printed["responses"] is None
    assert printed["text"] is None
    assert printed["bootstrap"] == "sources and documents"


def test_another_text_is_asked_for_by_its_file_and_tables_are_printed(tiny: Config, tmp_path: Path) -> None:
    refused = asked(tiny, "--text", str(tmp_path / "missing.txt"))
    assert refused.exit_code == 2
    assert "there is no file" in refused.stderr
    other = tmp_path / "other.txt"
    other.write_text(" ".join(reversed(Path(tiny.dataset).read_text(encoding="utf-8").split())), encoding="utf-8")
    shown = asked(tiny, "--text", str(other))
    assert shown.exit_code == 0, shown.output
    said = f"8 sources were steered on {other}"
    for part in ("Total change", "Computed change", "|cosine| < 0.02", "−cosine", "response − best baseline", said):
        assert part in shown.stdout
    assert json.loads(RunPaths.of(tiny.output_dir).forecasts.read_text(encoding="utf-8"))["text"] == str(other)


def test_the_truth_may_be_of_another_text(found: Planted, tmp_path: Path) -> None:
    """Steered in all documents of a text that the run does not have; the forecasts are the run's, and so are they for the pairs of both."""
    words = np.asarray(found.planted.tokens)[:60]
    tokens = np.random.default_rng(1).permutation(words.ravel()).reshape(words.shape)
    path = tmp_path / "other.h5"
    other = collect_activations(found.planted.model, found.planted.saes, found.cfg, tokens=tokens, path=path)
    compared = compare_forecasts(found.planted.model, found.planted.saes, found.store, found.cfg, found.responses, OPTIONS, truth=other)
    used = np.unique(compared.documents[compared.documents >= 0])
    assert {*other.splits[used]} == {0, 1, 2}
    elsewhere = 0
    for row in compared.pairs.groupby("source").head(1).index:
        layer, index = parse_feature_id(compared.pairs["source"][row])
        mine = compared.documents[row][compared.documents[row] >= 0]
        theirs, own = (store.activations[layer][:, [index]].toarray().reshape(store.tokens.shape)[mine] for store in (other, found.store))
        assert (theirs > 0).any(axis=1).all()
        elsewhere += int((own <= 0).all(axis=1).sum())
    assert elsewhere > 0  # in some of these documents the run's own text would have nothing to steer
    both = found.pairs.merge(compared.pairs, on=["source", "target"], suffixes=("", " again"))
    assert len(both) > 50
    for name in ("response", "virtual weight", "paths", "edge"):
        np.testing.assert_allclose(both[f"{name} again"], both[name], rtol=1e-6, atol=1e-7)
    known = {pair for pair in found.planted.edges if pair not in {*found.planted.nonlinear, *found.planted.faint}}
    wired = [pair for pair in compared.pairs.itertuples() if (parse_feature_id(pair.source), parse_feature_id(pair.target)) in known]
    assert len(wired) >= 6
    for pair in wired:
        planted = found.planted.edges[parse_feature_id(pair.source), parse_feature_id(pair.target)].total
        assert pair.measured == pytest.approx(planted, abs=1e-4)


def test_without_responses_those_of_the_sources_are_measured(found: Planted) -> None:
    """The same sources, tokens and responses; the steps of paths at fewer tokens, which changes nothing where the world is linear."""
    mine = compare_forecasts(found.planted.model, found.planted.saes, found.store, found.cfg, None, OPTIONS).pairs
    both = found.pairs.merge(mine, on=["source", "target"], suffixes=("", " again"))
    assert len(both) > 50
    np.testing.assert_allclose(both["response again"], both["response"], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(both["measured again"], both["measured"], atol=1e-6)
    close = np.isclose(both["paths again"], both["paths"], rtol=0.05, atol=0.02)
    assert close.mean() > 0.95
