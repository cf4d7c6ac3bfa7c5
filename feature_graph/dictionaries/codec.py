"""The engine's own encoder and decoder of a dictionary: one affine map, one element-wise step, one affine map back.

An SAE gives back the tensor that it takes; a transcoder takes an MLP's input and gives its output, and a skip transcoder adds a linear map
of the input, which belongs to no feature and is kept apart (:meth:`SiteCodec.skip`).

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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from feature_graph.artifacts import Site, SiteKind
from feature_graph.dictionaries.folding import activity_threshold as default_threshold
from feature_graph.dictionaries.folding import affine, refuse_broken, skip_weights
from feature_graph.dictionaries.kinds import non_linearity

Features = Tensor | np.ndarray[Any, Any] | Sequence[int] | None
_DEAD_ROW = 1e-8


def stream_rows(rows: Tensor, kind: SiteKind, w_out: Tensor | None) -> Tensor:
    """What decoder rows [n, d_out] of a site add to the residual stream: [n, d_model].

    Of a dictionary on z, they go through W_O (``w_out``, None for others), before a norm that follows attention. What is written at the
    MLP's output or attention's is added to the stream as it is. A dictionary on the MLP's input adds nothing to the stream itself.
    """
    if kind == "mlp_in":
        return torch.zeros_like(rows)
    return rows if w_out is None else rows @ w_out


@dataclass(frozen=True, eq=False)
class SiteCodec:
    """Encoder and decoder of one site, float32, on the model's device.

    *Folded units*: activations times the decoder row's norm, so that ``w_dec`` has rows of norm 1. *Units of the tensor* that is read
    [d_in] or written [d_out]; both are the residual stream's for a residual SAE, and d_out = d_in for every SAE.

    Attributes:
        site: Where it sits.
        kind: Non-linearity: ``relu``, ``jumprelu`` or ``topk``.
        w_enc: [d_in, d_sae], units of the tensor that is read to folded units.
        b_enc: [d_sae], folded units.
        w_dec: [d_sae, d_out], rows of norm 1 (0 for a feature that writes nothing), units of the tensor that is written.
        b_dec: [d_out], the same units.
        threshold: [d_sae], folded units, for JumpReLU; else None.
        k: Features that survive the competition of a TopK dictionary, mean per token; else None.
        decoder_norm: [d_sae], norm of the decoder row as the SAE was shipped (1 for a feature that writes nothing).
        shipped_scale: [d_sae], activation as ``sae.encode`` gives it × this = folded units.
        activity_threshold: [d_sae], folded units: a feature is *active* above it.
        w_skip: [d_out, d_in], the linear map that a skip transcoder adds to what its features write; None for others.
        w_out: [d_out, d_model], W_O for a dictionary on z; None for others.
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
    w_skip: Tensor | None = None
    w_out: Tensor | None = None

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
        """Fold an SAELens SAE or transcoder.

        Args:
            sae: The dictionary, of any floating type; it is not changed.
            site: Where it sits.
            residual_norm: Mean norm of the tensor that it reads, for the default activity threshold.
            activity_threshold: The user's own threshold in folded units, the same for every feature.
            device: Where the weights shall lie; default: where the SAE lies.

        Raises:
            UnsupportedSAEError: If it is of a kind that cannot be folded exactly.
            LoadingError: If a weight is NaN or infinite; the features are named.
        """
        kind = non_linearity(sae, site.layer, components=site.kind != "residual")
        to = {"device": device or sae.W_dec.device, "dtype": torch.float32}
        w_dec, b_dec = sae.W_dec.detach().to(**to), sae.b_dec.detach().to(**to)
        w_enc, b_enc, jump = affine(sae, to)
        norm = w_dec.norm(dim=1)
        written = norm > _DEAD_ROW
        scale = torch.where(written, norm, torch.ones_like(norm))
        rescaled = kind == "topk" and bool(getattr(sae.cfg, "rescale_acts_by_decoder_norm", False))
        if sae.cfg.apply_b_dec_to_input:
            b_enc = b_enc - b_dec @ w_enc
        folded = (w_enc * scale).T.contiguous().T  # rows of one feature lie together: subsets are cheap to take
        refuse_broken(site, sae)
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
            activity_threshold=default_threshold(sae.cfg.architecture(), folded, residual_norm, activity_threshold),
            w_skip=skip_weights(sae, to),
        )

    def preactivation(self, x: Tensor, features: Features = None) -> Tensor:
        """Folded units before the non-linearity.

        Args:
            x: The tensor that is read [..., d_in].
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
        """What the features write, and ``b_dec``: [..., d_out], of activations in folded units [..., d_sae]."""
        return acts @ self.w_dec + self.b_dec

    def skip(self, x: Tensor) -> Tensor | float:
        """What a skip transcoder's linear map adds, [..., d_out], of what is read [..., d_in]; 0 for other dictionaries."""
        return 0.0 if self.w_skip is None else x @ self.w_skip.T

    def reconstruct(self, x: Tensor) -> Tensor:
        """The dictionary's own output, [..., d_out], of what is read [..., d_in]: features after the competition, ``b_dec`` and skip."""
        return self.decode(self.record(x)) + self.skip(x)

    def stream_directions(self, features: Features = None) -> Tensor:
        """What features add to the residual stream per unit (:func:`stream_rows`): [features, d_model]."""
        rows = self.w_dec if features is None else self.w_dec[self._index(features)]
        return stream_rows(rows, self.site.kind, self.w_out)

    def is_active(self, acts: Tensor, features: Features = None) -> Tensor:
        """Bool: which activations (folded units) count as activity."""
        limit = self.activity_threshold if features is None else self.activity_threshold[self._index(features)]
        return acts > limit

    def _index(self, features: Features) -> Tensor:
        return torch.as_tensor(features, dtype=torch.long, device=self.device)
