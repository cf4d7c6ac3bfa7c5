"""Every setting of SAELens' cfg.json that changes what encode means: applied, folded, warned about or refused."""

from __future__ import annotations

import json

import pytest
import torch
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import save_file

from feature_graph.artifacts import Site
from feature_graph.dictionaries.build import SiteCodec
from feature_graph.dictionaries.codec_check import check_codec
from feature_graph.dictionaries.kinds import non_linearity
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families import read_dictionary

D_IN, D_SAE = 16, 48
HOOK = "blocks.2.hook_resid_pre"
SITE = Site(2, HOOK, 2, "m", "0" * 8, "r", "s", D_IN, D_SAE)


def weights(*more):
    g = torch.Generator().manual_seed(0)
    made = {"W_enc": torch.randn(D_IN, D_SAE, generator=g) * 0.4, "b_enc": torch.randn(D_SAE, generator=g) * 0.3}
    made["W_dec"] = torch.randn(D_SAE, D_IN, generator=g) * torch.linspace(0.2, 2.0, D_SAE)[:, None]
    made["b_dec"] = torch.randn(D_IN, generator=g) * 0.3
    made |= {name: torch.rand(D_SAE, generator=g) for name in more}
    return made


def old(**changes):
    """The layout of SAELens 2 to 5."""
    base = {
        "hook_point": HOOK,
        "hook_point_layer": 2,
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cuda:0",
        "context_size": 32,
    }
    return base | changes


def new(architecture="standard", **changes):
    """The layout of SAELens 6."""
    meta = {"sae_lens_version": "6.5.0", "hook_name": HOOK, "model_name": "m"} | changes.pop("metadata", {})
    base = {"architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True}
    return base | {"normalize_activations": "none", "reshape_activations": "none", "metadata": meta} | changes


def write(folder, cfg, tensors=None):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in (tensors or weights()).items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def x(n=256):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(9))


