"""Folders of every family of dictionaries, read from disk, against the family's own formula written out here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from feature_graph.artifacts import Site
from feature_graph.config import Config
from feature_graph.dictionaries.build import SiteCodec
from feature_graph.dictionaries.codec_check import check_codec
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families import find_dictionaries, read_dictionary
from feature_graph.loading.saes import load_saes

D_IN, D_SAE, K = 16, 48, 5


def tensors(seed=0):
    """Encoder [d_sae, d_in], bias, decoder [d_sae, d_in], bias, with norms far from 1."""
    g = torch.Generator().manual_seed(seed)
    made = {"W": torch.randn(D_SAE, D_IN, generator=g) * 0.4, "b": torch.randn(D_SAE, generator=g) * 0.2}
    made["D"] = torch.randn(D_SAE, D_IN, generator=g) * torch.linspace(0.2, 2.0, D_SAE)[:, None]
    made["c"] = torch.randn(D_IN, generator=g) * 0.3
    made["t"] = torch.rand(D_SAE, generator=g)
    return made


def vectors(n=256):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(9))


def top(acts, k=K):
    kept = acts.topk(k, dim=-1)
    return torch.zeros_like(acts).scatter(-1, kept.indices, kept.values)


def close(sae, encoded, decoder, bias, x):
    """encode and decode of the loaded object, and the folded codec of it."""
    assert torch.allclose(sae.encode(x), encoded, atol=1e-5)
    assert (encoded > 0).any()
    assert torch.allclose(sae.decode(sae.encode(x)), encoded @ decoder + bias, atol=1e-4)
    codec = SiteCodec.from_sae(sae, Site(2, "blocks.2.hook_resid_pre", 2, "m", "0" * 8, "r", "s", D_IN, D_SAE))
    check_codec(codec, sae, x)


# --- sparsify


def sparsify(folder, **settings):
    t = tensors()
    folder.mkdir(parents=True)
    weights = {"encoder.weight": t["W"], "encoder.bias": t["b"], "W_dec": t["D"], "b_dec": t["c"]}
    save_file(weights | settings.pop("weights", {}), folder / "sae.safetensors")
    said = {"activation": "topk", "expansion_factor": 3, "normalize_decoder": True, "num_latents": 0, "k": K, "d_in": D_IN}
    (folder / "cfg.json").write_text(json.dumps(said | settings))
    return t


def test_sparsify_takes_the_decoder_bias_off_and_keeps_the_decoder_as_it_lies(tmp_path):
    t, x = sparsify(tmp_path / "layers.5"), vectors()
    sae = read_dictionary(tmp_path / "layers.5", "cpu")
    close(sae, top(((x - t["c"]) @ t["W"].T + t["b"]).relu()), t["D"], t["c"], x)


@pytest.mark.parametrize("settings", [{"multi_topk": True}, {"num_latents": D_SAE, "expansion_factor": 32}, {"signed": False}])
def test_sparsify_settings_that_change_nothing(tmp_path, settings):
    sparsify(tmp_path / "layers.5", **settings)
    assert read_dictionary(tmp_path / "layers.5", "cpu").cfg.d_sae == D_SAE


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"skip_connection": True}, "skip_connection is set"),
        ({"signed": True}, "signed is set"),
        ({"activation": "groupmax"}, "'groupmax'"),
    ],
)
def test_sparsify_kinds_that_are_refused_by_name(tmp_path, settings, why):
    sparsify(tmp_path / "layers.5", **settings)
    with pytest.raises(UnsupportedSAEError, match=rf"cfg\.json: .*{why}"):
        read_dictionary(tmp_path / "layers.5", "cpu")


def test_sparsify_of_a_wrong_width_is_refused(tmp_path):
    sparsify(tmp_path / "layers.5", num_latents=64)
    with pytest.raises(LoadingError, match=r"sae\.safetensors: its settings say d_sae = 64, but W_enc is 16 × 48"):
        read_dictionary(tmp_path / "layers.5", "cpu")


# --- dictionary_learning


def dictionary_learning(folder, name, state, **trainer):
    folder.mkdir(parents=True)
    torch.save(state, folder / "ae.pt")
    said = {"dict_class": name, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 8, "lm_name": "EleutherAI/pythia-70m-deduped"}
    settings = {"trainer": said | {"submodule_name": "resid_post_layer_8"} | trainer, "buffer": {"ctx_len": 128, "io": "out"}}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def linear(t):
    return {"encoder.weight": t["W"], "encoder.bias": t["b"], "decoder.weight": t["D"].T}


def test_dictionary_learning_autoencoder(tmp_path):
    t, x = tensors(), vectors()
    folder = dictionary_learning(tmp_path / "resid_post_layer_8" / "trainer_0", "AutoEncoder", linear(t) | {"bias": t["c"]})
    sae = read_dictionary(folder, "cpu")
    close(sae, ((x - t["c"]) @ t["W"].T + t["b"]).relu(), t["D"], t["c"], x)
    assert sae.cfg.metadata.hook_name == "blocks.8.hook_resid_post"
    assert sae.cfg.metadata.model_name == "pythia-70m-deduped"


def test_dictionary_learning_autoencoder_new_leaves_the_input_as_it_is(tmp_path):
    t, x = tensors(), vectors()
    sae = read_dictionary(dictionary_learning(tmp_path / "a", "AutoEncoderNew", linear(t) | {"decoder.bias": t["c"]}), "cpu")
    close(sae, (x @ t["W"].T + t["b"]).relu(), t["D"], t["c"], x)


def test_dictionary_learning_topk_uses_k_and_not_its_threshold(tmp_path):
    t, x = tensors(), vectors()
    state = linear(t) | {"b_dec": t["c"], "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7)}
    sae = read_dictionary(dictionary_learning(tmp_path / "a", "AutoEncoderTopK", state, k=K), "cpu")
    close(sae, top(((x - t["c"]) @ t["W"].T + t["b"]).relu()), t["D"], t["c"], x)
    with pytest.raises(LoadingError, match=r"ae\.pt says k = 5, but config\.json next to it says k = 7"):
        read_dictionary(dictionary_learning(tmp_path / "b", "AutoEncoderTopK", state, k=7), "cpu")


@pytest.mark.parametrize("name", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
@pytest.mark.parametrize("threshold", [0.7, -1.0])
def test_dictionary_learning_batch_topk_is_one_threshold(tmp_path, name, threshold, caplog):
    t, x = tensors(), vectors()
    state = {"b_dec": t["c"], "k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(threshold)}
    if name == "BatchTopKSAE":
        state |= linear(t)
    else:
        state |= {"W_enc": t["W"].T, "b_enc": t["b"], "W_dec": t["D"], "group_sizes": torch.tensor([16, 32])}
    sae = read_dictionary(dictionary_learning(tmp_path / "a", name, state, k=K), "cpu")
    acts = ((x - t["c"]) @ t["W"].T + t["b"]).relu()
    close(sae, acts * (acts > threshold), t["D"], t["c"], x)
    assert ("never set in training" in caplog.text) == (threshold < 0)


def test_dictionary_learning_batch_topk_with_a_threshold_for_each_feature(tmp_path):
    t, x = tensors(), vectors()
    sae = read_dictionary(dictionary_learning(tmp_path / "a", "BatchTopKSAE", linear(t) | {"b_dec": t["c"], "threshold": t["t"]}), "cpu")
    acts = ((x - t["c"]) @ t["W"].T + t["b"]).relu()
    close(sae, acts * (acts > t["t"]), t["D"], t["c"], x)


def test_dictionary_learning_settings_without_a_class_are_refused(tmp_path):
    folder = dictionary_learning(tmp_path / "a", None, {"x": torch.zeros(1)})
    with pytest.raises(LoadingError, match=r"config\.json names no trainer\.dict_class"):
        read_dictionary(folder, "cpu")


def test_dictionary_learning_jumprelu(tmp_path):
    t, x = tensors(), vectors()
    state = {"W_enc": t["W"].T, "b_enc": t["b"], "W_dec": t["D"], "b_dec": t["c"], "threshold": t["t"]}
    sae = read_dictionary(dictionary_learning(tmp_path / "a", "JumpReluAutoEncoder", state), "cpu")
    pre = x @ t["W"].T + t["b"]
    close(sae, (pre * (pre > t["t"])).relu(), t["D"], t["c"], x)


def test_dictionary_learning_gated(tmp_path):
    t, x = tensors(), vectors()
    r, gate, mag = t["t"] - 0.5, t["b"].flip(0), t["b"]
    state = {"encoder.weight": t["W"], "decoder.weight": t["D"].T, "decoder_bias": t["c"], "r_mag": r, "gate_bias": gate, "mag_bias": mag}
    sae = read_dictionary(dictionary_learning(tmp_path / "a", "GatedAutoEncoder", state), "cpu")
    inner = (x - t["c"]) @ t["W"].T
    close(sae, (inner + gate > 0) * (r.exp() * inner + mag).relu(), t["D"], t["c"], x)


def test_dictionary_learning_old_settings_name_the_trainer(tmp_path):
    t = tensors()
    folder = dictionary_learning(tmp_path / "a", None, linear(t) | {"bias": t["c"]}, trainer_class="StandardTrainer")
    assert read_dictionary(folder, "cpu").cfg.architecture() == "standard"


@pytest.mark.parametrize(
    ("name", "trainer", "why"),
    [
        ("IdentityDict", {}, "dict_class 'IdentityDict' is not read"),
        ("CrossCoder", {}, "dict_class 'CrossCoder' is not read"),
    ],
)
def test_dictionary_learning_classes_that_are_refused_by_name(tmp_path, name, trainer, why):
    t = tensors()
    with pytest.raises(UnsupportedSAEError, match=why):
        read_dictionary(dictionary_learning(tmp_path / "a", name, linear(t) | {"bias": t["c"]}, **trainer), "cpu")


def test_dictionary_learning_of_a_modules_input_reads_the_stream_before_the_block(tmp_path):
    t = tensors()
    folder = dictionary_learning(tmp_path / "a", "AutoEncoder", linear(t) | {"bias": t["c"]})
    raw = json.loads((folder / "config.json").read_text())
    raw["buffer"]["io"] = "in"
    (folder / "config.json").write_text(json.dumps(raw))
    assert read_dictionary(folder, "cpu").cfg.metadata.hook_name == "blocks.8.hook_resid_pre"


@pytest.mark.parametrize("place", ["", "residual", "gpt_neox.layers[8]", "gpt_neox.layers.8"])
def test_places_that_are_the_stream_in_other_words(tmp_path, place):
    t = tensors()
    folder = dictionary_learning(tmp_path / "a", "AutoEncoder", linear(t) | {"bias": t["c"]}, submodule_name=place)
    assert read_dictionary(folder, "cpu").cfg.metadata.hook_name == "blocks.8.hook_resid_post"


@pytest.mark.parametrize(
    ("folder", "submodule", "io", "hook"),
    [
        ("attn_out_layer_8/trainer_0", "attn_out_layer_8", "out", "attn.hook_out"),
        ("attn_out_layer8/10_32768", "", "out", "attn.hook_out"),
        ("mlp_out_layer8/10_32768", "", "out", "mlp.hook_out"),
        ("a", "attention_out_layer_8", "out", "attn.hook_out"),
        ("a", "mlp_layer_8", "in", "mlp.hook_in"),
        ("a", "gpt_neox.layers.8.mlp", "out", "mlp.hook_out"),
        ("a", "model.layers.8.self_attn", "out", "attn.hook_out"),
        ("resid_out_layer8/10_32768", "", "out", "hook_resid_post"),
    ],
)
def test_dictionary_learning_names_attention_and_mlp(tmp_path, folder, submodule, io, hook):
    assert read_dictionary(placed(tmp_path / folder, submodule, io), "cpu").cfg.metadata.hook_name == f"blocks.8.{hook}"


def placed(folder, submodule, io):
    """A dictionary of the family that says where it reads, and nothing else of it."""
    dictionary_learning(folder, "AutoEncoder", linear(tensors()) | {"bias": tensors()["c"]}, submodule_name=submodule)
    raw = json.loads((folder / "config.json").read_text())
    raw["buffer"]["io"] = io
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


@pytest.mark.parametrize(
    ("submodule", "io"), [("attn_layer_8", "in"), ("model.layers.8.self_attn", "in"), ("mlp_out_layer_8", "in"), ("mlp_in_layer_8", "out")]
)
def test_dictionary_learning_places_that_cannot_be_told_are_refused(tmp_path, submodule, io):
    with pytest.raises(UnsupportedSAEError, match=f"io = '{io}' of {submodule}; read are attention's output and"):
        read_dictionary(placed(tmp_path / "a", submodule, io), "cpu")


def test_dictionary_learning_on_components_is_what_a_site_of_that_kind_takes(tmp_path):
    for name in ("attn_out_layer8", "mlp_out_layer8"):
        placed(tmp_path / name / "10_32768", "", "out")
    sites = [{"layer": 8, "kind": kind, "id": f"{kind}_layer8/10_32768"} for kind in ("attn_out", "mlp_out")]
    found = load_saes(Config(sae_release=str(tmp_path), sites=sites), "cpu")
    assert list(found) == ["L8.attn", "L8.mlp"]
    swapped = [{**site, "kind": other} for site, other in zip(sites, ("mlp_out", "attn_out"), strict=True)]
    with pytest.raises(LoadingError, match="the dictionary records that it reads"):
        load_saes(Config(sae_release=str(tmp_path), sites=swapped), "cpu")
    with pytest.raises(UnsupportedSAEError, match=r"reads 'blocks\.8\.attn\.hook_out'; only SAEs on the residual stream"):
        load_saes(Config(sae_release=str(tmp_path), sites=[{"layer": 8, "id": sites[0]["id"]}, sites[1]]), "cpu")


# --- Gemma Scope


def gemma_scope(folder, **changes):
    t = tensors()
    folder.mkdir(parents=True)
    arrays = {"W_enc": t["W"].T, "b_enc": t["b"], "W_dec": t["D"], "b_dec": t["c"], "threshold": t["t"]} | changes
    np.savez(folder / "params.npz", **{key: np.ascontiguousarray(value.numpy()) for key, value in arrays.items()})
    return t


def test_gemma_scope(tmp_path):
    folder = tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71"
    t, x = gemma_scope(folder), vectors()
    sae = read_dictionary(folder, "cpu")
    pre = x @ t["W"].T + t["b"]
    close(sae, pre.relu() * (pre > t["t"]), t["D"], t["c"], x)
    assert sae.cfg.metadata.hook_name == "blocks.20.hook_resid_post"


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("gemma-scope-2b-pt-res/embedding/layer_0/width_4k/average_l0_6", "embedding: only dictionaries inside the blocks are read"),
        ("gemma-scope-2-1b-pt/clt/layer_3/width_16k", "clt: its features write to several layers"),
        ("my-crosscoders/layer_3/width_16k", "crosscoder: its features write to several layers"),
    ],
)
def test_gemma_scope_elsewhere_is_refused_by_name(tmp_path, place, what):
    gemma_scope(tmp_path / place)
    with pytest.raises(UnsupportedSAEError, match=f"names a {what}"):
        read_dictionary(tmp_path / place, "cpu")


def test_gemma_scope_2_names_its_place_in_its_settings(tmp_path):
    t, x = tensors(), vectors()
    weights = {"w_enc": t["W"].T.contiguous(), "b_enc": t["b"], "w_dec": t["D"], "b_dec": t["c"], "threshold": t["t"]}
    save_file(weights, tmp_path / "params.safetensors")
    said = {"architecture": "jump_relu", "model_name": "gemma-3-1b-pt", "hf_hook_point_in": "model.layers.7.output"}
    (tmp_path / "config.json").write_text(json.dumps(said))
    sae = read_dictionary(tmp_path, "cpu")
    pre = x @ t["W"].T + t["b"]
    close(sae, pre.relu() * (pre > t["t"]), t["D"], t["c"], x)
    assert sae.cfg.metadata.hook_name == "blocks.7.hook_resid_post"


# --- files


def break_it(folder, how):
    file = next(p for p in folder.iterdir() if p.suffix in (".safetensors", ".pt", ".npz"))
    if how == "pointer":
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 100\n")
    elif how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "other":
        file.write_text("<html>404</html>" * 20)
    elif how == "dangling":
        file.unlink()
        file.symlink_to(folder / "blobs" / "1234")
    return file.name


@pytest.mark.parametrize("how", ["pointer", "cut", "empty", "other", "dangling"])
@pytest.mark.parametrize("family", ["sparsify", "dictionary_learning", "gemma_scope"])
def test_broken_files_are_named_in_one_sentence(tmp_path, family, how):
    folder, t = tmp_path / "layer_3" / "x", tensors()
    if family == "sparsify":
        sparsify(folder)
    elif family == "dictionary_learning":
        dictionary_learning(folder, "AutoEncoder", linear(t) | {"bias": t["c"]})
    else:
        gemma_scope(folder)
    name = break_it(folder, how)
    with pytest.raises(LoadingError) as caught:
        read_dictionary(folder, "cpu")
    assert str(folder / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_in_a_file_of_torch_is_not_run(tmp_path):
    folder = dictionary_learning(tmp_path / "a", "AutoEncoder", {"x": torch.zeros(1)})
    torch.save({"encoder.weight": torch.nn.Linear(2, 2)}, folder / "ae.pt")
    with pytest.raises(LoadingError, match=r"ae\.pt cannot be read"):
        read_dictionary(folder, "cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused_with_tensor_and_file(tmp_path, value):
    t = tensors()
    t["W"][3, 2] = value
    folder = dictionary_learning(tmp_path / "a", "AutoEncoder", linear(t) | {"bias": t["c"]})
    with pytest.raises(LoadingError, match=r"ae\.pt: NaN or infinite values in W_enc \(1 values\)"):
        read_dictionary(folder, "cpu")


def test_all_families_are_found_below_a_folder_through_links_and_circles(tmp_path):
    root, t = tmp_path / "release", tensors()
    sparsify(root / "layers.5")
    dictionary_learning(root / "resid_post_layer_8" / "trainer_0", "AutoEncoder", linear(t) | {"bias": t["c"]})
    gemma_scope(tmp_path / "elsewhere" / "width_16k" / "average_l0_71")
    (root / "layer_20").symlink_to(tmp_path / "elsewhere")
    (root / "layer_20" / "up").symlink_to(root)
    assert find_dictionaries(root) == {"layers.5", "resid_post_layer_8/trainer_0", "layer_20/width_16k/average_l0_71"}
