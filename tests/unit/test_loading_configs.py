"""The shipped configurations: read, and their dictionaries exist in the registry under the names they give."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_graph.config import BUNDLED_LAYERS, BUNDLED_SAES, Config
from feature_graph.loading.bundled import MODEL_NAME
from feature_graph.loading.bundled_releases import release_folder
from feature_graph.loading.releases import find_release, resolve_ids
from feature_graph.loading.saes import load_saes, trained_with_bos

FOLDER = Path(__file__).parents[2] / "examples" / "configs"
NAMES = ["bundled", "gemma-2-2b", "gpt2-small", "gpt2-small-all-pairs", "gpt2-small-full", "pythia-70m"]


def test_these_are_all():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_names_dictionaries_that_exist(name):
    cfg = Config.load(FOLDER / f"{name}.yaml")
    release = find_release(cfg.sae_release)
    assert release.ids
    assert sorted(resolve_ids(release, cfg.sae_id_template, cfg.layers)) == cfg.layers
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
    saes = load_saes(Config(), "cpu")
    assert sorted(saes) == list(BUNDLED_LAYERS)
    assert trained_with_bos(saes) is False
    for layer, sae in saes.items():
        meta = sae.cfg.metadata
        assert (meta.model_name, meta.hook_name) == (MODEL_NAME, f"blocks.{layer}.hook_resid_post")
        assert sae.cfg.architecture() == "jumprelu"
        assert meta.expected_l0 > 0
        assert 0.5 < meta.expected_explained_variance < 1
        assert (sae.W_dec.norm(dim=1) - 1).abs().max() < 1e-3


def test_the_bundled_dictionaries_are_small_enough_to_ship():
    assert sum(p.stat().st_size for p in release_folder(BUNDLED_SAES).rglob("*") if p.is_file()) < 55e6