def plain(w, v, scale=1.0):
    return ((v * scale - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()


def folds(sae):
    check_codec(SiteCodec.from_sae(sae, SITE), sae, x())
    return sae


# --- scaling of the input


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk", "gated"])
def test_a_checkpoint_with_its_factor_beside_reads_scaled_input(tmp_path, architecture):
    more = {"standard": (), "jumprelu": ("threshold",), "topk": (), "gated": ("b_gate", "b_mag", "r_mag")}[architecture]
    w = weights(*more)
    if architecture == "gated":
        del w["b_enc"]
    changes = {"k": 5} if architecture == "topk" else {}
    unscaled = SAE.load_from_disk(write(tmp_path / "plain", new(architecture, **changes), w))
    folder = write(tmp_path / "scaled", new(architecture, normalize_activations="expected_average_only_in", **changes), w)
    ActivationScaler(scaling_factor=0.37).save(str(folder / "activation_scaler.json"))
    sae = folds(read_dictionary(folder, "cpu"))
    assert sae.cfg.normalize_activations == "none"
    assert torch.allclose(sae.encode(x()), unscaled.encode(x() * 0.37), atol=1e-5)
    assert torch.allclose(sae(x()), unscaled(x() * 0.37) / 0.37, atol=1e-4)


def test_a_checkpoint_without_its_factor_is_refused(tmp_path):
    folder = write(tmp_path / "a", new(normalize_activations="expected_average_only_in"))
    with pytest.raises(LoadingError, match=r"not folded into the weights, and no activation_scaler\.json"):
        read_dictionary(folder, "cpu")
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": None}))
    with pytest.raises(LoadingError, match=r"no activation_scaler\.json with the factor"):
        read_dictionary(folder, "cpu")


@pytest.mark.parametrize("factor", [0, -1.0, "2", float("inf")])
def test_a_factor_that_is_none_is_refused(tmp_path, factor):
    folder = write(tmp_path / "a", new(normalize_activations="expected_average_only_in"))
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    with pytest.raises(LoadingError, match=r"activation_scaler\.json: the factor is .*expected a positive number"):
        read_dictionary(folder, "cpu")


def test_old_checkpoints_keep_the_factor_in_the_state_of_their_store(tmp_path):
    folder = write(tmp_path / "a", old(normalize_activations=True))
    with pytest.raises(LoadingError, match="not folded"):
        read_dictionary(folder, "cpu")
    state = {"n_dataset_processed": torch.tensor(7), "estimated_norm_scaling_factor": torch.tensor(0.37)}
    save_file(state, folder / "activations_store_state.safetensors")
    assert torch.allclose(folds(read_dictionary(folder, "cpu")).encode(x()), plain(weights(), x(), 0.37), atol=1e-5)


def test_a_factor_beside_settings_that_ask_for_none_is_mentioned(tmp_path, caplog):
    folder = write(tmp_path / "a", new())
    ActivationScaler(scaling_factor=0.37).save(str(folder / "activation_scaler.json"))
    assert torch.allclose(read_dictionary(folder, "cpu").encode(x()), plain(weights(), x()), atol=1e-5)
    assert "none is to be applied" in caplog.text


def test_whitening_with_its_matrices_beside_is_folded(tmp_path):
    unwhitened = SAE.load_from_disk(write(tmp_path / "plain", new(apply_b_dec_to_input=False)))
    folder = write(tmp_path / "white", new(apply_b_dec_to_input=False, normalize_activations="covariance_whitening"))
    with pytest.raises(LoadingError, match=r"no activation_scaler\.json with activation_whitening\.safetensors"):
        read_dictionary(folder, "cpu")
    scaler, data = (
        ActivationScaler(),
        torch.randn(400, D_IN, generator=torch.Generator().manual_seed(1)) @ torch.diag(torch.linspace(0.5, 3, D_IN)),
    )
    scaler.estimate_whitening(D_IN, iter([data] * 3), n_batches_for_norm_estimate=3)
    scaler.save(str(folder / "activation_scaler.json"))
    sae = folds(read_dictionary(folder, "cpu"))
    assert torch.allclose(sae.encode(x()), unwhitened.encode(scaler.scale(x())), atol=1e-4)
    assert torch.allclose(sae(x()), scaler.unscale(unwhitened(scaler.scale(x()))), atol=1e-3)


@pytest.mark.parametrize("value", ["none", None, False])
def test_no_scaling_in_any_spelling(tmp_path, value):
    assert torch.allclose(
        read_dictionary(write(tmp_path / "a", old(normalize_activations=value)), "cpu").encode(x()), plain(weights(), x()), atol=1e-5
    )


@pytest.mark.parametrize("value", ["layer_norm", "constant_norm_rescale"])
def test_scaling_by_each_tokens_norm_is_refused(tmp_path, value):
    for layout in (old, new):
        sae = read_dictionary(write(tmp_path / layout.__name__, layout(normalize_activations=value)), "cpu")
        with pytest.raises(UnsupportedSAEError, match=value):
            non_linearity(sae, 2)


def test_scaling_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UnsupportedSAEError, match=r"cfg\.json: normalize_activations = 'constant_scalar_rescale' is not known"):
        read_dictionary(write(tmp_path / "a", new(normalize_activations="constant_scalar_rescale")), "cpu")


def test_a_sae_of_the_callers_own_with_unfolded_scaling_is_refused(tmp_path):
    sae = SAE.load_from_disk(write(tmp_path / "a", new(normalize_activations="expected_average_only_in")))
    with pytest.raises(UnsupportedSAEError, match=r"not folded into its weights; call sae\.fold_activation_norm_scaling_factor"):
        non_linearity(sae, 2)


# --- a factor among the weights


@pytest.mark.parametrize("key", ["scaling_factor", "finetuning_scaling_factor"])
def test_the_factor_of_fine_tuning_goes_into_the_decoder(tmp_path, key):
    w = weights("s")
    factor = w.pop("s") + 0.5
    sae = folds(read_dictionary(write(tmp_path / "a", old(finetuning_scaling_factor=True), w | {key: factor}), "cpu"))
    assert torch.allclose(sae.encode(x()), plain(w, x()), atol=1e-5)
    assert torch.allclose(sae(x()), (plain(w, x()) * factor) @ w["W_dec"] + w["b_dec"], atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"finetuning_scaling_factor": False}])
