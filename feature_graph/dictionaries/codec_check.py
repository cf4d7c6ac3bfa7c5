"""The folded encoder and decoder of a dictionary compared with the dictionary's own."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor

from feature_graph.dictionaries.codec import SiteCodec
from feature_graph.dictionaries.errors import LoadingError

log = logging.getLogger(__name__)


@torch.no_grad()
def check_codec(codec: SiteCodec, sae: Any, x: Tensor, tolerance: float = 1e-4) -> None:
    """Hold the folded encoder and decoder against ``sae.encode`` and ``sae.decode``.

    Activations may differ by ``tolerance`` × the scale of the pre-activation; features that sit on their threshold
    within that margin are passed over.

    Args:
        codec: The folded form.
        sae: The SAE it was made from.
        x: Vectors of the tensor that it reads [n, d_in]; 64 are enough.

    Raises:
        LoadingError: Saying by how much they disagree.
    """
    x, sae = x.to(codec.device, torch.float32), _in_float32(sae, codec.site.layer)
    given = _as_its_own(sae, x.to(sae.W_dec.device, sae.W_dec.dtype))
    theirs = sae.encode(given).to(codec.device, torch.float32)
    pre = codec.preactivation(x)
    ours = codec.compete(codec.activate(pre))
    in_units = theirs * codec.shipped_scale
    margin = tolerance * (x.norm(dim=1, keepdim=True) * codec.w_enc.norm(dim=0) + 1e-6)
    wrong = (ours - in_units).abs() > margin
    wrong &= (pre - _switching_point(codec, pre)).abs() > margin
    if wrong.any():
        worst = (ours - in_units).abs()[wrong].max().item()
        raise LoadingError(
            f"layer {codec.site.layer}: the folded encoder differs from the SAE's own on {int(wrong.sum())} of {wrong.numel()} "
            f"activations, by up to {worst:.3g}; its configuration ({sae.cfg.architecture()}, {sae.cfg.normalize_activations}) "
            "does something at run time that this library does not know"
        )
    back = sae.decode(theirs.to(sae.W_dec.device, sae.W_dec.dtype)).flatten(1).to(codec.device, torch.float32)
    _compare("decoder", codec.site.layer, codec.decode(in_units), back, 10 * tolerance)
    if codec.w_skip is not None:
        whole = sae(given).to(codec.device, torch.float32)
        rounding = 0.01 * whole.norm(dim=1)  # a skip that gives nothing at a token is there what is left of a difference
        _compare("skip", codec.site.layer, x @ codec.w_skip.T, whole - back, 10 * tolerance, rounding)


def _as_its_own(sae: Any, x: Tensor) -> Tensor:
    """[n, d_in] as the dictionary's ``encode`` takes it: with an axis of heads where it lays them side by side itself."""
    return x[:, None, :] if getattr(sae.cfg, "reshape_activations", "none") != "none" else x


def _compare(part: str, layer: int, ours: Tensor, theirs: Tensor, tolerance: float, beside: Tensor | float = 0.0) -> None:
    """Refuse rows that differ by more than ``tolerance`` of their own length and ``beside``."""
    gap = (ours - theirs).norm(dim=1) / (theirs.norm(dim=1) + beside).clamp_min(1e-6)
    if gap.max() > tolerance:
        raise LoadingError(f"layer {layer}: the folded {part} differs from the SAE's own by {gap.max().item():.3g} of its norm")


def _in_float32(sae: Any, layer: int) -> Any:
    """The SAE itself, or a float32 copy of one in half precision, whose own sums are too coarse to compare with."""
    if sae.W_dec.dtype not in (torch.bfloat16, torch.float16):
        return sae
    log.info(
        "layer %d: the SAE's weights are %s; everything is computed with them in float32",
        layer,
        str(sae.W_dec.dtype).removeprefix("torch."),
    )
    return copy.deepcopy(sae).to(dtype=torch.float32)


def _switching_point(codec: SiteCodec, pre: Tensor) -> Tensor:
    """Pre-activation at which each feature switches on: 0, its threshold, or the k-th largest of the token."""
    if codec.k is not None:
        last = (pre.relu() / codec.shipped_scale).topk(int(codec.k), dim=-1).values[..., -1:]
        return last * codec.shipped_scale
    return torch.zeros_like(pre[:1]) if codec.threshold is None else codec.threshold.clamp_min(0)
