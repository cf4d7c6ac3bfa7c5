"""The weights of an SAELens dictionary as one affine map and thresholds, before they are folded into a codec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from feature_graph.artifacts import Site, feature_id
from feature_graph.dictionaries.errors import LoadingError
from ingest import counted

_ROUNDING = 1e-6


def affine(sae: Any, to: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    """W_enc [d_in, d_sae], bias [d_sae] (before b_dec is taken off the input) and threshold of the pre-activation: [d_sae], or None."""
    w_enc = sae.W_enc.detach().to(**to)
    if sae.cfg.architecture() == "gated":
        gain, b_mag = sae.r_mag.detach().to(**to).exp(), sae.b_mag.detach().to(**to)
        return w_enc * gain, b_mag, (b_mag - gain * sae.b_gate.detach().to(**to)).clamp_min(0)
    jump = sae.threshold.detach().to(**to) if sae.cfg.architecture().startswith("jumprelu") else None
    return w_enc, sae.b_enc.detach().to(**to), jump


def skip_weights(sae: Any, to: Mapping[str, Any]) -> Tensor | None:
    """W_skip [d_out, d_in] of a skip transcoder; None for others."""
    weights = getattr(sae, "W_skip", None)
    return None if weights is None else weights.detach().to(**to)


def refuse_broken(site: Site, sae: Any) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        LoadingError: Naming the features, or the tensor that is no feature's.
    """
    per_feature = [sae.W_dec.isfinite().all(1), sae.W_enc.isfinite().all(0)]
    vectors = (getattr(sae, name, None) for name in ("b_enc", "threshold", "b_gate", "b_mag", "r_mag"))
    per_feature += [vector.isfinite() for vector in vectors if vector is not None]
    broken = (~torch.stack(per_feature).all(0)).nonzero()[:, 0].tolist()
    where = f"layer {site.layer}" if site.kind == "residual" else site.name
    damaged = f"the file of {site.sae_id} in {site.release} is damaged"
    if broken:
        names = ", ".join(feature_id(site.layer, i, site.id_site) for i in broken[:3]) + (" …" if len(broken) > 3 else "")
        raise LoadingError(f"{where}: weights of {counted(len(broken), 'feature')} are NaN or infinite ({names}); {damaged}")
    for name in ("b_dec", "W_skip"):
        if hasattr(sae, name) and not bool(getattr(sae, name).isfinite().all()):
            raise LoadingError(f"{where}: the SAE's {name} is NaN or infinite; {damaged}")


def activity_threshold(architecture: str, w_enc: Tensor, norm: float, given: float | None) -> Tensor:
    """[d_sae], folded units: the user's own, 0 for JumpReLU, else what rounding may leave of vectors of length ``norm``."""
    if given is not None:
        return torch.full_like(w_enc[0], given)
    if architecture.startswith("jumprelu"):  # a gated one may open at 0, like ReLU
        return torch.zeros_like(w_enc[0])
    return _ROUNDING * norm * w_enc.norm(dim=0)
