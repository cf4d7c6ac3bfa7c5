"""Training the transcoder of one block, on what was recorded of it and on derivatives of its MLP that are computed on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from feature_graph.utils import derived_seed, progress, whole_file, write_json
from scripts.band.arrivals import Arrivals
from scripts.band.directions import MlpDerivative, ResponseSamples, chosen, decoder_rows
from scripts.band.linear import linear_map
from scripts.band.recording import MlpTokens, usual
from scripts.band.settings import BandSettings
from scripts.band.transcoder import BandTranscoder, StepLoss, norms_of

log = logging.getLogger("feature_graph.band")
#: Tokens from which features and skip begin.
BEGIN = 20_000
#: Derivatives from which the skip begins, and by which errors are scaled.
DERIVATIVES = 8_192
_DEAD_FOR = 40
_LR_WARM, _LR_DECAY = 0.05, 0.3


@dataclass(frozen=True)
class Directions:
    """Where directions of a block's training come from.

    Attributes:
        decoders: [n, D], rows of earlier decoders, of length 1.
        arrivals: What arrived of earlier features.
    """

    decoders: Tensor
    arrivals: Arrivals

    @classmethod
    def of(cls, decoders: list[Tensor], arrivals: Sequence[Arrivals], *, evaluation: bool) -> Directions:
        """Directions of held-out features, or the others."""
        return cls(decoder_rows(decoders, evaluation=evaluation), Arrivals.joined(arrivals).part(evaluation=evaluation))

    def draw(
        self, mlp: MlpDerivative, tokens: MlpTokens, n: int, shares: Mapping[str, float], generator: torch.Generator
    ) -> dict[str, ResponseSamples]:
        """Derivatives of each kind, ``n`` in all by their shares; decoders and random directions at random ones of ``tokens``."""
        counts = {kind: max(1, round(share * n)) for kind, share in shares.items()}
        here = tokens.take(torch.randint(len(tokens), (n,), generator=generator))
        first, more = counts["decoders"], counts["decoders"] + counts["random"]
        rows = chosen(self.decoders, first, generator)
        isotropic = torch.randn(more - first, tokens.x.shape[1], generator=generator)
        at = torch.randint(len(self.arrivals.x), (counts["arrivals"],), generator=generator)
        x, dx = self.arrivals.x[at], self.arrivals.dx[at]
        return {
            "decoders": ResponseSamples.of(mlp, here.x[:first], here.s[:first], rows),
            "arrivals": ResponseSamples(x, dx, mlp.along(x, dx)),
            "random": ResponseSamples.of(mlp, here.x[first:more], here.s[first:more], isotropic),
        }


@dataclass
class BandTrainer:
    """Trains one block.

    Attributes:
        settings: Of the training.
        block: Its number.
        tokens: What was recorded of it.
        mlp: Its derivative.
        directions: Along which.
    """

    settings: BandSettings
    block: int
    tokens: MlpTokens
    mlp: MlpDerivative
    directions: Directions

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(derived_seed(self.settings.seed, "band", self.block))
        self.kept = usual(self.tokens)
        norms = torch.cat([part.float().norm(dim=1) for part in self.tokens.y[self.kept].split(20_000)])
        self.scale = float(self.tokens.y.shape[1] ** 0.5 / norms.mean())
        self.steps = max(1, self.settings.samples // self.settings.batch)

    def batch(self, n: int) -> MlpTokens:
        """Tokens at random, with repetition; outputs in units of training."""
        picked = self.tokens.take(self.kept[torch.randint(len(self.kept), (n,), generator=self.generator)])
        return MlpTokens(picked.x, picked.y * self.scale, picked.s)

    def draw(self, tokens: MlpTokens, n: int) -> dict[str, ResponseSamples]:
        """Derivatives in units of training; none without a response loss."""
        if not self.settings.response_weight:
            return {}
        drawn = self.directions.draw(self.mlp, tokens, n, self.settings.shares, self.generator)
        return {kind: ResponseSamples(one.x, one.dx, one.dy * self.scale) for kind, one in drawn.items()}

    def run(self) -> BandTranscoder:
        """Train, from the best linear map and pairs of inputs and outputs on."""
        some = self.batch(max(BEGIN, self.settings.d_sae))
        samples = self.draw(some, min(len(some), DERIVATIVES))
        skip = linear_map(some.x, some.y, list(samples.values()), self.settings.response_weight)
        made = BandTranscoder(some.x, some.y, skip, self.settings.d_sae)
        norms = norms_of(some.y, samples, self.settings.response_weight, self.settings.shares)
        optimiser = torch.optim.Adam(made.parameters(), lr=self.settings.lr)
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
        last, begun = torch.zeros(self.settings.d_sae, dtype=torch.long), time.monotonic()
        for step in progress(range(self.steps), f"training block {self.block}"):
            tokens = self.batch(self.settings.batch)
            with torch.autocast("cpu", torch.bfloat16):
                responses = self.draw(tokens, self.settings.responses)
                found = made.loss(tokens.x, tokens.y, responses, self.settings.k, norms)
            _advance(made, found, optimiser, first=step == 0)
            rate.step()
            last[found.fired] = step
            if step in [self.steps * part // 5 for part in (1, 2, 3)]:
                self._wake(made, optimiser, torch.nonzero(step - last > _DEAD_FOR).flatten(), tokens, found)
                last[step - last > _DEAD_FOR] = step
            if step % 50 == 0:
                log.info(
                    "block %d, step %d of %d: outputs %.3f unexplained, responses %.3f missed, %.0f s",
                    self.block,
                    step,
                    self.steps,
                    found.unexplained,
                    found.missed,
                    time.monotonic() - begun,
                )
        return made

    def _rate(self, step: int) -> float:
        return min(1.0, (step + 1) / (_LR_WARM * self.steps)) * min(1.0, (self.steps - step) / (_LR_DECAY * self.steps))

    def _wake(self, made: BandTranscoder, optimiser: torch.optim.Adam, dead: Tensor, tokens: MlpTokens, found: StepLoss) -> None:
        if not len(dead):
            return
        made.begin_again(dead, tokens.x, found.errors.float(), self.generator)
        for parameter, axis in ((made.w_enc, 1), (made.b_enc, 0), (made.w_dec, 0)):
            for name in ("exp_avg", "exp_avg_sq"):
                optimiser.state[parameter][name].index_fill_(axis, dead, 0.0)


def _advance(made: BandTranscoder, found: StepLoss, optimiser: torch.optim.Adam, *, first: bool) -> None:
    """One step of the optimiser; decoder rows stay of length 1, and the threshold follows the cut."""
    optimiser.zero_grad()
    found.total.backward()
    gradient = made.w_dec.grad
    assert gradient is not None
    gradient -= (gradient * made.w_dec.detach()).sum(1, keepdim=True) * made.w_dec.detach()
    optimiser.step()
    made.keep_rows_unit()
    cut = found.cut.float()
    made.threshold.copy_(cut if first else made.threshold + 0.02 * (cut - made.threshold))


def save_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``weights.safetensors``, in the model's units, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "weights.safetensors") as temporary:
        save_file(dict(tensors), temporary)


def save_record(folder: Path, settings: BandSettings, record: Mapping[str, Any]) -> None:
    """Write ``record.json``, which says that a training is done."""
    write_json(folder / "record.json", {"settings": asdict(settings), **record})
