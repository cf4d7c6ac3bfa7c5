"""Several steerings of the same samples in one batch, through to the model's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.interventions import AnalysedModel, Perturbation, PerturbedRun, Perturber, SamplePositions, predicts_tokens
from feature_graph.steering.errors import SteeringError


class SteeredBatch:
    """Samples of some documents, ready to be steered at one site and later ones.

    Args:
        analysed: The model and its dictionaries.
        tokens: int64 [documents, context].
        counted: bool [documents, context], positions that count as later ones.
        samples: Rows of ``tokens`` and positions.
        first: Layer of the earliest site that is steered.
        horizon: Later positions run.
    """

    def __init__(
        self,
        analysed: AnalysedModel,
        tokens: NDArray[np.int64],
        counted: NDArray[np.bool_],
        samples: SamplePositions,
        first: int,
        horizon: int,
    ) -> None:
        used, rows = np.unique(samples.documents, return_inverse=True)  # only documents with a sample are run
        self.samples, self.horizon = SamplePositions(rows.astype(np.int64), samples.positions), horizon
        self.perturber = Perturber(analysed, tokens[used], first, to_output=True)
        steps = samples.positions[:, None] + np.arange(horizon + 2)
        inside = steps < tokens.shape[1]
        at = samples.documents[:, None], np.minimum(steps, tokens.shape[1] - 1)
        there = counted[at] & inside
        there[:, 0] = True
        #: bool [samples, 1 + horizon]: positions inside the context that count; the steered one always does.
        self.there: NDArray[np.bool_] = there[:, :-1]
        #: int64 [samples, 1 + horizon]: the token that comes next in the text, −1 where there is none, or outputs are not tokens.
        self.next_tokens: NDArray[np.int64] = np.where(there[:, 1:] & there[:, :-1], tokens[at][:, 1:], -1)
        if not predicts_tokens(analysed.model):
            self.next_tokens[:] = -1

    def __len__(self) -> int:
        return len(self.samples)

    def run(self, variants: Sequence[Sequence[Perturbation]], read: Mapping[int, Sequence[int]]) -> list[PerturbedRun]:
        """:meth:`Perturber.run` on the samples of the batch."""
        return self.perturber.run(self.samples, variants, read, self.horizon)

    @torch.no_grad()
    def outputs(self, run: PerturbedRun) -> Tensor:
        """Log-probability of each output (the next token), or the output itself where there is one.

        Returns:
            [samples, 1 + horizon, outputs]; what lies beyond the context's end means nothing.

        Raises:
            SteeringError: If the run did not go on to the model's output.
        """
        if run.final is None:
            raise SteeringError("run: ends at the last site read; expected one of this batch, which goes on to the output")
        logits = self.perturber.analysed.slices.logits(run.final)
        return logits if logits.shape[-1] == 1 else logits.log_softmax(-1)