def test_a_factor_that_nothing_says_to_apply_is_refused(tmp_path, settings):
    folder = write(tmp_path / "a", old(**settings), weights() | {"scaling_factor": torch.full((D_SAE,), 1.1)})
    with pytest.raises(LoadingError, match=r"sae_weights\.safetensors holds a scaling_factor unlike 1"):
        read_dictionary(folder, "cpu")


def test_a_factor_of_ones_says_nothing(tmp_path):
    folder = write(tmp_path / "a", old(), weights() | {"scaling_factor": torch.ones(D_SAE)})
    assert torch.allclose(read_dictionary(folder, "cpu")(x()), plain(weights(), x()) @ weights()["W_dec"] + weights()["b_dec"], atol=1e-4)


# --- the activation function and the architecture


def test_old_files_name_topk_as_an_activation_function(tmp_path):
    sae = folds(read_dictionary(write(tmp_path / "a", old(activation_fn_str="topk", activation_fn_kwargs={"k": 5})), "cpu"))
    kept = plain(weights(), x()).topk(5, dim=-1)
    assert torch.allclose(sae.encode(x()), torch.zeros(256, D_SAE).scatter(-1, kept.indices, kept.values), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_fn_str": "tanh-relu"}, "activation function 'tanh-relu'"),
        ({"activation_fn": "gelu"}, "activation function 'gelu'"),
        ({"activation_fn_str": "topk"}, r"without activation_fn_kwargs\.k"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5, "signed": True}}, "signed topk"),
        ({"architecture": "crosscoder"}, "architecture 'crosscoder'"),
        ({"architecture": "temporal"}, "a feature depends on several positions"),
        ({"sae_lens_version": "unknown"}, "no version number"),
    ],
)
def test_what_would_mean_something_else_is_refused_with_the_file(tmp_path, changes, message):
    with pytest.raises(LoadingError, match=rf"cfg\.json: .*{message}"):
        read_dictionary(write(tmp_path / "a", old(**changes)), "cpu")


def test_a_threshold_that_the_architecture_does_not_use_is_refused(tmp_path):
    with pytest.raises(UnsupportedSAEError, match="holds threshold, which a 'standard' dictionary does not use"):
        read_dictionary(write(tmp_path / "a", new(), weights("threshold")), "cpu")


def test_the_logarithm_of_a_threshold_is_taken_back(tmp_path):
    w = weights("threshold")
    folder = write(
        tmp_path / "a", new("jumprelu"), {k: v for k, v in w.items() if k != "threshold"} | {"log_threshold": w["threshold"].log()}
    )
    acts = plain(w, x())
    assert torch.allclose(folds(read_dictionary(folder, "cpu")).encode(x()), acts * (acts > w["threshold"]), atol=1e-5)


def test_one_attention_head_is_refused(tmp_path):
    for number, cfg in enumerate([old(hook_point_head_index=0), new(metadata={"hook_head_index": 3})]):
        with pytest.raises(UnsupportedSAEError, match="reads one attention head"):
            non_linearity(read_dictionary(write(tmp_path / str(number), cfg), "cpu"), 2)


def test_reshaped_input_is_refused(tmp_path):
    sae = read_dictionary(write(tmp_path / "a", new(reshape_activations="hook_z", metadata={"hook_name": "blocks.2.attn.hook_z"})), "cpu")
    with pytest.raises(UnsupportedSAEError, match="reshapes its input"):
        non_linearity(sae, 2)


@pytest.mark.parametrize("applied", [True, False])
def test_the_decoder_bias_comes_off_the_input_where_the_settings_say_so(tmp_path, applied):
    w = weights()
    sae = folds(read_dictionary(write(tmp_path / "a", new(apply_b_dec_to_input=applied)), "cpu"))
    assert torch.allclose(sae.encode(x()), ((x() - w["b_dec"] * applied) @ w["W_enc"] + w["b_enc"]).relu(), atol=1e-5)


