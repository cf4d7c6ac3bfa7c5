"""``feature-graph vectors``: the file holds the dictionaries' own decoder rows, and other dictionaries are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from feature_graph.artifacts import ArtifactError
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.dictionaries import output_weights
from feature_graph.loading import load_model_and_saes
from feature_graph.pipeline.manifest import Manifest
from feature_graph.pipeline.vectors import write_decoders
from ingest import InvalidRun, vectors
from ingest.formats import DECODERS, FEATURES, read_table, write_table
from ingest.rundir import RunDirectory
from tests.support.component_dictionaries import copying_sae
from tests.tiny_run import D_MODEL, write_tiny_run

CHOSEN = {0: [3, 5, 11], 1: [0, 39], 2: [7]}


def write_features(cfg: Config, chosen: list[tuple[str, int, int]]) -> Config:
    """Save the configuration and a table of features (name of the site, layer, index) into its run directory."""
    root = Path(cfg.output_dir)
    root.mkdir()
    cfg.save(root / "config.json")
    texts = {"hook": "h", "label": "", "neuronpedia_url": ""}
    numbers = {"density": 0.1, "mean_act": 1.0, "max_act": 2.0, "decoder_norm": 1.0, "importance": None}
    rows = [
        {"fid": fid, "id": f"{site}_F{i}", "uid": f"tiny@01234567/saes/{site}/{i}", "layer": la, "index": i} | texts | numbers
        for fid, (site, la, i) in enumerate(chosen)
    ]
    frame = pd.DataFrame(rows).assign(dead=False, dense=False)
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(frame, preserve_index=False))
    return cfg


@pytest.fixture
def run(tmp_path: Path) -> Config:
    """A run directory with features, and the dictionaries that its configuration names."""
    cfg = write_tiny_run(tmp_path)
    return write_features(cfg, [(f"L{layer}", layer, index) for layer, indices in CHOSEN.items() for index in indices])


def weights(cfg: Config, layer: int) -> Path:
    return next((Path(cfg.sae_release) / f"blocks.{layer}.hook_resid_post").glob("*.safetensors"))


def test_the_file_holds_the_decoder_rows_with_norm_1(run: Config) -> None:
    path = weights(run, 1)
    tensors = load_file(path)
    tensors["W_dec"][39] *= 3.0
    tensors["W_dec"][0] = 0.0
    save_file(tensors, path)
    done = write_decoders(run, run.output_dir)
    assert (done.count, done.width, done.without) == (5, D_MODEL, 1)
    frame = read_table(done.path, DECODERS).to_pandas()
    assert frame["fid"].tolist() == [0, 1, 2, 4, 5]
    assert frame["uid"].tolist()[3] == "tiny@01234567/saes/L1/39"
    expected = np.concatenate([load_file(weights(run, la))["W_dec"][ix] for la, ix in {**CHOSEN, 1: [39]}.items()])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(frame["decoder"].tolist()), expected, atol=1e-6)


def test_the_command_says_what_it_wrote_and_what_comes_next(run: Config) -> None:
    done = CliRunner().invoke(app, ["vectors", run.output_dir])
    assert done.exit_code == 0, done.output
    assert f"directions of 6 features, {D_MODEL} numbers each" in done.output
    assert f"feature-graph ingest {run.output_dir}" in done.output


def test_dictionaries_that_the_run_did_not_use_are_refused(run: Config) -> None:
    Manifest(saes={"1": {"layer": 1, "sha256": "00000000"}}).save(Path(run.output_dir) / "manifest.json")
    with pytest.raises(
        ArtifactError, match=r"layer 1: the dictionary that the configuration names now has weights [0-9a-f]{8}, the run used 0000"
    ):
        write_decoders(run, run.output_dir)
    assert not (Path(run.output_dir) / DECODERS.name).exists()


@pytest.fixture
def inside(tmp_path: Path) -> Config:
    """A run with SAEs on an MLP's input and on the heads' outputs."""
    cfg = write_tiny_run(tmp_path)
    sites = []
    for kind, hook in (("mlp_in", "blocks.1.mlp.hook_in"), ("hook_z", "blocks.1.attn.hook_z")):
        copying_sae(D_MODEL, metadata={"hook_name": hook}).save_model(tmp_path / kind)
        sites.append({"layer": 1, "kind": kind, "release": str(tmp_path / kind)})
    cfg = Config(**cfg.model_dump(exclude={"layers", "sites"}) | {"n_placebo": 0, "sites": sites})
    return write_features(cfg, [("L1.mlpin", 1, 3), ("L1.z", 1, 0), ("L1.z", 1, 31)])


def test_rows_on_the_heads_outputs_go_through_w_o(inside: Config) -> None:
    done = write_decoders(inside, inside.output_dir)
    assert (done.count, done.width, done.without) == (2, D_MODEL, 1)  # what is written at the MLP's input is not in the stream
    frame = read_table(done.path, DECODERS).to_pandas()
    assert frame["fid"].tolist() == [1, 2]
    model, saes = load_model_and_saes(inside)
    rows = (saes["L1.z"].W_dec[[0, 31]] @ output_weights(model, 1)).detach().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(frame["decoder"].tolist()), rows, atol=1e-6)


def test_the_width_of_the_heads_outputs_is_not_that_of_the_stream(inside: Config) -> None:
    write_decoders(inside, inside.output_dir)
    root = Path(inside.output_dir)
    features = read_table(root / FEATURES.name, FEATURES).to_pandas()
    on_z, on_mlp = ([{"layer": 1, "d_in": 2 * D_MODEL, "reads": reads}] for reads in ("z", "mlp_out"))
    assert vectors.read(RunDirectory(root, {}, {}, {}, on_z, "", ""), features) == vectors.Vectors(2, D_MODEL)
    with pytest.raises(InvalidRun, match=f"vectors of {D_MODEL} numbers; expected {2 * D_MODEL}"):
        vectors.read(RunDirectory(root, {}, {}, {}, on_mlp, "", ""), features)


def test_a_directory_without_features_says_so(run: Config) -> None:
    (Path(run.output_dir) / FEATURES.name).unlink()
    done = CliRunner().invoke(app, ["vectors", run.output_dir])
    assert done.exit_code == 1
    assert "features.parquet: no such file" in done.output
