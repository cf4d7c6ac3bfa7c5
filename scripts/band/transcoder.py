"""The skip transcoder while it is trained: BatchTopK features and a linear skip, in units in which outputs have length √D on average.

Loss = mean |T(x) − y|² / mean |y|² + w · mean over kinds of (mean |T′δ − M′δ|² / mean |M′δ|²), with T′ the derivative at the gates of the
token: features that are on, and the skip. Gates themselves have no derivative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.band.directions import ResponseSamples
from scripts.band.duplicates import distinct
from scripts.band.linear import mean_square


@dataclass(frozen=True)
class Norms:
    """What errors are relative to.

    Attributes:
        outputs: Mean squared length of outputs.
        responses: Kind of direction → mean squared length of derivatives along it.
        weights: Kind of direction → its weight in the loss.
    """

    outputs: float
    responses: Mapping[str, float]
    weights: Mapping[str, float]


@dataclass(frozen=True)
class StepLoss:
    """One step's loss.

    Attributes:
        total: What is minimised.
        unexplained: Mean squared error of outputs, relative.
        missed: The same of derivatives.
        errors: [n, D], errors of outputs.
        fired: bool [d_sae], features that were on at some token.
        cut: Pre-activation above which a feature was on.
    """

    total: Tensor
    unexplained: float
    missed: float
    errors: Tensor
    fired: Tensor
    cut: Tensor


class BandTranscoder(nn.Module):
    """Encoder, decoder with rows of length 1, and skip.

    Args:
        x: [n, D], inputs of n ≥ d_sae tokens, from which features begin.
        y: [n, D], their outputs.
        skip: W [D, D] and b [D] that the skip and the bias begin as.
        d_sae: Features.
    """

    def __init__(self, x: Tensor, y: Tensor, skip: tuple[Tensor, Tensor], d_sae: int) -> None:
        super().__init__()
        centre = x.mean(0)
        begin = distinct(x - centre, d_sae)
        rest = (y - x @ skip[0] - skip[1])[begin]
        inputs = _unit(x[begin] - centre) * 0.3
        self.w_enc = nn.Parameter(inputs.T.contiguous())
        self.b_enc = nn.Parameter(-(inputs @ centre))
        self.w_dec = nn.Parameter(_unit(rest))
        self.w_skip, self.b_dec = nn.Parameter(skip[0].clone()), nn.Parameter(skip[1].clone())
        self.register_buffer("centre", centre)
        self.register_buffer("threshold", torch.tensor(0.0))

    def loss(self, x: Tensor, y: Tensor, responses: Mapping[str, ResponseSamples], k: int, norms: Norms) -> StepLoss:
        """The loss of one batch [n, D], at k features per token on average."""
        pre = x @ self.w_enc + self.b_enc
        cut = batch_cut(pre.detach()[::4], k)
        on = pre > cut
        errors = (pre * on) @ self.w_dec + self.b_dec + x @ self.w_skip - y
        output = errors.square().sum(1).mean() / norms.outputs
        response = torch.zeros(())
        for kind, samples in responses.items():
            missed = self.derivative(samples, cut) - samples.dy
            response = response + norms.weights[kind] * missed.square().sum(1).mean() / norms.responses[kind]
        return StepLoss(output + response, float(output.detach()), float(response.detach()), errors.detach(), on.any(0), cut)

    def derivative(self, samples: ResponseSamples, cut: Tensor) -> Tensor:
        """[n, D], T′ along the samples' directions."""
        on = (samples.x @ self.w_enc + self.b_enc).detach() > cut
        return ((samples.dx @ self.w_enc) * on) @ self.w_dec + samples.dx @ self.w_skip

    @torch.no_grad()
    def keep_rows_unit(self) -> None:
        """Bring decoder rows back to length 1."""
        self.w_dec.copy_(_unit(self.w_dec))

    @torch.no_grad()
    def begin_again(self, dead: Tensor, x: Tensor, errors: Tensor, generator: torch.Generator) -> None:
        """Start dead features again at tokens [n, D] whose output is explained worst."""
        order = torch.multinomial(errors.square().sum(1), len(x), generator=generator)
        picked = order[distinct(x[order] - self.centre, len(dead))]
        dead = dead[: len(picked)]
        inputs = _unit(x[picked] - self.centre) * self.w_enc.norm(dim=0).median() * 0.8
        self.w_enc[:, dead] = inputs.T
        self.b_enc[dead] = -(inputs @ self.centre)
        self.w_dec[dead] = _unit(-errors[picked])

    @torch.no_grad()
    def in_units_of_the_model(self, scale: float) -> dict[str, Tensor]:
        """SAELens' tensors, where training multiplied outputs by ``scale``."""
        threshold = (self.threshold / scale).expand(self.w_dec.shape[0])
        found = {"W_enc": self.w_enc / scale, "b_enc": self.b_enc / scale, "W_dec": self.w_dec, "b_dec": self.b_dec / scale}
        found |= {"W_skip": self.w_skip.T / scale, "threshold": threshold}
        return {name: tensor.detach().float().contiguous().clone() for name, tensor in found.items()}


def batch_cut(pre: Tensor, k: int) -> Tensor:
    """The pre-activation that the k·n largest of [n, d_sae] exceed or reach, and no less than 0."""
    return torch.topk(pre.flatten(), min(k * len(pre), pre.numel()), sorted=False).values.min().clamp_min(1e-6)


def norms_of(y: Tensor, responses: Mapping[str, ResponseSamples], response_weight: float, shares: Mapping[str, float]) -> Norms:
    """What the errors of a training are relative to, from some of its samples."""
    by_kind = {kind: mean_square(samples.dy) for kind, samples in responses.items()}
    return Norms(mean_square(y), by_kind, {kind: response_weight * shares[kind] for kind in responses})


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
