"""What decides the result of a training."""

from __future__ import annotations

from dataclasses import dataclass

#: Shares of the registers in what is recorded, apart from what the model writes itself.
REGISTERS = {"speeches": 0.45, "novel": 0.18, "documentation": 0.22, "dictionary": 0.15}


@dataclass(frozen=True)
class BandSettings:
    """Settings of all stages.

    Attributes:
        blocks: Blocks whose MLPs are recorded and get a transcoder, consecutive.
        context: Tokens a row, of every register.
        register_tokens: Tokens of all registers together that are recorded for training.
        sampled_rows: Rows that the model writes, about half of what is recorded; one in eleven is held out.
        d_sae: Features a transcoder.
        k: Features active per token, on average.
        samples: Training samples per block.
        batch: Samples per step.
        responses: Derivatives per step.
        response_weight: Weight of the response loss beside that of the reconstruction; 0: none.
        arrivals: Share of arrivals in the response loss; of the rest two thirds are decoders, one third is random.
        lr: Learning rate, warmed up over 5 % of the steps, decayed to 0 over the last 30 %.
        arrival_rows: Rows on which directions of earlier features are carried to later blocks.
        measured_rows: Held-out rows of each register on which the result is measured.
        seed: Of the training: order of samples, directions, first features.
        text_seed: Of the texts and their held-out parts, which are those of the residual SAEs.
    """

    blocks: tuple[int, ...] = tuple(range(8, 16))
    context: int = 128
    register_tokens: int = 245_000
    sampled_rows: int = 2_048
    d_sae: int = 2_304
    k: int = 32
    samples: int = 2_000_000
    batch: int = 1_024
    responses: int = 512
    response_weight: float = 1.0
    arrivals: float = 0.25
    lr: float = 2e-3
    arrival_rows: int = 192
    measured_rows: int = 128
    seed: int = 7
    text_seed: int = 7

    @property
    def shares(self) -> dict[str, float]:
        """Share of each kind of direction in the response loss."""
        rest = 1 - self.arrivals
        return {"decoders": 2 / 3 * rest, "arrivals": self.arrivals, "random": rest / 3}