@pytest.mark.parametrize("changes", [{"noise_scale": 0.1}, {"use_error_term": True}, {"jumprelu_bandwidth": 9.0}, {"l1_coefficient": 3}])
def test_settings_of_training_change_nothing(tmp_path, changes):
    sae = read_dictionary(write(tmp_path / "a", new(**changes)), "cpu")
    assert torch.allclose(sae.encode(x()), plain(weights(), x()), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.float16", "float64"])
def test_weights_of_any_type_are_read_as_float32(tmp_path, dtype):
    w = {key: value.to(getattr(torch, dtype.removeprefix("torch."))) for key, value in weights().items()}
    sae = folds(read_dictionary(write(tmp_path / "a", new(dtype=dtype), w), "cpu"))
    assert sae.W_enc.dtype == torch.float32
    assert torch.allclose(sae.encode(x()), plain({key: value.float() for key, value in w.items()}, x()), atol=1e-5)


def test_settings_without_a_width_or_a_version_are_completed(tmp_path):
    cfg = new(metadata={"prepend_bos": False})
    del cfg["d_sae"], cfg["d_in"], cfg["dtype"], cfg["metadata"]["sae_lens_version"]
    sae = read_dictionary(write(tmp_path / "a", cfg), "cpu")
    assert (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.metadata.hook_name, sae.cfg.metadata.prepend_bos) == (D_IN, D_SAE, HOOK, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"d_sae": 64}, "d_sae = 64, but W_enc is 16 × 48"), ({"d_in": 32}, "d_in = 32, but W_enc is 16 × 48")],
)
def test_settings_of_another_width_are_refused(tmp_path, changes, message):
    with pytest.raises(LoadingError, match=rf"sae_weights\.safetensors: its settings say {message}"):
        read_dictionary(write(tmp_path / "a", new(**changes)), "cpu")


@pytest.mark.parametrize("k", [None, 0, -3, 49, 4.5, "4", True])
def test_a_topk_without_a_number_of_features_is_refused(tmp_path, k):
    with pytest.raises(LoadingError, match=r"sae_weights\.safetensors: its settings say k = .*, expected the features per token, 1 to 48"):
        read_dictionary(write(tmp_path / "a", new("topk", **({} if k is None else {"k": k}))), "cpu")


def test_a_whole_number_written_as_4_0_is_4(tmp_path):
    assert (read_dictionary(write(tmp_path / "a", new("topk", k=4.0)), "cpu").encode(x()) > 0).sum(1).max() == 4


def test_a_flag_that_is_no_flag_is_refused(tmp_path):
    with pytest.raises(LoadingError, match="apply_b_dec_to_input = 'false', expected true or false"):
        read_dictionary(write(tmp_path / "a", new(apply_b_dec_to_input="false")), "cpu")


@pytest.mark.parametrize(
    "cfg", [old(sae_lens_version="6.5.0"), old(hook_name=None), old(architecture=None), old(activation_fn_kwargs=None)]
)
def test_old_layouts_with_gaps_are_read(tmp_path, cfg):
    assert torch.allclose(read_dictionary(write(tmp_path / "a", cfg), "cpu").encode(x()), plain(weights(), x()), atol=1e-5)


def test_tensors_of_other_shapes_or_missing_are_refused(tmp_path):
    w = weights()
    with pytest.raises(LoadingError, match=r"W_dec has shape \(16, 48\), expected \(48, 16\)"):
        read_dictionary(write(tmp_path / "a", new(), w | {"W_dec": w["W_dec"].T}), "cpu")
    with pytest.raises(LoadingError, match="has no b_enc, which a 'standard' dictionary needs"):
        read_dictionary(write(tmp_path / "b", new(), {k: v for k, v in w.items() if k != "b_enc"}), "cpu")


