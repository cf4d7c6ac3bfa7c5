"""Forecasts of steering from measured responses: what the screen says, explained by paths; and paths where there is no response."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner

from feature_graph.artifacts import ActivationStore, RunPaths
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.graph import load_graph, structural
from feature_graph.loading import load_model_and_saes
from feature_graph.pipeline import run as do
from feature_graph.responses import ResponseScreen
from feature_graph.steering import NO_INTERVALS, Cascade, SideEffects, SideEffectsOptions, predict_cascade, side_effects
from feature_graph.visualization import render_cascade_overlay
from tests.tiny_run import write_tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    cfg = write_tiny_run(tmp_path_factory.mktemp("cascade"), behaviors=[], candidates="responses", shortlist_pairs=90, response_documents=3)
    for stage in ("collect", "atlas", "responses", "seeds", "candidates", "measure", "graph"):
        do(cfg, only=stage)  # type: ignore[arg-type]
    return cfg


@pytest.fixture(scope="module")
def G(run: Config) -> nx.DiGraph:
    return load_graph(RunPaths.of(run.output_dir).graph_json)


@pytest.fixture(scope="module")
def source(G: nx.DiGraph) -> str:
    """The feature of the first layer with most edges out of it."""
    degrees = dict(structural(G).out_degree())
    return max(sorted(n for n in G if G.nodes[n]["layer"] == 0), key=lambda n: degrees[n])


@pytest.fixture
def copy(run: Config, tmp_path: Path) -> Path:
    """The run in a folder of its own, to be damaged."""
    return Path(shutil.copytree(run.output_dir, tmp_path / "run"))


def without_why(cascade: Cascade) -> dict[str, object]:
    return {name: value for name, value in cascade.to_dict().items() if name != "why_paths"}


def test_the_forecast_is_the_delta_times_the_screened_total(run: Config, G: nx.DiGraph, source: str) -> None:
    table = ResponseScreen.open(run.output_dir).edges(source=source)
    found = predict_cascade(G, source, -1.5, min_effect=0)
    assert (found.based_on, found.why_paths) == ("responses", "")
    assert set(found.effects) == set(table["target"][table["total"] != 0])  # at every later site, with an edge or without
    for row in table.itertuples():
        assert found.effects.get(row.target, 0.0) == pytest.approx(-1.5 * row.total, rel=1e-9)
    assert not set(found.effects) <= set(G)


def test_paths_explain_it_and_what_they_leave_is_a_column(G: nx.DiGraph, source: str) -> None:
    found = predict_cascade(G, source, 2.0, min_effect=0)
    paths = predict_cascade(G, source, 2.0, min_effect=0, by="paths")
    assert (paths.based_on, paths.why_paths) == ("paths", "paths were asked for")
    assert paths.effects
    assert {v: s for v, s in found.path_sums.items() if s} == pytest.approx(paths.effects)
    assert (found.hops, found.paths) == (paths.hops, paths.paths)
    assert found.intervals == {}
    table = found.table()
    np.testing.assert_allclose(table["unexplained"], table["forecast"] - table["by_paths"])
    assert (table.loc[table["hop"] == 0, "by_paths"] == 0).all()
    assert table["forecast"].abs().is_monotonic_decreasing
    assert table["label"][0] == G.nodes[table["feature"][0]]["label"] if table["feature"][0] in G else True


def test_hops_limit_paths_and_not_totals(G: nx.DiGraph, source: str) -> None:
    one, three = (predict_cascade(G, source, 2.0, n_hops=n, min_effect=0) for n in (1, 3))
    assert one.effects == three.effects
    assert one.path_sums == three.path_sums
    assert all(len(path.nodes) == 2 for path in one.paths)
    strong = predict_cascade(G, source, 2.0, min_strength=1e9, min_effect=0)
    assert strong.effects == one.effects
    assert not any(strong.path_sums.values())


def test_small_changes_are_counted(G: nx.DiGraph, source: str) -> None:
    whole = predict_cascade(G, source, 2.0, min_effect=0)
    limit = float(np.median(np.abs(list(whole.effects.values()))))
    some = predict_cascade(G, source, 2.0, min_effect=limit)
    assert 0 < len(some.effects) < len(whole.effects)
    assert len(some.effects) + some.pruned >= len(whole.effects)
    assert all(abs(change) >= limit for change in some.effects.values())


def test_the_summary_says_which_was_used(G: nx.DiGraph, source: str) -> None:
    text = predict_cascade(G, source, 2.0).summary()
    assert "forecast from its measured response" in text
    assert "no path: " in text
    assert "what paths of the graph leave unexplained" in text
    text = predict_cascade(G, source, 2.0, by="paths").summary()
    assert "forecast over paths of any length" in text
    assert "no response was used: paths were asked for" in text


def test_a_graph_that_names_no_responses_is_forecast_from_paths(G: nx.DiGraph, source: str) -> None:
    plain = G.copy()
    del plain.graph["responses"]
    found = predict_cascade(plain, source, 2.0)
    assert (found.based_on, found.why_paths) == ("paths", "the graph names no responses")
    assert without_why(found) == without_why(predict_cascade(G, source, 2.0, by="paths"))
    assert found.intervals == predict_cascade(G, source, 2.0, by="paths").intervals


def damage_responses(folder: Path) -> None:
    with (folder / "responses.h5").open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: (folder / "responses.h5").unlink(), "there is no such file"),
        (damage_responses, "is not the file that the graph was made with"),
        (lambda folder: (folder / "activations.h5").unlink(), "activations.h5"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
    ],
    ids=["absent", "foreign", "no activations", "no configuration"],
)
def test_responses_that_cannot_be_used_are_told(copy: Path, source: str, damage: object, why: str) -> None:
    mine = load_graph(copy / "graph.json")
    assert predict_cascade(mine, source).based_on == "responses"  # opened once: damage afterwards is noticed all the same
    damage(copy)  # type: ignore[operator]
    found = predict_cascade(mine, source)
    assert found.based_on == "paths"
    assert why in found.why_paths
    assert found.effects == predict_cascade(mine, source, by="paths").effects
    assert "no response was used" in found.summary()


def test_a_feature_of_the_last_site_has_no_response(G: nx.DiGraph) -> None:
    last = next(n for n in G if G.nodes[n]["layer"] == 2)
    found = predict_cascade(G, last)
    assert found.based_on == "paths"
    assert f"{last}: has no response" in found.why_paths
    assert found.effects == {}


def test_the_picture_draws_few_of_those_that_no_path_reaches(G: nx.DiGraph, source: str, tmp_path: Path) -> None:
    found = predict_cascade(G, source, 2.0, min_effect=0)
    page = render_cascade_overlay(G, found, tmp_path / "cascade.html", measured=found.effects).read_text(encoding="utf-8")
    assert "the measured response of the steered feature" in page


def test_intervals_belong_to_path_sums(G: nx.DiGraph, source: str) -> None:
    assert predict_cascade(G, source, by="paths").intervals
    assert predict_cascade(G, source, by="paths", uncertainty=NO_INTERVALS).intervals == {}


def test_side_effects_are_compared_with_the_response(run: Config, G: nx.DiGraph, source: str, tmp_path: Path) -> None:
    store = ActivationStore.load(RunPaths.of(run.output_dir).activations)
    options = SideEffectsOptions(horizon=1, max_documents=6, min_documents=2, n_placebo=1)
    found = side_effects(*load_model_and_saes(run), G, store, source, 0.5, run, options)
    assert found.based_on == "responses"
    forecast = predict_cascade(G, source, 0.5, min_effect=0)
    for row in found.features.itertuples():
        assert row.forecast == pytest.approx(forecast.effects.get(row.feature, 0.0))
        assert row.by_paths == pytest.approx(forecast.path_sums.get(row.feature, 0.0))
    assert found.agreement().n == len(found.features)
    assert "from the measured response, of all of them" in found.summary()
    saved = found.save(tmp_path / "effects.json")
    assert SideEffects.load(saved).based_on == "responses"
    values = json.loads(saved.read_text())
    del values["based_on"], values["features"]["by_paths"]
    saved.write_text(json.dumps(values))  # as earlier versions wrote it
    assert SideEffects.load(saved).based_on == "paths"


# --- the command ---


def shown(*words: str) -> str:
    done = CliRunner().invoke(app, ["--quiet", "cascade", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_says_which_was_used(run: Config, G: nx.DiGraph, source: str) -> None:
    found = json.loads(shown(run.output_dir, "--feature", source, "--delta", "0.5", "--top", "7", "--json"))
    expected = predict_cascade(G, source, 0.5 * G.nodes[source]["mean_act"], 3, top_paths=7)
    assert found == json.loads(json.dumps(expected.to_dict(7)))
    assert found["based_on"] == "responses"
    assert len(found["features"]["feature"]) == 7
    text = shown(run.output_dir, "--feature", source)
    for part in (f"Steering {source} by -", "(-0.5 × its mean activation)", "unexplained", "forecast from the measured response"):
        assert part in text
    text = shown(run.output_dir, "--feature", source, "--paths-only")
    assert "forecast from paths: paths were asked for" in text
    assert json.loads(shown(run.output_dir, "--feature", source, "--paths-only", "--json"))["based_on"] == "paths"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--feature", "L0_F999"], "has 40 features"), (["--feature", "L0_F1", "--delta", "nan"], "expected a finite number")],
)
def test_the_command_refuses_what_makes_no_sense(run: Config, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["cascade", run.output_dir, *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_graph_that_tells_no_activation_is_refused(copy: Path, source: str) -> None:
    values = json.loads((copy / "graph.json").read_text())
    for node in values["nodes"]:
        node["mean_act"] = None
    (copy / "graph.json").write_text(json.dumps(values))
    done = CliRunner().invoke(app, ["cascade", str(copy), "--feature", source], env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "does not tell the mean activation" in " ".join(done.output.split())
