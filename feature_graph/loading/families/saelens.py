"""SAELens' own folders: ``cfg.json`` and ``sae_weights.safetensors``, as every version since the first wrote them.

The settings are brought to the layout of SAELens 6 by SAELens' own function, after what that function silently drops has been
looked at: the activation function of old files, a scaling factor among the weights, a layout of version 6 without a version number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from packaging.version import InvalidVersion, Version
from torch import Tensor

from feature_graph.dictionaries import WHY_NOT
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError
from feature_graph.loading.families.files import read_safetensors, read_settings, read_torch
from feature_graph.loading.families.parts import TENSORS, DictionaryParts

CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: Checkpoints of training: turned into what SAELens itself saves at the end.
TRAINING = ("batchtopk", "matryoshka_batchtopk")
_SCALING = ("scaling_factor", "finetuning_scaling_factor")
_NORMALISATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm", "covariance_whitening")


def read(folder: Path, overrides: dict[str, Any] | None = None) -> DictionaryParts:
    """Read one folder.

    Args:
        folder: Holds ``cfg.json`` and the weights.
        overrides: Settings of SAELens' registry, which go over those of the file.

    Raises:
        LoadingError: If a file is missing or damaged, or settings and weights do not fit.
        UnsupportedSAEError: If it is of a kind that is not analysed.
    """
    settings = _settings(read_settings(folder / CFG), folder / CFG, overrides or {})
    file, weights = _weights(folder)
    weights = dict(weights)
    if "log_threshold" in weights and settings["architecture"] == "jumprelu":
        weights["threshold"] = weights.pop("log_threshold").float().exp()
    return DictionaryParts(settings, _scaled(weights, bool(settings.pop("finetuning_scaling_factor", False)), file), file)


def _settings(raw: dict[str, Any], file: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    from sae_lens import __version__ as sae_lens_version
    from sae_lens.loading.pretrained_sae_loaders import handle_pre_6_0_config

    raw = {**raw, **overrides}
    raw.setdefault("d_in", None)
    raw = {key: value for key, value in raw.items() if value is not None or key not in ("architecture", "hook_name", "hook_point")}
    modern = isinstance(raw.get("metadata"), dict)
    if modern:
        raw["metadata"] = {"sae_lens_version": sae_lens_version, **raw["metadata"]}
        raw.setdefault("architecture", "standard")
    else:
        raw.pop("metadata", None)
        _refuse_activation(raw, file)
    name = str(raw.get("architecture", "standard"))
    if name not in TENSORS and name not in TRAINING:
        why = WHY_NOT.get(name, "SAELens and this library know no such architecture")
        raise UnsupportedSAEError(f"{file}: architecture {name!r}: {why}")
    _refuse_version(raw, file)
    scaling = raw.get("normalize_activations")
    if not isinstance(scaling, bool) and scaling is not None and scaling not in _NORMALISATIONS:
        raise UnsupportedSAEError(f"{file}: normalize_activations = {scaling!r} is not known; expected one of {', '.join(_NORMALISATIONS)}")
    settings = dict(raw) if modern else handle_pre_6_0_config(dict(raw, architecture=_registered(name)))
    if not modern:
        settings["architecture"] = name if name in TRAINING else settings["architecture"]
        settings["metadata"] = {**settings["metadata"], "sae_lens_version": sae_lens_version}
    if isinstance(settings.get("normalize_activations"), bool) or settings.get("normalize_activations") is None:
        settings["normalize_activations"] = "expected_average_only_in" if settings.get("normalize_activations") else "none"
    if isinstance(settings.get("k"), float) and settings["k"].is_integer():
        settings["k"] = int(settings["k"])
    settings["finetuning_scaling_factor"] = raw.get("finetuning_scaling_factor", False)
    return settings


def _registered(name: str) -> str:
    return "topk" if name in TRAINING else name


def _refuse_version(raw: dict[str, Any], file: Path) -> None:
    said = raw.get("sae_lens_version") or (raw.get("metadata") or {}).get("sae_lens_version")
    try:
        Version(str(said or "0"))
    except InvalidVersion as error:
        raise LoadingError(
            f"{file}: sae_lens_version = {said!r} is no version number; write that of the SAELens that trained it"
        ) from error


def _refuse_activation(raw: dict[str, Any], file: Path) -> None:
    """Files before version 6 name the activation function apart from the architecture."""
    name = raw.get("activation_fn_str", raw.get("activation_fn", "relu")) or "relu"
    given = raw.get("activation_fn_kwargs") or {}
    raw["activation_fn_kwargs"] = given
    if name not in ("relu", "topk"):
        raise UnsupportedSAEError(f"{file}: activation function {name!r}: only relu and topk have a gate that is open or shut")
    if name == "topk" and not isinstance(given.get("k"), int | float):
        raise LoadingError(f"{file}: activation function topk without activation_fn_kwargs.k, the number of features per token")
    if given.get("signed"):
        raise UnsupportedSAEError(f"{file}: a signed topk keeps negative activations; its features have no gate")


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    file = folder / WEIGHTS
    if file.exists() or file.is_symlink():
        return file, read_safetensors(file)
    old = folder / "sae_weights.pt"
    if old.exists():
        return old, read_torch(old)
    there = ", ".join(sorted(p.name for p in folder.iterdir() if p.name != CFG)) or "nothing else"
    raise LoadingError(f"{file} does not exist; next to {CFG} there is {there}")


def _scaled(weights: dict[str, Tensor], applied: bool, file: Path) -> dict[str, Tensor]:
    """Fold the factor of SAELens' fine-tuning, by which each activation is multiplied before the decoder, into the decoder."""
    found = [weights.pop(key) for key in _SCALING if key in weights]
    factor = next((one for one in found if not torch.allclose(one.float(), torch.ones_like(one, dtype=torch.float32))), None)
    if factor is None or "W_dec" not in weights:
        return weights
    if not applied:
        raise LoadingError(
            f"{file} holds a scaling_factor unlike 1, and cfg.json does not say that it applies; set finetuning_scaling_factor: true "
            "there if the dictionary was fine-tuned with it, or take the tensor out of the file"
        )
    return weights | {"W_dec": weights["W_dec"].float() * factor.float()[:, None]}
