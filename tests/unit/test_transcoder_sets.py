"""circuit-tracer's sets of transcoders: in a folder, in the hub's cache, and listed in config.yaml from several places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from feature_graph.config import Config
from feature_graph.loading import LoadingError, OfflineError, UnsupportedSAEError
from feature_graph.loading.families import find_dictionaries
from feature_graph.loading.saes import load_saes
from tests import hublayout

D, WIDTH = 6, 12
SAID = {"model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}


def weights(block: int) -> dict[str, Tensor]:
    """Weights that tell which block they are of."""
    g = torch.Generator().manual_seed(block)
    return {
        "W_enc": torch.randn(D, WIDTH, generator=g),
        "b_enc": torch.randn(WIDTH, generator=g),
        "W_dec": torch.randn(WIDTH, D, generator=g),
        "b_dec": torch.randn(D, generator=g),
        "threshold": torch.rand(WIDTH, generator=g),
    }


def own(file: Path, block: int) -> Path:
    """A file in the family's own form."""
    w = weights(block)
    threshold = w.pop("threshold")
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(w | {"W_enc": w["W_enc"].T.contiguous(), "activation_function.threshold": threshold}, file)
    return file


def gemma_scope(file: Path, block: int) -> Path:
    """The same in Gemma Scope's form, of 2 or of Gemma Scope 2."""
    w = weights(block)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npz":
        np.savez(file, **{key: value.numpy() for key, value in w.items()})
    else:
        save_file({key.replace("W_", "w_"): value.contiguous() for key, value in w.items()}, file)
    return file


def config(folder: Path, **said: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**SAID, **said}))
    return folder


def load(release: str | Path, **ids: str) -> dict[str, Any]:
    """{block: transcoder} of ``L0="layer_0.safetensors"`` and the like."""
    sites = [{"layer": int(name[1:]), "kind": "transcoder", "id": sae_id} for name, sae_id in ids.items()]
    return load_saes(Config(sae_release=str(release), sites=sites), "cpu")


def is_of_block(transcoder: Any, block: int) -> None:
    w, x = weights(block), torch.randn(32, D, generator=torch.Generator().manual_seed(9))
    pre = x @ w["W_enc"] + w["b_enc"]
    acts = pre.relu() * (pre > w["threshold"])
    assert transcoder.cfg.architecture() == "jumprelu_transcoder"
    assert torch.allclose(transcoder(x), acts @ w["W_dec"] + w["b_dec"], atol=1e-5)
    meta = transcoder.cfg.metadata
    assert (meta.hook_name, meta.hook_name_out) == (f"blocks.{block}.mlp.hook_in", f"blocks.{block}.hook_mlp_out")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, which may not ask the network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "home"


# --- the hub


def test_a_set_on_the_hub_loads_by_its_repository(hub: Path) -> None:
    folder = config(hublayout.snapshot(hub, "someone/qwen3-transcoders"))
    for block in (0, 3):
        own(folder / f"layer_{block}.safetensors", block)
    found = load("someone/qwen3-transcoders", L0="layer_0.safetensors", L3="layer_3")
    assert list(found) == ["L0.tc", "L3.tc"]
    for block, transcoder in zip((0, 3), found.values(), strict=True):
        is_of_block(transcoder, block)
        meta = transcoder.cfg.metadata
        assert meta.feature_graph_release == "someone/qwen3-transcoders"
        assert meta.feature_graph_sae_id == f"layer_{block}.safetensors"  # one id, however it was asked for


def test_a_set_in_a_folder_of_a_repository(hub: Path) -> None:
    folder = config(hublayout.snapshot(hub, "someone/sets") / "width_16k")
    for block in (1, 2):
        own(folder / f"layer_{block}.safetensors", block)
    found = load("someone/sets", L1="width_16k/layer_1", L2="width_16k/layer_2")
    is_of_block(found["L2.tc"], 2)
    assert found["L2.tc"].cfg.metadata.feature_graph_sae_id == "width_16k/layer_2.safetensors"


def test_a_list_names_files_of_other_repositories_and_revisions(hub: Path) -> None:
    scope, two = hublayout.snapshot(hub, "someone/scope"), hublayout.snapshot(hub, "someone/scope-2")
    gemma_scope(scope / "layer_0" / "width_16k" / "average_l0_76" / "params.npz", 0)
    gemma_scope(two / "transcoder" / "layer_1_width_16k" / "params.safetensors", 1)
    old = two.parent / ("e" * 40)
    own(old / "layer_2.safetensors", 2)
    entries = [
        "hf://someone/scope/layer_0/width_16k/average_l0_76/params.npz",
        "hf://someone/scope-2/transcoder/layer_1_width_16k/params.safetensors",
        f"hf://someone/scope-2/layer_2.safetensors?revision={'e' * 40}",
        "here/layer_3.safetensors",
    ]
    own(config(hublayout.snapshot(hub, "someone/list"), transcoders=entries) / "here" / "layer_3.safetensors", 3)
    found = load("someone/list", L0="layer_0", L1="layer_1", L2="layer_2.safetensors", L3="layer_3")
    for block, transcoder in enumerate(found.values()):
        is_of_block(transcoder, block)
        assert transcoder.cfg.metadata.feature_graph_sae_id == f"layer_{block}"


