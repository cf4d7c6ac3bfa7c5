"""Loading from local folders, resolution of ids, refusals. No network, no real model."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sae_lens import SAE, StandardSAE, StandardSAEConfig
from sae_lens.saes.sae import SAEMetadata
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformer_lens import HookedTransformer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from feature_graph.config import Config, ConfigError
from feature_graph.dictionaries.quality import Quality, check_quality
from feature_graph.loading import LoadingError, OfflineError, QualityError, describe_sites, get_sae_dict_size, load_model_and_saes
from feature_graph.loading.models import load_model, resolve_device
from feature_graph.loading.releases import Release, find_release, resolve_ids, same_tensor
from feature_graph.loading.saes import load_saes, model_settings

WORDS = [f"word{i}" for i in range(60)]
D_MODEL, D_SAE, N_LAYERS = 16, 40, 3


def write_model(folder: Path, *, tokenizer: bool = True) -> Path:
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=N_LAYERS, n_embd=D_MODEL, n_head=2, vocab_size=80, n_positions=32, n_ctx=32))
    gpt2.save_pretrained(folder)
    if tokenizer:
        plain = Tokenizer(models.WordLevel(unk_token="<unk>"))
        plain.pre_tokenizer = pre_tokenizers.Whitespace()
        plain.train_from_iterator([" ".join(WORDS)], trainers.WordLevelTrainer(special_tokens=["<unk>", "<s>", "</s>"]))
        PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


def write_saes(folder: Path, model: HookedTransformer, hooks: list[str], **metadata: object) -> Path:
    """Dictionaries that reconstruct exactly: +- each axis of the residual stream."""
    for hook in hooks:
        sae = StandardSAE(
            StandardSAEConfig(d_in=D_MODEL, d_sae=D_SAE, apply_b_dec_to_input=False, metadata=SAEMetadata(hook_name=hook, prepend_bos=True))
        )
        with torch.no_grad():
            sae.W_dec.copy_(torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL), torch.zeros(D_SAE - 2 * D_MODEL, D_MODEL)]))
            sae.W_enc.copy_(sae.W_dec.T)
            sae.b_enc.zero_(), sae.b_dec.zero_()
        for key, value in metadata.items():
            sae.cfg.metadata[key] = value
        sae.save_model(folder / hook)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("local")
    model_folder = write_model(root / "tiny-gpt2")
    model = load_model(Config(model_name=str(model_folder), layers=[0, 1]))
    saes = write_saes(root / "tiny-saes", model, ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"])
    text = root / "text.txt"
    text.write_text(" ".join(WORDS * 200))
    return model_folder, saes, text


def config(parts, **changes):
    model, saes, text = parts
    values = {
        "model_name": str(model),
        "sae_release": str(saes),
        "layers": [0, 1],
        "dataset": str(text),
        "context_length": 16,
        "n_tokens": 64,
        "position_horizon": 2,
    }
    return Config(**(values | changes))


def test_local_folders_load_by_the_same_call(parts, caplog):
    with caplog.at_level(logging.INFO, logger="feature_graph"):
        model, saes = load_model_and_saes(config(parts))
    assert isinstance(model, HookedTransformer)
    assert model.cfg.model_name == "tiny-gpt2"
    assert sorted(saes) == [0, 1]
    assert all(isinstance(sae, SAE) for sae in saes.values())
    assert get_sae_dict_size(saes[0]) == D_SAE
    sites = describe_sites(model, saes)
    assert [(s.hook, s.point, s.release, s.sae_id) for s in sites.values()] == [
        ("blocks.1.hook_resid_pre", 1, "tiny-saes", "blocks.1.hook_resid_pre"),
        ("blocks.2.hook_resid_pre", 2, "tiny-saes", "blocks.2.hook_resid_pre"),
    ]
    said = [r.message for r in caplog.records if "the same tensors are read" in r.message]
    assert len(said) == 1
    assert "blocks.0.hook_resid_post -> blocks.1.hook_resid_pre, blocks.1.hook_resid_post -> blocks.2.hook_resid_pre" in said[0]
    assert not any(p.requires_grad for p in model.parameters())


def test_a_local_model_computes_what_transformers_computes(parts):
    model = load_model(config(parts))
    theirs = GPT2LMHeadModel.from_pretrained(parts[0]).eval()
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        ours = model(tokens)
        assert torch.allclose(ours.log_softmax(-1), theirs(tokens).logits.log_softmax(-1), atol=1e-4)


def test_a_folder_whose_path_names_another_kind_of_model_is_loaded_by_its_own_config(tmp_path):
    folder = write_model(tmp_path / "albert" / "t5-notes" / "mine", tokenizer=False)
    model = load_model(Config(model_name=str(folder), layers=[0, 1]))
    assert model.cfg.original_architecture == "GPT2LMHeadModel"
    assert model.cfg.n_layers == N_LAYERS


def test_the_model_is_processed_as_the_dictionaries_ask(parts, tmp_path):
    plain = load_model(config(parts))
    saes = write_saes(
        tmp_path / "saes",
        plain,
        ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"],
        model_from_pretrained_kwargs={"center_writing_weights": True},
    )
    model, loaded = load_model_and_saes(config(parts, sae_release=str(saes)))
    assert model_settings(loaded) == {"center_writing_weights": True}
    assert model.blocks[0].mlp.W_out.mean(-1).abs().max() < 1e-6 < plain.blocks[0].mlp.W_out.mean(-1).abs().max()
    tokens = torch.arange(12)[None]
    assert torch.allclose(model(tokens).log_softmax(-1), plain(tokens).log_softmax(-1), atol=1e-4)


def test_fewer_dictionaries_than_asked_for_is_an_error(parts):
    with pytest.raises(LoadingError, match=r"has no blocks\.2\.hook_resid_post"):
        load_model_and_saes(config(parts, layers=[0, 1, 2]))


def test_layers_beyond_the_model_are_refused(parts, tmp_path):
    model = load_model(config(parts))
    saes = write_saes(tmp_path / "saes", model, ["blocks.1.hook_resid_pre", "blocks.9.hook_resid_pre"])
    with pytest.raises(ConfigError, match=r"layers: got \[8\]"):
        load_model_and_saes(config(parts, sae_release=str(saes), layers=[0, 8]))


def test_a_dictionary_that_explains_nothing_stops_the_run(parts, tmp_path, caplog):
    model = load_model(config(parts))
    folder = write_saes(tmp_path / "saes", model, ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"])
    sae = SAE.load_from_disk(folder / "blocks.1.hook_resid_pre")
    with torch.no_grad():
        sae.W_enc.mul_(-1)
    sae.save_model(folder / "blocks.1.hook_resid_pre")
    with pytest.raises(QualityError, match=r"explain less than 0\.5 .*layer 0"):
        load_model_and_saes(config(parts, sae_release=str(folder)))
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        load_model_and_saes(config(parts, sae_release=str(folder), sae_quality="warn"))
    assert any("explain less than 0.5" in r.message for r in caplog.records)
    load_model_and_saes(config(parts, sae_release=str(folder), sae_quality="off"))


def test_figures_far_from_the_published_ones_are_warned_about(caplog):
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        check_quality({3: Quality(3, 90.0, 0.7, 40.0, 0.85, 100), 4: Quality(4, 60.0, 0.8, 40.0, 0.85, 100)})
    assert len(caplog.records) == 2
    assert "layer 3: the SAE 90.0 features active per token, published 40.0" in caplog.records[0].message
    assert "explains 0.700 of the variance, published 0.850" in caplog.records[1].message


def test_nan_does_not_pass_for_quality():
    with pytest.raises(QualityError):
        check_quality({0: Quality(0, 1.0, float("nan"), None, None, 10)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("blocks.5.hook_resid_post", "blocks.6.hook_resid_pre"),
        ("blocks.6.hook_resid_pre", "blocks.5.hook_resid_post"),
        ("blocks.0.hook_resid_pre", None),
        ("v2/blocks.3.hook_resid_post/a", "v2/blocks.4.hook_resid_pre/a"),
        ("layer_5/width_16k/canonical", None),
    ],
)
def test_two_names_of_one_tensor(one, other):
    assert same_tensor(one) == other


def test_the_real_registry_resolves_the_worked_example():
    release = find_release("gpt2-small-res-jb")
    ids = resolve_ids(release, "blocks.{layer}.hook_resid_post", range(12))
    assert ids == {layer: f"blocks.{layer + 1}.hook_resid_pre" for layer in range(11)} | {11: "blocks.11.hook_resid_post"}


def test_an_id_that_exists_is_taken_as_asked():
    release = Release("r", None, None, frozenset({"blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"}))
    assert resolve_ids(release, "blocks.{layer}.hook_resid_post", [1]) == {1: "blocks.1.hook_resid_post"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sae_release": "no-such-release"}, "sae_release: got 'no-such-release'"),
        ({"sae_release": "bundled:other"}, "the bundled dictionaries are"),
        ({"model_name": "no-such-model"}, "a name that TransformerLens knows"),
        ({"model_name": "bundled:other"}, "the bundled model is"),
        ({"device": "tpu"}, "device: got 'tpu'"),
    ],
)
def test_unknown_names_are_refused(parts, changes, message):
    with pytest.raises(LoadingError, match=message):
        load_model_and_saes(config(parts, **changes))


def test_a_folder_that_is_no_model_is_refused(parts, tmp_path):
    with pytest.raises(LoadingError, match=r"no config\.json"):
        load_model(config(parts, model_name=str(tmp_path)))


def test_auto_takes_what_there_is():
    assert resolve_device("auto") in {"cpu", "cuda", "mps"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "why"),
    [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"), ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "the hub does not answer")],
)
def test_what_the_hub_has_and_we_do_not_is_refused_at_once(tmp_path, network, why):
    """A child process, since the hub's client reads its cache folder from the environment when it is imported."""
    code = """
from feature_graph.config import Config
from feature_graph.loading.models import load_model
from feature_graph.loading.saes import load_saes
from feature_graph.loading.text import load_texts
from feature_graph.loading.errors import OfflineError
saes, model = Config(sae_release="gpt2-small-res-jb", layers=[0, 1]), Config(model_name="gpt2-small")
for load in [lambda: load_saes(saes, "cpu"), lambda: load_model(model), lambda: load_texts(Config(dataset="someone/texts"))]:
    try:
        load()
    except OfflineError as error:
        print(error)
"""
    env = {"HF_HOME": str(tmp_path), "PATH": "/usr/bin", **network}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("SAE blocks.1.hook_resid_pre of gpt2-small-res-jb: jbloom/")
    assert second.startswith("model gpt2-small: gpt2 is not in the cache")
    assert third.startswith("dataset someone/texts: someone/texts is not in the cache")
    assert all(why in line and "bundled" in line for line in (first, second, third))


def test_dictionaries_that_ask_for_different_models_are_refused(parts, tmp_path):
    model = load_model(config(parts))
    folder = write_saes(tmp_path / "saes", model, ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"])
    path = folder / "blocks.1.hook_resid_pre" / "cfg.json"
    cfg = json.loads(path.read_text())
    cfg["metadata"]["model_from_pretrained_kwargs"] = {"fold_ln": True}
    path.write_text(json.dumps(cfg))
    with pytest.raises(LoadingError, match="different settings"):
        model_settings(load_saes(config(parts, sae_release=str(folder)), "cpu"))


def test_a_model_without_tokenizer_loads(parts, tmp_path, caplog):
    folder = write_model(tmp_path / "no-tokenizer", tokenizer=False)
    with caplog.at_level(logging.WARNING, logger="feature_graph"):
        model, saes = load_model_and_saes(config(parts, model_name=str(folder)))
    assert model.tokenizer is None
    assert len(saes) == 2
    assert any("not checked on text" in r.message for r in caplog.records)


def test_offline_error_is_a_loading_error():
    assert issubclass(OfflineError, LoadingError)
