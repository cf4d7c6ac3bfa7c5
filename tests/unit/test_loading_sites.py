"""Dictionaries named one by one, ids that do not exist, folders above and below the ones that are meant, records that disagree."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import save_file

from feature_graph.cli.common import load_config
from feature_graph.config import Config, ConfigError
from feature_graph.dictionaries import block_in
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.releases import Release, choose, find_release, resolve_ids
from feature_graph.loading.saes import load_saes
from feature_graph.pipeline.manifest import Manifest
from feature_graph.pipeline.plan import situation
from feature_graph.pipeline.stages import stage_named
from tests import hublayout

D_IN, D_SAE = 16, 32


def write(folder, hook=None, scale=1.0, **meta):
    """A dictionary of SAELens 6 whose weights tell which one it is."""
    folder.mkdir(parents=True, exist_ok=True)
    w = torch.cat([torch.eye(D_IN), -torch.eye(D_IN)]) * scale
    weights = {"W_enc": w.T.contiguous(), "b_enc": torch.zeros(D_SAE), "W_dec": w, "b_dec": torch.zeros(D_IN)}
    save_file(weights, folder / "sae_weights.safetensors")
    said = {"sae_lens_version": "6.5.0"} | ({"hook_name": hook} if hook else {}) | meta
    cfg = {"architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "apply_b_dec_to_input": False, "metadata": said}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def hook(layer):
    return f"blocks.{layer}.hook_resid_post"


def gemma(root, layer, l0, scale):
    folder = root / f"layer_{layer}" / "width_16k" / f"average_l0_{l0}"
    folder.mkdir(parents=True)
    w = np.concatenate([np.eye(D_IN), -np.eye(D_IN)]).astype("float32") * scale
    np.savez(folder / "params.npz", W_enc=w.T, b_enc=np.zeros(D_SAE), W_dec=w, b_dec=np.zeros(D_IN), threshold=np.full(D_SAE, 0.1))


# --- sites


def test_sites_name_ids_that_follow_no_template(tmp_path):
    root = tmp_path / "gemma-scope-2b-pt-res"
    for layer, l0, scale in [(1, 59, 1.0), (2, 137, 2.0), (2, 18, 9.0)]:
        gemma(root, layer, l0, scale)
    sites = [{"layer": 2, "id": "layer_2/width_16k/average_l0_137"}, {"layer": 1, "id": "layer_1/width_16k/average_l0_59"}]
    cfg = Config(sae_release=str(root), sites=sites)
    assert cfg.layers == [1, 2]
    saes = load_saes(cfg, "cpu")
    assert {layer: float(sae.W_dec.max()) for layer, sae in saes.items()} == {1: 1.0, 2: 2.0}
    assert saes[2].cfg.metadata.feature_graph_release == "gemma-scope-2b-pt-res"
    assert saes[2].cfg.metadata.feature_graph_sae_id == "layer_2/width_16k/average_l0_137"
    assert saes[2].cfg.metadata.hook_name == hook(2)


def test_sites_come_from_several_releases_and_fall_back_to_the_common_ones(tmp_path):
    for release, layer, scale in [("a", 1, 1.0), ("b", 2, 2.0)]:
        write(tmp_path / release / hook(layer), hook(layer), scale)
    cfg = Config(sae_release=str(tmp_path / "a"), sites=[{"layer": 1}, {"layer": 2, "release": str(tmp_path / "b")}])
    saes = load_saes(cfg, "cpu")
    assert {layer: float(sae.W_dec.max()) for layer, sae in saes.items()} == {1: 1.0, 2: 2.0}
    assert [sae.cfg.metadata.feature_graph_release for sae in saes.values()] == ["a", "b"]
    assert cfg.releases == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_site_may_name_the_folder_of_the_dictionary_itself(tmp_path):
    folders = [write(tmp_path / "mine" / f"sae{layer}", hook(layer), float(layer)) for layer in (1, 2)]
    saes = load_saes(Config(sites=[{"layer": n, "release": f"{folder}/"} for n, folder in enumerate(folders, 1)]), "cpu")
    assert {layer: float(sae.W_dec.max()) for layer, sae in saes.items()} == {1: 1.0, 2: 2.0}
    assert (saes[1].cfg.metadata.feature_graph_release, saes[1].cfg.metadata.feature_graph_sae_id) == ("mine", "sae1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sites": [{"layer": 1}, {"layer": 2}], "layers": [1, 3]}, r"layers = \[1, 3\] and sites on layers \[1, 2\]"),
        ({"sites": [{"layer": 1}, {"layer": 1}]}, "each layer"),
        ({"sites": [{"layer": -1}, {"layer": 1}]}, "greater than or equal to 0"),
        ({"sites": [{"layer": 1, "relase": "x"}, {"layer": 2}]}, "relase"),
        ({"sites": [{"id": "x"}, {"layer": 2}]}, r"sites\.0\.layer"),
    ],
)
def test_sites_that_clash_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_sites_are_saved_and_loaded(tmp_path, ending):
    cfg = Config(sites=[{"layer": 5, "id": "b"}, {"layer": 3, "release": "r", "id": "a"}], layers=[5, 3])
    cfg.save(tmp_path / f"c.{ending}")
    again = Config.load(tmp_path / f"c.{ending}")
    assert again == cfg
    assert again.layers == [3, 5]
    assert [site.id for site in again.sites] == ["a", "b"]


def test_a_file_with_sites_and_other_layers_is_refused_by_name(tmp_path):
    (tmp_path / "c.yaml").write_text("layers: [1, 2]\nsites:\n- {layer: 1, id: a}\n- {layer: 3, id: b}\n")
    with pytest.raises(ConfigError, match="leave layers out or name the same ones"):
        Config.load(tmp_path / "c.yaml")


def test_sites_on_the_command_line_bring_their_layers():
    assert load_config("bundled-residual", ["sites=[{layer: 3}, {layer: 7, id: x}]"]).layers == [3, 7]
    with pytest.raises(ConfigError, match="leave layers out"):
        load_config("bundled-residual", ["sites=[{layer: 3}, {layer: 7, id: x}]", "layers=[3, 11]"])


def test_hashes_of_configurations_without_sites_are_those_of_before():
    assert "sites" not in Config().hashed()
    assert Config().digest({"layers", "sites", "sae_release"}) == Config().digest({"layers", "sae_release"})
    assert Config(sites=[{"layer": 3}, {"layer": 7}]).digest() != Config(layers=[3, 7]).digest()


def test_a_changed_file_of_a_sites_release_makes_its_stages_stale(tmp_path):
    for layer in (1, 2):
        write(tmp_path / f"sae{layer}", hook(layer))
    cfg = Config(sites=[{"layer": layer, "release": str(tmp_path / f"sae{layer}")} for layer in (1, 2)])
    stage, manifest = stage_named("collect"), Manifest()
    before = situation(stage, cfg, tmp_path, manifest).inputs["sae_release"]
    assert situation(stage, cfg, tmp_path, manifest).inputs["sae_release"] == before
    write(tmp_path / "sae2", hook(2), scale=3.0)
    assert situation(stage, cfg, tmp_path, manifest).inputs["sae_release"] != before


# --- what is not there


def test_two_layers_on_one_folder_are_refused(tmp_path):
    write(tmp_path / "r" / hook(1), hook(1))
    (tmp_path / "r" / "again").symlink_to(tmp_path / "r" / hook(1))
    with pytest.raises(LoadingError, match=r"layers 1 and 2 would both read .*again"):
        choose(Config(sae_release=str(tmp_path / "r"), sites=[{"layer": 1, "id": hook(1)}, {"layer": 2, "id": "again"}]))
    release = "gpt2-small-res-jb"
    with pytest.raises(LoadingError, match=r"layers 5 and 6 would both read blocks\.6\.hook_resid_pre of gpt2-small-res-jb"):
        choose(Config(sae_release=release, sites=[{"layer": 5, "id": hook(5)}, {"layer": 6, "id": "blocks.6.hook_resid_pre"}]))


@pytest.mark.parametrize(
    ("ids", "wanted", "near"),
    [
        ({"run1/blocks.1.hook_resid_post", "run1/blocks.2.hook_resid_post"}, hook(1), "run1/blocks.1.hook_resid_post"),
        ({"blocks.1.hook_resid_post/final", "blocks.1.hook_resid_post/step_100"}, hook(1), "blocks.1.hook_resid_post/final"),
        ({"Blocks.1.hook_resid_post", "other"}, hook(1), "Blocks.1.hook_resid_post"),
        ({"layer_1/width_16k/average_l0_59", "layer_2/width_16k/average_l0_8"}, hook(1), "layer_1/width_16k/average_l0_59"),
        ({"layers.0", "layers.1", "layers.10"}, "layer_1", "layers.1"),
        ({"resid_post_layer_1/trainer_0", "resid_post_layer_3/trainer_0"}, hook(1), "resid_post_layer_1/trainer_0"),
    ],
)
def test_near_names_come_first(ids, wanted, near):
    with pytest.raises(LoadingError, match=rf"such as {near}".replace(".", r"\.")):
        resolve_ids(Release("r", None, None, frozenset(ids)), wanted.replace("1", "{layer}", 1), [1])


def test_folders_that_hold_no_dictionary_say_what_they_hold(tmp_path):
    write(tmp_path / "r" / hook(1), hook(1))
    (tmp_path / "r" / hook(2)).mkdir()
    (tmp_path / "r" / hook(2) / "weights.bin").touch()
    cfg = Config(sae_release=str(tmp_path / "r"), layers=[1, 2])
    with pytest.raises(LoadingError, match=r"hook_resid_post holds no dictionary; expected cfg\.json .* there is weights\.bin"):
        choose(cfg)
    shutil.rmtree(tmp_path / "r" / hook(1))
    shutil.rmtree(tmp_path / "r" / hook(2))
    with pytest.raises(LoadingError, match="the folders below it hold no dictionary"):
        choose(cfg)


def test_one_dictionary_given_as_a_release_says_so(tmp_path):
    write(tmp_path / "r", hook(1))
    with pytest.raises(LoadingError, match="is itself one dictionary: name the folder above it"):
        choose(Config(sae_release=str(tmp_path / "r"), layers=[1, 2]))


def test_releases_by_their_folder_in_every_spelling(tmp_path, monkeypatch):
    for layer in (1, 2):
        write(tmp_path / "home" / "r" / hook(layer), hook(layer))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for spelling in ("~/r", str(tmp_path / "home" / "r") + "/", str(tmp_path / "home" / "x" / ".." / "r")):
        (tmp_path / "home" / "x").mkdir(exist_ok=True)
        release = find_release(spelling)
        assert release.name == "r"
        assert resolve_ids(release, "./blocks.{layer}.hook_resid_post/", [1, 2]) == {1: hook(1), 2: hook(2)}


@pytest.mark.parametrize(
    ("name", "message"),
    [("GPT2-Small-Res-JB", "such as gpt2-small-res-jb"), ("{tmp}/none", "an existing folder"), ("{tmp}/file", "is a file")],
)
def test_releases_that_do_not_exist(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(LoadingError, match=message):
        find_release(name.replace("{tmp}", str(tmp_path)))


def test_a_folder_that_is_missing_beside_others_is_no_repository(tmp_path, monkeypatch):
    write(tmp_path / "saes" / "mine" / hook(1), hook(1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LoadingError, match="an existing folder"):
        find_release("saes/mien")


# --- what the dictionaries record


def two(tmp_path, first=None, second=None, **meta):
    for layer, recorded in ((1, first), (2, second)):
        write(tmp_path / "r" / hook(layer), recorded, float(layer), **meta)
    return Config(sae_release=str(tmp_path / "r"), layers=[1, 2], context_length=16, position_horizon=2)


def test_a_hook_unlike_the_folders_name_is_refused(tmp_path):
    with pytest.raises(LoadingError, match=r"layer 2: .* named after blocks\.2\.hook_resid_post, but its file says .* reads blocks\.3"):
        load_saes(two(tmp_path, hook(1), hook(3)), "cpu")


def test_a_layer_unlike_the_file_is_refused_and_other_numbers_in_a_name_are_not(tmp_path):
    for layer in (1, 2):
        write(tmp_path / "r" / f"layer_{layer}", hook(layer + 4), float(layer))
        write(tmp_path / "s" / f"layer_9_probe_{layer}", hook(layer), float(layer))
    with pytest.raises(
        LoadingError, match=r"layer 1: .* is named after block 1, but its file says that it reads blocks\.5\.hook_resid_post"
    ):
        load_saes(Config(sae_release=str(tmp_path / "r"), sae_id_template="layer_{layer}", layers=[1, 2]), "cpu")
    saes = load_saes(Config(sae_release=str(tmp_path / "s"), sae_id_template="layer_9_probe_{layer}", layers=[1, 2]), "cpu")
    assert [sae.cfg.metadata.hook_name for sae in saes.values()] == [hook(1), hook(2)]


def test_a_site_may_spell_its_id_with_layer_or_as_a_whole_path(tmp_path):
    cfg = two(tmp_path, hook(1), hook(2))
    sites = [{"layer": 1, "id": "blocks.{layer}.hook_resid_post"}, {"layer": 2, "id": str((tmp_path / "r" / hook(2)).resolve())}]
    saes = load_saes(Config(sae_release=cfg.sae_release, sites=sites), "cpu")
    assert [sae.cfg.metadata.feature_graph_sae_id for sae in saes.values()] == [hook(1), hook(2)]


def test_the_other_name_of_the_same_stream_is_no_contradiction(tmp_path):
    saes = load_saes(two(tmp_path, "blocks.2.hook_resid_pre", "model.layers.2"), "cpu")
    assert [sae.cfg.metadata.hook_name for sae in saes.values()] == ["blocks.2.hook_resid_pre", "model.layers.2"]


def test_a_hook_that_is_not_recorded_is_taken_from_the_folder_or_missed(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="feature_graph"):
        saes = load_saes(two(tmp_path, None, hook(2)), "cpu")
    assert saes[1].cfg.metadata.hook_name == hook(1)
    assert "layer 1: the SAE records no hook; by its name it reads blocks.1.hook_resid_post" in caplog.text
    for layer in (1, 2):
        write(tmp_path / "s" / f"sae{layer}")
    with pytest.raises(LoadingError, match=r"records no hook .* and 'sae1' names none"):
        load_saes(Config(sae_release=str(tmp_path / "s"), sae_id_template="sae{layer}", layers=[1, 2]), "cpu")


@pytest.mark.parametrize(
    ("meta", "changes", "message"),
    [
        ({"seqpos_slice": [5, -5]}, {}, "layers 1, 2: the SAEs were trained on positions [5, -5] of each context only"),
        ({"context_size": 8}, {}, "layers 1, 2: the SAEs were trained on contexts of 8 tokens, this run reads 16"),
        ({"prepend_bos": True}, {"prepend_bos": False}, "layers 1, 2: the SAEs were trained with BOS, this run has prepend_bos: false"),
        ({"model_name": "pythia-70m"}, {"model_name": "gpt2-small"}, "the SAEs were trained on 'pythia-70m', the model is 'gpt2-small'"),
        ({"model_name": "gpt2-small"}, {"model_name": "{tmp}/x/pythia"}, "the SAEs were trained on 'gpt2-small', the model is"),
    ],
)
def test_training_unlike_this_run_is_mentioned_once(tmp_path, caplog, meta, changes, message):
    cfg = two(tmp_path, hook(1), hook(2), **meta)
    changes = {key: value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value for key, value in changes.items()}
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        load_saes(cfg.model_copy(update={"model_name": "gpt2-small"} | changes), "cpu")
    assert [message in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("gpt2-small", "gpt2"),
        ("google/gemma-2-2b", "gemma-2-2b"),
        ("gpt2", "{tmp}/models/gpt2"),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
    ],
)
def test_training_like_this_run_is_not(tmp_path, caplog, recorded, name):
    cfg = two(tmp_path, hook(1), hook(2), model_name=recorded, context_size=16, prepend_bos=True, seqpos_slice=[None])
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        load_saes(cfg.model_copy(update={"model_name": name.replace("{tmp}", str(tmp_path)), "prepend_bos": True}), "cpu")
    assert not caplog.records


def test_one_file_under_two_names_is_mentioned(tmp_path, caplog):
    two(tmp_path, hook(1), hook(2))
    shutil.copy(tmp_path / "r" / hook(1) / "sae_weights.safetensors", tmp_path / "r" / hook(2))
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        load_saes(Config(sae_release=str(tmp_path / "r"), layers=[1, 2]), "cpu")
    assert [record.message for record in caplog.records] == [
        "layers 1, 2: the SAEs have the same weights; was a file copied to another layer?"
    ]


# --- the hub's cache


@pytest.mark.slow
def test_dictionaries_of_the_hub_go_through_the_same_readers(tmp_path):
    """A child process, since the hub's client reads its cache folder from the environment when it is imported."""
    folder = hublayout.snapshot(tmp_path, "jbloom/GPT2-Small-SAEs-Reformatted")
    for layer in (1, 2, 3):
        write(folder / f"blocks.{layer}.hook_resid_pre", f"blocks.{layer}.hook_resid_pre", float(layer))
    (folder / "blocks.3.hook_resid_pre" / "sae_weights.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    eleuther = hublayout.snapshot(tmp_path, "someone/sae-pythia")
    weights = {"encoder.weight": torch.ones(D_SAE, D_IN), "encoder.bias": torch.zeros(D_SAE)}
    weights |= {"W_dec": torch.ones(D_SAE, D_IN), "b_dec": torch.full((D_IN,), 2.0)}
    for layer in (1, 2):
        (eleuther / f"layers.{layer}").mkdir()
        save_file(weights, eleuther / f"layers.{layer}" / "sae.safetensors")
        (eleuther / f"layers.{layer}" / "cfg.json").write_text(json.dumps({"k": 4, "d_in": D_IN, "num_latents": D_SAE}))
    code = """
from feature_graph.cli.common import load_config
from feature_graph.config import Config
from feature_graph.loading.saes import load_saes
from feature_graph.dictionaries import block_in
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
saes = load_saes(Config(sae_release="gpt2-small-res-jb", layers=[0, 1]), "cpu")
for layer, sae in saes.items():
    meta = sae.cfg.metadata
    print(layer, float(sae.W_dec.max()), meta.feature_graph_release, meta.feature_graph_sae_id)
saes = load_saes(Config(sae_release="someone/sae-pythia", sae_id_template="layers.{layer}", layers=[1, 2]), "cpu")
print(saes[1].cfg.architecture(), saes[1].cfg.apply_b_dec_to_input, saes[1].cfg.metadata.hook_name, float(saes[1].b_dec.max()))
for changes in ({"layers": [1, 2]}, {"sae_release": "someone/sae-pythia", "sae_id_template": "layers.{layer}.mlp", "layers": [1, 2]}):
    try:
        load_saes(Config(**{"sae_release": "gpt2-small-res-jb"} | changes), "cpu")
    except LoadingError as error:
        print(error)
"""
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "0 1.0 gpt2-small-res-jb blocks.1.hook_resid_pre",
        "1 2.0 gpt2-small-res-jb blocks.2.hook_resid_pre",
        "topk True blocks.1.hook_resid_post 2.0",
    ]
    assert "sae_weights.safetensors is a Git LFS pointer" in lines[3]
    assert "someone/sae-pythia/layers.1.mlp is not in the cache" in lines[4]
    assert len(lines) == 5


