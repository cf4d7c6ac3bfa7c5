"""The engine's own encoder and decoder of a dictionary: one affine map, one element-wise step, one affine map back.

Every quirk of an SAE that is constant is folded into the weights once, so that the engine can evaluate any subset of
features with one matrix product and knows each feature's direction:

- ``apply_b_dec_to_input``: x - b_dec before encoding becomes part of the encoder's bias;
- decoder rows of any norm (and ``rescale_acts_by_decoder_norm``): rows are scaled to norm 1, and encoder row, bias and
  threshold by the old norm, so that an activation is the length that the feature writes into the residual stream, and
  strengths of different dictionaries compare;
- gated encoders: W·e^r with the magnitude's bias is the affine map, and "the gate's path is above 0" is the same as "the
  magnitude's path is above b_mag - e^r·b_gate": such a dictionary is a JumpReLU with the threshold max(0, b_mag - e^r·b_gate);
- ``normalize_activations``: what SAELens has folded is folded; what is not, or depends on the token's own norm, is refused by name.

``codec_check`` compares the result with ``sae.encode`` and ``sae.decode``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from feature_graph.artifacts import Site, feature_id
from feature_graph.dictionaries.errors import LoadingError
from feature_graph.dictionaries.kinds import non_linearity

Features = Tensor | np.ndarray[Any, Any] | Sequence[int] | None
_DEAD_ROW = 1e-8
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class SiteCodec:
    """Encoder and decoder of one site, float32, on the model's device.

    *Folded units*: activations times the decoder row's norm, so that ``w_dec`` has rows of norm 1.

    Attributes:
        site: Where it sits.
        kind: Non-linearity: ``relu``, ``jumprelu`` or ``topk``.
        w_enc: [d_in, d_sae], residual units to folded units.
        b_enc: [d_sae], folded units.
        w_dec: [d_sae, d_in], rows of norm 1 (0 for a feature that writes nothing), residual units.
        b_dec: [d_in], residual units.
        threshold: [d_sae], folded units, for JumpReLU; else None.
        k: Features that survive the competition of a TopK dictionary, mean per token; else None.
        decoder_norm: [d_sae], norm of the decoder row as the SAE was shipped (1 for a feature that writes nothing).
        shipped_scale: [d_sae], activation as ``sae.encode`` gives it × this = folded units.
        activity_threshold: [d_sae], folded units: a feature is *active* above it.
    """

    site: Site
    kind: str
    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None
    k: float | None
    decoder_norm: Tensor
    shipped_scale: Tensor
    activity_threshold: Tensor

    @property
    def d_sae(self) -> int:
        """Features in the dictionary."""
        return int(self.w_dec.shape[0])

    @cached_property
    def writes(self) -> Tensor:
        """Bool [d_sae]: features whose decoder row is not 0."""
        return self.w_dec.any(1)

    @cached_property
    def encoder_norm(self) -> Tensor:
        """[d_sae], norm of each feature's encoder."""
        return self.w_enc.norm(dim=0)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.w_dec.device

    @classmethod
    @torch.no_grad()
    def from_sae(
        cls,
        sae: Any,
        site: Site,
        residual_norm: float = 0.0,
        activity_threshold: float | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Fold an SAELens SAE.

        Args:
            sae: The SAE, of any floating type; it is not changed.
            site: Where it sits.
            residual_norm: Mean norm of the residual stream there, for the default activity threshold.
            activity_threshold: The user's own threshold in folded units, the same for every feature.
            device: Where the weights shall lie; default: where the SAE lies.

        Raises:
            UnsupportedSAEError: If it is of a kind that cannot be folded exactly.
            LoadingError: If a weight is NaN or infinite; the features are named.
        """
        kind = non_linearity(sae, site.layer)
        to = {"device": device or sae.W_dec.device, "dtype": torch.float32}
        w_dec, b_dec = sae.W_dec.detach().to(**to), sae.b_dec.detach().to(**to)
        w_enc, b_enc, jump = _affine(sae, to)
        norm = w_dec.norm(dim=1)
        written = norm > _DEAD_ROW
        scale = torch.where(written, norm, torch.ones_like(norm))
        rescaled = kind == "topk" and sae.cfg.rescale_acts_by_decoder_norm
        if sae.cfg.apply_b_dec_to_input:
            b_enc = b_enc - b_dec @ w_enc
        folded = (w_enc * scale).T.contiguous().T  # rows of one feature lie together: subsets are cheap to take
        _refuse_broken(site, sae)
        return cls(
            site=site,
            kind=kind,
            w_enc=folded,
            b_enc=b_enc * scale,
            w_dec=torch.where(written[:, None], w_dec / scale[:, None], torch.zeros_like(w_dec)),
            b_dec=b_dec,
            threshold=None if jump is None else jump * scale,
            k=float(sae.cfg.k) if kind == "topk" else None,
            decoder_norm=scale,
            shipped_scale=torch.ones_like(scale) if rescaled else scale,
            activity_threshold=_activity_threshold(sae.cfg.architecture(), folded, residual_norm, activity_threshold),
        )

    def preactivation(self, x: Tensor, features: Features = None) -> Tensor:
        """Folded units before the non-linearity.

        Args:
            x: Residual stream [..., d_in].
            features: Indices; default: all.

        Returns:
            [..., d_sae] or [..., len(features)].
        """
        if features is None:
            return x @ self.w_enc + self.b_enc
        index = self._index(features)
        return torch.nn.functional.linear(x, self.w_enc.T[index], self.b_enc[index])

    def activate(self, pre: Tensor, features: Features = None) -> Tensor:
        """The element-wise step: ReLU or JumpReLU. TopK dictionaries: ReLU, that is before the competition."""
        if self.threshold is None:
            return pre.relu()
        return torch.where(self.gate(pre, features), pre, torch.zeros_like(pre))

    def gate(self, pre: Tensor, features: Features = None) -> Tensor:
        """Bool: where the derivative of :meth:`activate` is 1; elsewhere it is 0."""
        if self.threshold is None:
            return pre > 0
        limit = self.threshold if features is None else self.threshold[self._index(features)]
        return (pre > limit) & (pre > 0)

    def encode(self, x: Tensor, features: Features = None) -> Tensor:
        """Activations in folded units; TopK dictionaries: before the competition."""
        return self.activate(self.preactivation(x, features), features)

    def record(self, x: Tensor) -> Tensor:
        """Activations as the SAE itself gives them, in folded units: TopK dictionaries after the competition. [..., d_sae]."""
        return self.compete(self.encode(x))

    def compete(self, acts: Tensor) -> Tensor:
        """Keep the k largest of each token for a TopK dictionary; the identity for every other kind. [..., d_sae]."""
        if self.k is None:
            return acts
        index = (acts / self.shipped_scale).topk(int(self.k), dim=-1, sorted=False).indices
        return torch.zeros_like(acts).scatter(-1, index, acts.gather(-1, index))

    def decode(self, acts: Tensor) -> Tensor:
        """Reconstruction in residual units, [..., d_in], of activations in folded units [..., d_sae]."""
        return acts @ self.w_dec + self.b_dec

    def is_active(self, acts: Tensor, features: Features = None) -> Tensor:
        """Bool: which activations (folded units) count as activity."""
        limit = self.activity_threshold if features is None else self.activity_threshold[self._index(features)]
        return acts > limit

    def _index(self, features: Features) -> Tensor:
        return torch.as_tensor(features, dtype=torch.long, device=self.device)


def _affine(sae: Any, to: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    """W_enc [d_in, d_sae], bias [d_sae] (before b_dec is taken off the input) and threshold of the pre-activation: [d_sae], or None."""
    w_enc = sae.W_enc.detach().to(**to)
    if sae.cfg.architecture() == "gated":
        gain, b_mag = sae.r_mag.detach().to(**to).exp(), sae.b_mag.detach().to(**to)
        return w_enc * gain, b_mag, (b_mag - gain * sae.b_gate.detach().to(**to)).clamp_min(0)
    jump = sae.threshold.detach().to(**to) if sae.cfg.architecture() == "jumprelu" else None
    return w_enc, sae.b_enc.detach().to(**to), jump


def _refuse_broken(site: Site, sae: Any) -> None:
    per_feature = [sae.W_dec.isfinite().all(1), sae.W_enc.isfinite().all(0)]
    vectors = (getattr(sae, name, None) for name in ("b_enc", "threshold", "b_gate", "b_mag", "r_mag"))
    per_feature += [vector.isfinite() for vector in vectors if vector is not None]
    broken = (~torch.stack(per_feature).all(0)).nonzero()[:, 0].tolist()
    if broken:
        names = ", ".join(feature_id(site.layer, i) for i in broken[:3]) + (" …" if len(broken) > 3 else "")
        raise LoadingError(
            f"layer {site.layer}: weights of {len(broken)} features are NaN or infinite ({names}); the file of {site.sae_id} in "
            f"{site.release} is damaged"
        )
    if not bool(sae.b_dec.isfinite().all()):
        raise LoadingError(
            f"layer {site.layer}: the SAE's b_dec is NaN or infinite; the file of {site.sae_id} in {site.release} is damaged"
        )


def _activity_threshold(architecture: str, w_enc: Tensor, residual_norm: float, given: float | None) -> Tensor:
    if given is not None:
        return torch.full_like(w_enc[0], given)
    if architecture == "jumprelu":  # a gated one may open at 0, like ReLU
        return torch.zeros_like(w_enc[0])
    return _ROUNDING * residual_norm * w_enc.norm(dim=0)