def test_tensors_that_say_nothing_are_passed_over(tmp_path):
    folder = write(tmp_path / "a", new(), weights() | {"log_feature_sparsity": torch.zeros(D_SAE)})
    assert torch.allclose(read_dictionary(folder, "cpu").encode(x()), plain(weights(), x()), atol=1e-5)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    folder = write(tmp_path / "a", new())
    (folder / "cfg.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(new(), indent=2).replace("\n", "\r\n").encode())
    assert read_dictionary(folder, "cpu").cfg.metadata.hook_name == HOOK


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "got a JSON list"), ("", "is empty")])
def test_broken_settings_are_named(tmp_path, text, message):
    folder = write(tmp_path / "a", new())
    (folder / "cfg.json").write_text(text)
    with pytest.raises(LoadingError, match=rf"cfg\.json.*{message}"):
        read_dictionary(folder, "cpu")


def test_weights_alone_and_settings_alone_are_refused(tmp_path):
    folder = write(tmp_path / "a", new())
    (folder / "cfg.json").rename(folder / "kept.json")
    with pytest.raises(LoadingError, match=r"holds weights but no cfg\.json"):
        read_dictionary(folder, "cpu")
    (folder / "kept.json").rename(folder / "cfg.json")
    (folder / "sae_weights.safetensors").rename(folder / "model.safetensors")
    with pytest.raises(LoadingError, match=r"sae_weights\.safetensors does not exist; next to cfg\.json there is model\.safetensors"):
        read_dictionary(folder, "cpu")


def test_weights_of_the_first_versions_are_read(tmp_path):
    folder = write(tmp_path / "a", old())
    (folder / "sae_weights.safetensors").unlink()
    torch.save(weights(), folder / "sae_weights.pt")
    assert torch.allclose(read_dictionary(folder, "cpu").encode(x()), plain(weights(), x()), atol=1e-5)


# --- checkpoints of training


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("factor", [None, 0.37])
@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_a_checkpoint_of_batch_topk_becomes_what_saelens_saves_at_the_end(tmp_path, kind, factor, rescaled):
    scaling = "none" if factor is None else "expected_average_only_in"
    base = {"d_in": D_IN, "d_sae": D_SAE, "k": 4, "normalize_activations": scaling, "rescale_acts_by_decoder_norm": rescaled}
    base["metadata"] = SAEMetadata(hook_name=HOOK)
    if kind == "batchtopk":
        training = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**base))
    else:
        training = MatryoshkaBatchTopKTrainingSAE(MatryoshkaBatchTopKTrainingSAEConfig(matryoshka_widths=[16, D_SAE], **base))
    training.load_state_dict(weights() | {"topk_threshold": torch.tensor(0.9, dtype=torch.double)})
    training.save_model(tmp_path / "middle")
    if factor is not None:
        ActivationScaler(scaling_factor=factor).save(str(tmp_path / "middle" / "activation_scaler.json"))
        training.fold_activation_norm_scaling_factor(factor)
    training.save_inference_model(tmp_path / "end")
    ours, theirs = read_dictionary(tmp_path / "middle", "cpu"), SAE.load_from_disk(tmp_path / "end")
    assert ours.cfg.architecture() == "jumprelu"
    assert ours.cfg.metadata.hook_name == HOOK
    assert (theirs.encode(x()) > 0).any()
    assert torch.allclose(ours.encode(x()), theirs.encode(x()), atol=1e-6)
    assert torch.allclose(ours(x()), theirs(x()), atol=1e-5)
    folds(ours)


def test_a_checkpoint_whose_threshold_training_has_not_set_is_mentioned(tmp_path, caplog):
    sae = read_dictionary(write(tmp_path / "a", new("batchtopk", k=4.0), weights() | {"topk_threshold": torch.tensor(0.0)}), "cpu")
    assert torch.allclose(sae.encode(x()), plain(weights(), x()), atol=1e-5)
    assert "has not set topk_threshold yet" in caplog.text
    with pytest.raises(LoadingError, match=r"topk_threshold has shape \(3,\), expected one number"):
        read_dictionary(write(tmp_path / "b", new("batchtopk", k=4.0), weights() | {"topk_threshold": torch.ones(3)}), "cpu")


def test_a_checkpoint_without_its_threshold_is_refused(tmp_path):
    with pytest.raises(LoadingError, match="has no topk_threshold"):
        read_dictionary(write(tmp_path / "a", new("batchtopk", k=4.0)), "cpu")
