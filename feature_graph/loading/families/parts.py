"""What every reader gives: settings and tensors of one SAELens class; and the SAELens object made of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from feature_graph.dictionaries import TRANSCODERS
from feature_graph.loading.errors import LoadingError, UnsupportedSAEError

if TYPE_CHECKING:
    from sae_lens import SAE

log = logging.getLogger(__name__)

#: Architecture → its tensors besides W_enc, W_dec and b_dec.
TENSORS = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
    **{name: ("b_enc", *(("threshold",) if "jumprelu" in name else ()), *(("W_skip",) if "skip" in name else ())) for name in TRANSCODERS},
}
_ALWAYS = ("W_enc", "W_dec", "b_dec")
#: Tensors that change what the numbers mean: never passed over.
_MEANINGFUL = frozenset({"threshold", "log_threshold", "topk_threshold", "b_gate", "b_mag", "r_mag", "W_skip", "b_enc", "scaling_factor"})
_STATISTICS = frozenset({"sparsity", "log_feature_sparsity", "feature_sparsity", "act_freq_scores", "n_forward_passes_since_fired"})


@dataclass(frozen=True)
class DictionaryParts:
    """One dictionary, not yet an object.

    Attributes:
        settings: SAELens' settings (6.x layout): ``architecture``, ``metadata`` and the fields of that architecture's class.
            ``d_in`` and ``d_sae`` may be missing; the tensors then say.
        weights: By SAELens' names: W_enc [d_in, d_sae], W_dec [d_sae, d_out], b_dec [d_out], W_skip [d_out, d_in], the others [d_sae];
            d_out is d_in for an SAE.
        file: The weights' file, for messages.
    """

    settings: dict[str, Any]
    weights: Mapping[str, Tensor]
    file: Path


def build(parts: DictionaryParts, device: str) -> SAE[Any]:
    """The SAELens object, float32, on ``device``.

    Raises:
        LoadingError: If tensors are missing, of other shapes than the settings or each other say, or not finite.
        UnsupportedSAEError: If tensors lie there that the architecture does not use and that would change its numbers.
    """
    name = str(parts.settings["architecture"])
    _check_settings(parts, name)
    wanted = (*_ALWAYS, *TENSORS[name])
    missing = [key for key in wanted if key not in parts.weights]
    if missing:
        raise LoadingError(
            f"{parts.file} has no {', '.join(missing)}, which a {name!r} dictionary needs; it holds {', '.join(sorted(parts.weights))}"
        )
    _refuse_unread(parts, name, set(parts.weights) - set(wanted))
    weights = {key: parts.weights[key].to(torch.float32).contiguous() for key in wanted}
    d_in, d_sae = _sizes(parts, weights)
    _refuse_not_finite(parts.file, weights)
    sizes = {"d_in": d_in, "d_sae": d_sae, **({"d_out": int(weights["W_dec"].shape[1])} if name in TRANSCODERS else {})}
    sae: SAE[Any] = _class_of(name).from_dict({**parts.settings, **sizes, "dtype": "float32", "device": "meta"})
    sae.load_state_dict(weights, assign=True)
    return sae.to(device=device, dtype=torch.float32)


def _class_of(name: str) -> Any:
    from sae_lens import SAE

    if not name.startswith("topk_"):
        return SAE
    from feature_graph.dictionaries.topk_transcoder import CLASSES

    return CLASSES[name]


def _check_settings(parts: DictionaryParts, name: str) -> None:
    for key in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm"):
        if not isinstance(parts.settings.get(key, False), bool):
            raise LoadingError(f"{parts.file}: its settings say {key} = {parts.settings[key]!r}, expected true or false")
    if name in TRANSCODERS and parts.settings.get("apply_b_dec_to_input", False):
        raise LoadingError(f"{parts.file}: its settings say apply_b_dec_to_input; a transcoder's b_dec is of its output")
    if name.startswith("topk"):
        k, width = parts.settings.get("k"), parts.weights["b_enc"].shape[-1] if "b_enc" in parts.weights else None
        if not isinstance(k, int) or isinstance(k, bool) or k < 1 or (width is not None and k > width):
            raise LoadingError(f"{parts.file}: its settings say k = {k!r}, expected the features per token, 1 to {width or 'd_sae'}")


def _says_something(name: str, tensor: Tensor) -> bool:
    if name == "scaling_factor":
        return not torch.allclose(tensor.float(), torch.ones_like(tensor, dtype=torch.float32))
    return name == "log_threshold" or bool(tensor.any())


def _refuse_unread(parts: DictionaryParts, name: str, rest: set[str]) -> None:
    telling = sorted(key for key in rest & _MEANINGFUL if _says_something(key, parts.weights[key]))
    if "W_skip" in telling and name not in TRANSCODERS:
        raise UnsupportedSAEError(f"{parts.file} holds W_skip: it is a skip transcoder, which reads one place and writes another")
    if telling:
        raise UnsupportedSAEError(
            f"{parts.file} holds {', '.join(telling)}, which a {name!r} dictionary does not use; correct the architecture in its settings"
        )
    unknown = sorted(rest - _MEANINGFUL - _STATISTICS)
    if unknown:
        log.warning("%s also holds %s, which no %r dictionary has; not read", parts.file, ", ".join(unknown), name)


def _sizes(parts: DictionaryParts, weights: Mapping[str, Tensor]) -> tuple[int, int]:
    w_enc = weights["W_enc"]
    if w_enc.ndim != 2:
        raise LoadingError(f"{parts.file}: W_enc has shape {tuple(w_enc.shape)}, expected [d_in, d_sae]")
    d_in, d_sae = w_enc.shape
    d_out = int(weights["W_dec"].shape[-1]) if str(parts.settings["architecture"]) in TRANSCODERS else d_in
    for key, got in (("d_in", d_in), ("d_sae", d_sae), ("d_out", d_out)):
        said = parts.settings.get(key)
        if said is not None and said != got:
            raise LoadingError(
                f"{parts.file}: its settings say {key} = {said}, but W_enc is {d_in} × {d_sae}{_and(d_out, d_in)}; one of the two files is "
                "not its own"
            )
    expected = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in)}
    for key, tensor in weights.items():
        shape = expected.get(key, (d_sae,))
        if tuple(tensor.shape) != shape:
            raise LoadingError(f"{parts.file}: {key} has shape {tuple(tensor.shape)}, expected {shape} with W_enc {d_in} × {d_sae}")
    return d_in, d_sae


def _and(d_out: int, d_in: int) -> str:
    return "" if d_out == d_in else f" and W_dec gives {d_out}"


def _refuse_not_finite(file: Path, weights: Mapping[str, Tensor]) -> None:
    broken = [f"{key} ({int((~tensor.isfinite()).sum())} values)" for key, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise LoadingError(f"{file}: NaN or infinite values in {', '.join(broken)}; training broke off or the file is damaged")
