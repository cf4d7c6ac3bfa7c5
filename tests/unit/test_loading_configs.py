"""The shipped configurations: read, and their dictionaries exist in the registry under the names they give."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_graph.artifacts import layer_of
from feature_graph.bundled import release_folder
from feature_graph.config import BUNDLED_BAND, BUNDLED_LAYERS, BUNDLED_SAES, BUNDLED_TRANSCODERS, Config
from feature_graph.loading.bundled import MODEL_NAME
from feature_graph.loading.releases import choose
from feature_graph.loading.saes import load_saes, trained_with_bos

FOLDER = Path(__file__).parents[2] / "examples" / "configs"
NAMES = ["bundled", "bundled-residual", "gemma-2-2b", "gpt2-small", "gpt2-small-all-pairs", "gpt2-small-full", "pythia-70m"]


def test_these_are_all():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_names_dictionaries_that_exist(name):
    cfg = Config.load(FOLDER / f"{name}.yaml")
    found = choose(cfg)
    assert [layer_of(site) for site in found] == cfg.layers
    assert all(source.sae_id in source.release.ids for source in found.values())
    assert cfg.layer_pairs
    assert cfg.output_dir == f"outputs/{name}"


@pytest.mark.parametrize("name", NAMES)
def test_candidates_are_chosen_among_all_features_that_are_neither_dense_nor_rare(name):
    """But for the worked example, which shows the stages of pruning, and the run that measures every pair."""
    cfg = Config.load(FOLDER / f"{name}.yaml")
    chosen = ("responses", (0.0005, 0.1)) if name not in {"gpt2-small", "gpt2-small-all-pairs"} else ("pruning", None)
    assert (cfg.candidates, cfg.density_range) == chosen
    assert (cfg.targets == "all") == (name == "gpt2-small-all-pairs")


def test_the_defaults_are_what_the_worked_example_runs_with():
    assert (Config().candidates, Config().density_range, Config().n_placebo) == ("pruning", None, 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_states_its_memory(name):
    head = (FOLDER / f"{name}.yaml").read_text().split("model_name")[0]
    assert "Memory: at least" in head


def test_the_bundled_dictionaries_are_complete():
    saes = load_saes(Config.load(FOLDER / "bundled-residual.yaml"), "cpu")
    assert sorted(saes) == list(BUNDLED_LAYERS)
    assert trained_with_bos(saes) is False
    for layer, sae in saes.items():
        meta = sae.cfg.metadata
        assert (meta.model_name, meta.hook_name) == (MODEL_NAME, f"blocks.{layer}.hook_resid_post")
        assert sae.cfg.architecture() == "jumprelu"
        assert meta.expected_l0 > 0
        assert 0.5 < meta.expected_explained_variance < 1
        assert (sae.W_dec.norm(dim=1) - 1).abs().max() < 1e-3


def test_the_bundled_transcoders_are_complete():
    found = load_saes(Config.load(FOLDER / "bundled.yaml"), "cpu")
    assert list(found) == [f"L{block}.tc" for block in BUNDLED_BAND]
    assert trained_with_bos(found) is False
    for block, transcoder in zip(BUNDLED_BAND, found.values(), strict=True):
        meta = transcoder.cfg.metadata
        assert (meta.model_name, meta.hook_name) == (MODEL_NAME, f"blocks.{block}.ln2.hook_normalized")
        assert meta.hook_name_out == f"blocks.{block}.hook_mlp_out"
        assert transcoder.cfg.architecture() == "jumprelu_skip_transcoder"
        assert (transcoder.W_dec.norm(dim=1) - 1).abs().max() < 1e-3
        assert transcoder.W_skip.norm() > 0


def test_the_bundled_dictionaries_are_small_enough_to_ship():
    sizes = {
        release: sum(p.stat().st_size for p in release_folder(release).rglob("*") if p.is_file())
        for release in (BUNDLED_SAES, BUNDLED_TRANSCODERS)
    }
    assert sizes[BUNDLED_SAES] < 55e6
    assert sizes[BUNDLED_TRANSCODERS] < 50e6
