"""A run with dictionaries on components through the pipeline: from files on disk to the graph, the report, and what the loader accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from benchmarks import stand_ins
from benchmarks.responses import screen
from feature_graph.artifacts import ActivationStore, ArtifactError, CandidateSet, PruningRecall, RunPaths, feature_key, is_pair
from feature_graph.artifacts.recall import STAGE_NAMES
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.graph import load_graph, structural
from feature_graph.loading import LoadingError, UnsupportedSAEError, load_model_and_saes
from feature_graph.pipeline import run, write_decoders
from feature_graph.report import write_report
from feature_graph.steering import BASELINES
from feature_graph.steering.samples import SteeringSamples
from ingest import validate, vectors
from ingest.rundir import open_run
from tests.support.changed_dictionary import changed_dictionary
from tests.support.mixed_run import BEHAVIORS, NAMES, SITES, write_mixed_run
from tests.tiny_run import D_MODEL

runner = CliRunner()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, RunPaths]:
    cfg = write_mixed_run(tmp_path_factory.mktemp("mixed"))
    run(cfg)
    return cfg, RunPaths.of(cfg.output_dir)


def test_dictionaries_are_loaded_by_the_names_of_their_sites(mixed: tuple[Config, RunPaths]) -> None:
    _, saes = load_model_and_saes(mixed[0])
    assert list(saes) == NAMES
    assert saes["L1.tc"].cfg.architecture() == "skip_transcoder"


def test_the_run_goes_to_its_end(mixed: tuple[Config, RunPaths]) -> None:
    cfg, paths = mixed
    manifest = json.loads(paths.manifest.read_text())
    assert {name: record["state"] for name, record in manifest["stages"].items()} == dict.fromkeys(manifest["stages"], "done")
    assert list(manifest["saes"]) == NAMES
    assert [(s["layer"], s["site"], s["order"]) for s in manifest["saes"].values()] == [
        (0, "", 0), (1, "attn", 0), (1, "tc", 1), (2, "mlp", 0), (2, "", 1)
    ]  # fmt: skip
    assert (paths.root / "report.html").is_file()
    assert Config.load(paths.root / "config.json") == cfg


def test_tables_name_the_sites(mixed: tuple[Config, RunPaths]) -> None:
    features, edges = (pd.read_parquet(mixed[1].root / f"{name}.parquet") for name in ("features", "interactions"))
    assert set(features["id"].str.replace(r"_F\d+$", "", regex=True)) == set(NAMES)
    assert (features["layer"] == features["id"].str.extract(r"L(\d+)")[0].astype(int)).all()
    assert features["fid"].tolist() == list(range(len(features)))
    known = dict(zip(features["id"], features["fid"], strict=True))
    assert edges["src_fid"].tolist() == [known[name] for name in edges["src_id"]]
    assert edges["span"].min() == 0
    assert (edges["blocks"] == edges["tgt_layer"] - edges["src_layer"]).all()
    within = edges["src_layer"] == edges["tgt_layer"]
    assert within.any()
    assert (edges.loc[within, "span"] == 0).all()


def test_edges_inside_a_block_are_in_the_graph_and_the_loader_takes_the_run(mixed: tuple[Config, RunPaths]) -> None:
    graph = load_graph(mixed[1].graph_json)
    assert {node.rpartition("_F")[0] for node in graph} == set(NAMES)
    assert any(u.startswith("L1.attn") and v.startswith("L1.tc") for u, v in graph.edges)
    assert validate(open_run(mixed[1].root)).rows == len(pd.read_parquet(mixed[1].root / "interactions.parquet"))


def test_a_second_run_has_nothing_to_do(mixed: tuple[Config, RunPaths]) -> None:
    assert run(mixed[0]).done == []


def test_behaviours_rest_on_features_of_every_site(mixed: tuple[Config, RunPaths]) -> None:
    found = json.loads((mixed[1].root / "behaviors.json").read_text())["behaviors"]
    assert tuple(behavior["name"] for behavior in found) == BEHAVIORS
    for behavior in found:
        assert len(behavior["seeds"]) == 10
        for seed in behavior["seeds"]:
            assert seed["id"].partition("_F")[0] in NAMES
            assert seed["layer"] == int(seed["id"][1])
            assert seed["effect"] != 0
        assert {seed["id"] for seed in behavior["seeds"]} <= set(behavior["members"])
        assert {output["feature_id"] for output in behavior["outputs"]} == set(behavior["members"])
    assert len({seed["id"].partition("_F")[0] for behavior in found for seed in behavior["seeds"]}) >= 3
    report = (mixed[1].root / "report.html").read_text()
    assert all(seed["id"] in report for behavior in found for seed in behavior["seeds"][:3])


def test_the_benchmark_compares_screened_with_exact_effects_between_components(mixed: tuple[Config, RunPaths]) -> None:
    """At the very same tokens: the screen leaves out how gate and derivative vary together, and nothing else."""
    found = screen(mixed[1].root, n_sources=20, n_targets=12)
    assert found["pairs"] >= 100
    assert found["all: derivative, without: Spearman"] > 0.9
    assert found["all: clamp, with threshold term: Spearman"] > 0.5


def test_the_benchmark_puts_transcoders_in_the_place_of_mlps(mixed: tuple[Config, RunPaths], tmp_path: Path) -> None:
    changed = {"candidates": "responses", "shortlist_pairs": 60, "response_documents": 3, "response_samples": 3}
    cfg = mixed[0].model_copy(update=changed | {"output_dir": str(tmp_path / "run")})
    for stage in ("collect", "atlas", "responses"):
        run(cfg, only=stage)  # type: ignore[arg-type]
    compared, made = stand_ins.forecasts(Path(cfg.output_dir), None, n_sources=8)
    response = compared.pairs["response"].to_numpy()
    np.testing.assert_allclose(made["model"], response, rtol=5e-3, atol=1e-3 * np.abs(response).max())  # float16
    past = (compared.pairs["source"].str.startswith("L0_") & compared.pairs["target"].str.startswith("L2_")).to_numpy()
    assert past.any()
    for name in ("features", "skip"):
        assert np.abs(made[name] - made["attention"])[past].max() > 1e-4 * np.abs(response).max(), name
    found = stand_ins.scores(compared, made, resamples=5)
    assert found["total"]["all"]["model"]["value"] == pytest.approx(found["total"]["all"]["response"]["value"], abs=0.01)


def test_seeds_of_components_have_places_of_their_own(mixed: tuple[Config, RunPaths], tmp_path: Path) -> None:
    changed = {"candidates": "responses", "shortlist_pairs": 60, "response_documents": 3, "response_samples": 3}
    cfg = mixed[0].model_copy(update=changed | {"output_dir": str(tmp_path / "run")})
    for stage in ("collect", "atlas", "responses", "seeds", "candidates"):
        run(cfg, only=stage)  # type: ignore[arg-type]
    paths = RunPaths.of(cfg.output_dir)
    listed = json.loads(paths.seeds.read_text())["behaviors"]
    seeds = {seed["id"] for behavior in listed for seed in behavior["seeds"]}
    assert {seed["id"].partition("_F")[0] for behavior in listed for seed in behavior["seeds"]} <= set(NAMES)
    assert all(seed["site"] == seed["id"].partition("_F")[0] for behavior in listed for seed in behavior["seeds"])
    frame = CandidateSet.load(paths.candidates).frame
    own = frame[frame["arm"] == "seed"]
    ends = set(
        zip(own["src_site"] + "_F" + own["src_index"].astype(str), own["tgt_site"] + "_F" + own["tgt_index"].astype(str), strict=True)
    )
    assert ends
    assert all(seeds & {*pair} for pair in ends)


def test_vectors_are_the_decoder_rows_of_every_site(mixed: tuple[Config, RunPaths]) -> None:
    cfg, paths = mixed
    done = write_decoders(cfg, paths.root)
    features, found = pd.read_parquet(paths.features), pd.read_parquet(done.path)
    assert found["uid"].tolist() == features["uid"].tolist()
    _, saes = load_model_and_saes(cfg)
    names = features["id"].str.rpartition("_F")[0]
    rows = np.stack([saes[name].W_dec[index].detach().numpy() for name, index in zip(names, features["index"], strict=True)])
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(found["decoder"].tolist()), expected, atol=1e-6)
    assert vectors.read(open_run(paths.root), features) == vectors.Vectors(len(features), D_MODEL)
    done.path.unlink()


def words(text: str) -> str:
    return " ".join(re.sub(r"[│┃]", " ", text).split())


def often_active(paths: RunPaths, site: str) -> str:
    """The feature of a site of most edges, among those active in enough documents to be steered."""
    graph, store = load_graph(paths.graph_json), ActivationStore.load(paths.activations)
    samples = SteeringSamples(store, np.random.default_rng(0))
    degree = {n: d for n, d in structural(graph).out_degree() if d and n.startswith(f"{site}_F") and samples.of_source(n, 24, 6)}
    return max(sorted(degree), key=lambda n: degree[n])


def test_a_dictionary_that_changed_since_the_run_is_refused(mixed: tuple[Config, RunPaths]) -> None:
    root = str(mixed[1].root)
    for asked in (["steer", root, "--feature", often_active(mixed[1], "L1.tc")], ["validate", root, "--sources", "5"], ["forecasts", root]):
        with changed_dictionary(mixed[1].manifest, "L1.tc"):
            result = runner.invoke(app, ["--quiet", *asked], env={"COLUMNS": "200"})
        assert result.exit_code == 1, result.output
        assert "L1.tc: the dictionary that the configuration names now has weights" in words(result.output)
    with changed_dictionary(mixed[1].manifest, "L1.tc"), pytest.raises(ArtifactError, match=r"L1\.tc: .* the run used 00000000"):
        write_decoders(mixed[0], mixed[1].root)


@pytest.mark.parametrize("site", ["L0", "L1.attn", "L1.tc"])
def test_features_are_steered_from_the_command_line(mixed: tuple[Config, RunPaths], site: str, tmp_path: Path) -> None:
    paths, page = mixed[1], tmp_path / "steer.html"
    source = often_active(paths, site)
    graph, store = load_graph(paths.graph_json), ActivationStore.load(paths.activations)
    reached = next(v for v in graph[source] if graph.edges[source, v]["structural"] and graph.edges[source, v]["direct"])
    asked = ["--quiet", "steer", str(paths.root), "--feature", source, "--delta", "0.5"]
    countered = ["--compensate", reached, "--compensate-directly", "--output", str(page)]
    shown = runner.invoke(app, [*asked, *countered], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    text = words(shown.stdout)
    assert f"Side effects of {source} by +" in text
    assert f"Compensating {source}" in text
    assert "Forecast and measurement along the graph" in page.read_text(encoding="utf-8")
    found = json.loads(runner.invoke(app, [*asked, "--json"]).stdout)["side_effects"]
    layer, index = feature_key(source, store.layers)
    places = {str(key): one.place for key, one in store.sites.items()}
    after = {s for s in NAMES if is_pair(places[site], places[s])}
    assert found["delta"] == pytest.approx(0.5 * float(store.mean_activations[layer][index]))
    assert set(found["features"]["feature"]) == {n for n in graph if n.rpartition("_F")[0] in after}
    assert set(found["features"]["layer"]) <= {0, 1, 2}
    assert found["output"]["kl"][0] > 0
    assert max(map(abs, found["features"]["measured"])) > 1e-3


def test_the_forecast_of_a_cascade_is_held_against_the_model(mixed: tuple[Config, RunPaths]) -> None:
    root = str(mixed[1].root)
    asked = ["--quiet", "validate", root, "--sources", "4", "--behavior", "greater_than"]
    result = runner.invoke(app, [*asked, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["behaviors"]["greater_than"]["seeds"] == 10
    assert found["cascade"]["hop1"]["n"] > 0
    assert found["cascade"]["hop1"]["spearman"] > 0.5  # the edges themselves, on other documents, by another size and sign
    assert set(found["cascade"]["hop1"]["baselines"]) == set(BASELINES)
    assert runner.invoke(app, asked).exit_code == 0
    assert runner.invoke(app, ["--quiet", "report", root]).exit_code == 0
    assert runner.invoke(app, ["cascade", root, "--feature", often_active(mixed[1], "L1.tc")]).exit_code == 0


def test_forecasts_are_compared_from_the_command_line(mixed: tuple[Config, RunPaths]) -> None:
    result = runner.invoke(app, ["--quiet", "forecasts", str(mixed[1].root), "--sources", "8", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {name.partition("_F")[0] for name in found["sources"]} >= {"L0", "L1.attn", "L1.tc"}
    scores = found["scores"]["often"]["total"]["all"]
    assert scores["pairs"] > 50
    assert scores["pooled"]["response"]["value"] > 0.5


def test_pruning_recall_is_measured_from_the_command_line(mixed: tuple[Config, RunPaths]) -> None:
    _, paths = mixed
    result = runner.invoke(app, ["--quiet", "pruning-recall", str(paths.root), "--sources", "4", "--json"])
    assert result.exit_code == 0, result.output
    found = PruningRecall.load(paths.pruning_recall)
    assert json.loads(result.stdout) == json.loads(json.dumps(found.to_dict()))
    assert list(found.sources) == ["L0", "L1.attn", "L1.tc"]
    assert set(found.stage_names) == {*STAGE_NAMES} - {"alignment"}
    assert found.tested > 0
    shown = runner.invoke(app, ["--quiet", "pruning-recall", str(paths.root), "--sources", "4"])
    assert "these together" in shown.stdout
    assert "alignment" not in shown.stdout
    assert "What pruning loses" in write_report(paths.root).read_text()
    paths.pruning_recall.unlink()


def test_component_sites_need_their_own_id(mixed: tuple[Config, RunPaths]) -> None:
    sites = [*SITES[:2], {"layer": 1, "kind": "transcoder"}]
    with pytest.raises(LoadingError, match=r"sites: L1\.tc has no id"):
        load_model_and_saes(mixed[0].model_copy(update={"sites": Config(sites=sites).sites}))


def test_a_dictionary_of_another_kind_is_refused(mixed: tuple[Config, RunPaths]) -> None:
    wrong = Config(
        **(mixed[0].model_dump() | {"sites": [SITES[0], {"layer": 1, "kind": "mlp_out", "id": "blocks.1.hook_attn_out"}], "layers": [0, 1]})
    )
    with pytest.raises((LoadingError, UnsupportedSAEError), match="is to be of the kind mlp_out"):
        load_model_and_saes(wrong)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"interaction_method": "both"}, r"interaction_method: got both, expected clamping: .* are in responses\.h5"),
        ({"sites": [*SITES, SITES[2]]}, "two of the kind transcoder on layer 1"),
        ({"sites": [{"layer": 1, "kind": "crosscoder"}]}, "residual"),
    ],
)
def test_what_is_not_measured_between_components_is_refused_by_the_configuration(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Config(**({"sites": SITES} | fields))


def test_the_kind_of_residual_sites_is_not_written() -> None:
    plain = Config(sites=[{"layer": 3}, {"layer": 5, "release": "mine"}])
    assert plain.model_dump(mode="json")["sites"] == [
        {"layer": 3, "release": None, "id": None},
        {"layer": 5, "release": "mine", "id": None},
    ]
    assert plain.digest() == Config(sites=[{"layer": 3, "kind": "residual"}, {"layer": 5, "kind": "residual", "release": "mine"}]).digest()
    assert Config(sites=[{"layer": 3, "kind": "mlp_out"}, {"layer": 3}]).layers == [3]
