"""A run with dictionaries on components through the pipeline: from files on disk to the graph, the report, and what the loader accepts."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from feature_graph.artifacts import ActivationStore, RunPaths
from feature_graph.config import Config
from feature_graph.graph import load_graph
from feature_graph.loading import LoadingError, UnsupportedSAEError, load_model_and_saes
from feature_graph.pipeline import run, write_decoders
from feature_graph.steering import check_steer
from ingest import validate
from ingest.rundir import open_run
from tests.support.mixed_run import NAMES, SITES, write_mixed_run


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, RunPaths]:
    cfg = write_mixed_run(tmp_path_factory.mktemp("mixed"))
    run(cfg)
    return cfg, RunPaths.of(cfg.output_dir)


def test_dictionaries_are_loaded_by_the_names_of_their_sites(mixed: tuple[Config, RunPaths]) -> None:
    _, saes = load_model_and_saes(mixed[0])
    assert list(saes) == NAMES
    assert saes["L1.tc"].cfg.architecture() == "transcoder"


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


def test_what_is_not_made_for_components_says_so(mixed: tuple[Config, RunPaths]) -> None:
    cfg, paths = mixed
    assert json.loads((paths.root / "behaviors.json").read_text())["behaviors"] == []
    with pytest.raises(ValueError, match="directions are not all of one space"):
        write_decoders(cfg, paths.root)
    graph, store = load_graph(paths.graph_json), ActivationStore.load(paths.activations)
    with pytest.raises(ValueError, match=r"the run has the sites L0, L1\.attn, L1\.tc, L2\.mlp, L2; features are steered"):
        check_steer(graph, store, next(iter(graph)), 1.0)


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
        ({"targets": "all"}, "targets: got all, expected candidates: with dictionaries on components"),
        ({"interaction_method": "both"}, "interaction_method: got both, expected clamping"),
        ({"n_placebo": 4}, "n_placebo: got 4, expected 0"),
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