@pytest.mark.parametrize(
    ("said", "where", "message"),
    [
        ({"model_kind": "cross_layer_transcoder"}, "someone/set", "'cross_layer_transcoder': its features write to several layers"),
        (
            {"model_kind": "cross_layer_transcoder", "transcoders": ["hf://someone/scope-2/a/params.safetensors"]},
            "someone/set",
            "'cross_layer_transcoder': its features write to several layers",
        ),
        ({"transcoders": ["hf://someone/scope-2/clt/params_layer_0.safetensors"]}, "someone/set", "names a cross-layer transcoder"),
        ({}, "someone/clt-2.5M", "names a cross-layer transcoder"),
    ],
)
def test_cross_layer_sets_are_refused_before_their_weights_are_asked_for(hub: Path, said: Any, where: str, message: str) -> None:
    """Nothing but config.yaml is in the cache, and the network is off: asking for more would be an OfflineError."""
    config(hublayout.snapshot(hub, where), **said)
    with pytest.raises(UnsupportedSAEError, match=message):
        load(where, L0="layer_0", L1="layer_1")


def test_what_is_not_in_the_cache_is_named(hub: Path) -> None:
    with pytest.raises(OfflineError, match=r"SAE layer_0\.safetensors of someone/set: .*not in the cache"):
        load("someone/set", L0="layer_0.safetensors", L1="layer_1.safetensors")
    config(hublayout.snapshot(hub, "someone/set"))
    with pytest.raises(OfflineError, match=r"someone/set/layer_0\.safetensors is not in the cache"):
        load("someone/set", L0="layer_0", L1="layer_1")
    config(hublayout.snapshot(hub, "someone/set"), transcoders=["hf://someone/else/params.npz"])
    with pytest.raises(OfflineError, match=r"someone/else/params\.npz is not in the cache"):
        load("someone/set", L0="layer_0", L1="layer_1")


def test_a_folder_of_another_family_with_such_a_name_is_read_as_before(hub: Path) -> None:
    root = hublayout.snapshot(hub, "someone/saes")
    (root / "config.yaml").write_text("learning_rate: 0.001\n")
    for block in (0, 1):
        (root / f"layer_{block}").mkdir()
        w = weights(block)
        save_file({key: w[key] for key in ("W_enc", "b_enc", "W_dec", "b_dec")}, root / f"layer_{block}" / "sae_weights.safetensors")
        meta = {"hook_name": f"blocks.{block}.hook_mlp_out", "sae_lens_version": "6.5.0"}
        said = {"architecture": "standard", "d_in": D, "d_sae": WIDTH, "apply_b_dec_to_input": False, "metadata": meta}
        (root / f"layer_{block}" / "cfg.json").write_text(json.dumps(said))
    sites = [{"layer": block, "kind": "mlp_out", "id": f"layer_{block}"} for block in (0, 1)]
    found = load_saes(Config(sae_release="someone/saes", sites=sites), "cpu")
    assert torch.equal(found["L1.mlp"].W_dec, weights(1)["W_dec"])


# --- folders


def test_a_folders_list_names_files_beside_it_elsewhere_and_on_the_hub(hub: Path, tmp_path: Path) -> None:
    gemma_scope(hublayout.snapshot(hub, "someone/scope") / "layer_2" / "params.npz", 2)
    elsewhere = own(tmp_path / "elsewhere" / "b.safetensors", 1)
    root = config(
        tmp_path / "set", transcoders=["layer_0.safetensors", str(elsewhere), "hf://someone/scope/layer_2/params.npz", "sub/d.safetensors"]
    )
    own(root / "layer_0.safetensors", 0)
    own(root / "sub" / "d.safetensors", 3)
    assert find_dictionaries(root) == {"layer_0.safetensors", "layer_1", "layer_2", "layer_3"}
    found = load(root, L0="layer_0", L1="layer_1", L2="layer_2", L3="layer_3")
    for block, transcoder in enumerate(found.values()):
        is_of_block(transcoder, block)
    assert [one.cfg.metadata.feature_graph_sae_id for one in found.values()] == ["layer_0.safetensors", "layer_1", "layer_2", "layer_3"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["layer_0.safetensors", "layer_3.safetensors"], "lists layer_3.safetensors at place 1, .* the transcoder of block 1"),
        ("layer_0.safetensors", "transcoders must be a list of files"),
        (["hf://params.npz", "b"], "expected hf://owner/repository/path/file"),
        (["gone.safetensors", "b"], r"gone\.safetensors does not exist"),
    ],
)
def test_lists_that_cannot_be_followed_are_refused(tmp_path: Path, entries: Any, message: str) -> None:
    root = config(tmp_path / "set", transcoders=entries)
    with pytest.raises(LoadingError, match=message):
        load(root, L0="layer_0", L1="layer_1")


def test_a_list_of_the_hub_that_ends_early_or_names_another_machine_is_refused(hub: Path) -> None:
    folder = hublayout.snapshot(hub, "someone/set")
    for entries, message in (
        (["hf://a/b/c.npz"], "lists 1 files, blocks 0 to 0, none for layer_4"),
        (["x"] * 4 + ["/home/me/e.safetensors"], "a path of another machine"),
    ):
        config(folder, transcoders=entries)
        with pytest.raises(LoadingError, match=message):
            load("someone/set", L4="layer_4", L5="layer_5")