def test_a_cross_layer_transcoder_released_by_layers_is_refused_before_it_is_fetched(monkeypatch):
    monkeypatch.setattr("feature_graph.loading.saes.load_from_hub", lambda *_: pytest.fail("it was fetched"))
    release = next(name for name in get_pretrained_saes_directory() if "clt" in name.lower())
    ids = sorted(get_pretrained_saes_directory()[release].saes_map)
    sites = [{"layer": block_in(name), "kind": "transcoder", "id": name} for name in ids[:2]]
    with pytest.raises(UnsupportedSAEError, match=r"clt.* names a cross-layer transcoder or crosscoder"):
        load_saes(Config(sae_release=release, sites=sites), "cpu")


@pytest.mark.parametrize("file", ["W_enc_3.safetensors", "width_65k_l0_big/params_layer_3.safetensors"])
def test_files_of_a_cross_layer_transcoder_are_refused_by_name(tmp_path, file):
    path = tmp_path / "r" / file
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "r" / "config.yaml").write_text("model_kind: cross_layer_transcoder\n")
    sites = [{"layer": n, "kind": "transcoder", "id": f"layer_{n}"} for n in (1, 3)]
    with pytest.raises(
        LoadingError, match=rf"holds {path.name}, a part of a cross-layer transcoder, whose features write to several layers"
    ):
        choose(Config(sae_release=str(tmp_path / "r"), sites=sites))
