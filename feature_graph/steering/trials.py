"""Several steerings of the same samples in one batch, through to the model's output.

Each *arm* is a set of pushes. All arms start from the clean residual stream at the first pushed site; positions p..p+h run behind the clean
prefix, a push is added at p when its site is reached, and features are read at p. An arm without pushes is the clean run, in the same
batch, so that nothing changes where nothing is pushed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import ModelSlices, predicts_tokens
from feature_graph.steering.pushes import Float, Samples


@dataclass(frozen=True, eq=False)
class Push:
    """An additive delta along one direction at one site.

    Attributes:
        layer: Layer of the site.
        direction: [d_model], residual units per activation unit.
        delta: Activation units.
        feature: Feature that cannot be turned down below 0: where it is less active than −delta, it is turned off. None: no such bound.
    """

    layer: int
    direction: Tensor
    delta: float
    feature: int | None = None


@dataclass(frozen=True)
class Arm:
    """What one set of pushes did.

    Attributes:
        activations: Layer → float64 [samples, features read], at the pushed position, behind the pushes of that site.
        final: [samples, 1 + horizon, d_model], residual stream behind the last block.
        amounts: What each push really added, in activation units, float64 [samples] each.
    """

    activations: dict[int, Float]
    final: Tensor
    amounts: tuple[Float, ...]


class Trials:
    """Samples of some documents, ready to be steered at one site and later ones.

    Args:
        slices: The model.
        codecs: Layer → dictionary.
        tokens: int64 [documents, context].
        counted: bool [documents, context], positions that count as later ones.
        samples: Rows of ``tokens`` and positions.
        first: Layer of the earliest site that is pushed.
        horizon: Later positions run.
    """

    def __init__(
        self,
        slices: ModelSlices,
        codecs: Mapping[int, SiteCodec],
        tokens: NDArray[np.int64],
        counted: NDArray[np.bool_],
        samples: Samples,
        first: int,
        horizon: int,
    ) -> None:
        used, rows = np.unique(samples.documents, return_inverse=True)  # only documents with a sample are run
        self.slices, self.codecs, self.horizon = slices, dict(codecs), horizon
        self.start = self.codecs[first].site.point
        self.order = sorted((n for n, c in self.codecs.items() if c.site.point >= self.start), key=lambda n: self.codecs[n].site.point)
        self.documents = torch.as_tensor(rows.astype(np.int64), device=slices.device)
        self.positions = torch.as_tensor(samples.positions, device=slices.device)
        self.clean = slices.residuals(tokens[used], [self.start], range(self.start, slices.n_blocks))
        steps = samples.positions[:, None] + np.arange(horizon + 2)
        inside = steps < tokens.shape[1]
        at = samples.documents[:, None], np.minimum(steps, tokens.shape[1] - 1)
        there = counted[at] & inside
        there[:, 0] = True
        #: bool [samples, 1 + horizon]: positions inside the context that count; the pushed one always does.
        self.there: NDArray[np.bool_] = there[:, :-1]
        #: int64 [samples, 1 + horizon]: the token that comes next in the text, −1 where there is none, or outputs are not tokens.
        self.next_tokens: NDArray[np.int64] = np.where(there[:, 1:] & there[:, :-1], tokens[at][:, 1:], -1)
        if not predicts_tokens(slices.model):
            self.next_tokens[:] = -1

    def __len__(self) -> int:
        return len(self.documents)

    @torch.no_grad()
    def run(self, arms: Sequence[Sequence[Push]], read: Mapping[int, Sequence[int]]) -> list[Arm]:
        """Run several sets of pushes.

        Args:
            arms: Pushes of each arm; an empty one is the clean run.
            read: Layer → indices of features; layers before the first pushed site are left out.
        """
        positions = (self.positions[:, None] + torch.arange(1 + self.horizon, device=self.slices.device)).clamp(
            max=self.clean.tokens.shape[1] - 1
        )
        x = self.clean.residuals[self.start][self.documents[:, None], positions][:, None].repeat(1, len(arms), 1, 1)
        amounts: list[dict[Push, Float]] = [{} for _ in arms]
        found: list[dict[int, Float]] = [{} for _ in arms]
        point = self.start
        for name in self.order:
            codec = self.codecs[name]
            x, point = self._advance(x, point, codec.site.point), codec.site.point
            for a, arm in enumerate(arms):
                for push in (p for p in arm if p.layer == name):
                    amount = _amount(codec, push, x[:, a, 0])
                    x[:, a, 0] += (amount[:, None] * push.direction.to(amount)).to(x.dtype)
                    amounts[a][push] = amount.double().cpu().numpy()
            if len(read.get(name, ())):
                index = torch.as_tensor(np.asarray(read[name]), device=self.slices.device)
                values = codec.encode(x[:, :, 0].to(codec.w_enc.dtype), index).double().cpu().numpy()
                for a in range(len(arms)):
                    found[a][name] = values[:, a]
        x = self._advance(x, point, self.slices.n_blocks)
        return [Arm(found[a], x[:, a], tuple(amounts[a][p] for p in arm)) for a, arm in enumerate(arms)]

    @torch.no_grad()
    def outputs(self, arm: Arm) -> Tensor:
        """Log-probability of each output (the next token), or the output itself where there is one.

        Returns:
            [samples, 1 + horizon, outputs]; what lies beyond the context's end means nothing.
        """
        logits = self.slices.logits(arm.final)
        return logits if logits.shape[-1] == 1 else logits.log_softmax(-1)

    def _advance(self, x: Tensor, start: int, stop: int) -> Tensor:
        return self.slices.advance(x, start, stop, self.clean, self.documents, self.positions) if stop > start else x


def _amount(codec: SiteCodec, push: Push, x: Tensor) -> Tensor:
    """What a push adds at each sample [samples], activation units."""
    delta = torch.full((len(x),), push.delta, dtype=codec.w_enc.dtype, device=x.device)
    if push.feature is None:
        return delta
    now = codec.encode(x.to(codec.w_enc.dtype), torch.as_tensor([push.feature], device=x.device))[:, 0]
    return torch.maximum(delta, -now)
