"""What "matters for the output" can mean: the next-token loss, or the change of the output itself.

``loss``: the summed next-token loss L of a document changes by about −f_i ⟨d_i, ∂L/∂x⟩ when feature i is removed at a token.

``output``: how much the output changes, whatever it stands for, summed over the positions that count.

1. To first order, removing feature i at a token changes the output at position t by Δ_t = −f_i J_t d_i, J_t its Jacobian.
2. Outputs that a softmax turns into a distribution p_t change by KL(p_t ‖ p_t') ≈ ½ Var_p(Δ_t), to second order: the gradient of KL at the
   clean run is 0, so the first order says nothing.
3. Var_p(Δ) = E[⟨z, Δ⟩²] for z = √p ε − p ⟨√p, ε⟩ with random signs ε (Hutchinson 1990), and ⟨z, Δ⟩ = −f_i ⟨d_i, Jᵀz⟩: one backward pass
   from z, at all positions together, gives a draw for every feature, token and site. Signs at different positions are independent, so
   cross terms are 0 in the mean, and the mean of half the squares is Σ_t ½ Var_p(Δ_t).
4. One output has no distribution (its softmax is 1, its KL 0): the change is Σ_t |Δ_t|, exactly, by one backward pass per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.candidates.attribution.batch import Batch, Estimates, ablation_estimates
from feature_graph.candidates.attribution.gradients import RecordedPass, next_token_loss, recorded_pass, rows_a_pass, site_gradients
from feature_graph.candidates.errors import CandidateError
from feature_graph.config import Config
from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions import ModelSlices, n_outputs, predicts_tokens
from feature_graph.utils import derived_seed

#: Backward passes from random signs: the root mean square error of one token's estimate is at most √(2 / draws) of it.
DRAWS = 8


class Effect(Protocol):
    """One meaning of a feature's effect."""

    @property
    def name(self) -> str:
        """``loss`` or ``output``."""
        ...

    @property
    def unit(self) -> str:
        """Of a change."""
        ...

    @property
    def signed(self) -> bool:
        """Whether a change has a sign."""
        ...

    @property
    def noise(self) -> float:
        """Changes below this are rounding of a forward pass in float32; their sign and their ratio mean nothing."""
        ...

    def estimates(self, model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], batch: Batch) -> Estimates:
        """Estimated change by removing each active feature at each token of the batch."""
        ...

    def changes(self, logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:
        """Real changes float64 [n - 1]: rows 1 … of ``logits`` [n, context, outputs] against row 0, the clean run of the same document."""
        ...


def effect_of(model: HookedModel, cfg: Config) -> Effect:
    """The effect that the configuration asks for; ``auto``: the loss where outputs stand for tokens, else the change of the output.

    Raises:
        CandidateError: If the loss is asked for and the outputs are not the next token.
    """
    chosen = cfg.importance_effect
    if chosen == "loss" and not predicts_tokens(model):
        raise CandidateError(
            f"importance_effect: got loss, but the model's {n_outputs(model)} outputs do not stand for its {model.cfg.d_vocab} tokens, so "
            "there is no next-token loss; set output or auto"
        )
    if chosen == "loss" or (chosen == "auto" and predicts_tokens(model)):
        return LossEffect()
    seed, last = derived_seed(cfg.seed, "importance output"), cfg.importance_positions == "last"
    return DistributionEffect(seed, last) if n_outputs(model) > 1 else ValueEffect(last)


@dataclass(frozen=True)
class LossEffect:
    """Change of the document's next-token loss."""

    name: Literal["loss"] = "loss"
    unit: str = "nats"
    signed: bool = True
    noise: float = 1e-4

    def estimates(self, model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], batch: Batch) -> Estimates:
        """See :class:`Effect`."""
        found = site_gradients(model, _sites(codecs), batch.tokens, batch.counted)
        changes = {
            layer: ablation_estimates(codec, batch.active[layer], found.gradients[layer].flatten(0, 1)) for layer, codec in codecs.items()
        }
        return Estimates(found.residuals, changes)

    def changes(self, logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:
        """See :class:`Effect`."""
        loss = next_token_loss(logits, tokens, counted)
        return loss[1:] - loss[0]


@dataclass(frozen=True)
class DistributionEffect:
    """Σ over positions of ½ Var_p(Δ logit), which stands for KL(clean ‖ without the feature).

    Attributes:
        seed: Of the random signs; a document's signs do not depend on the batch it is in.
        last: Only the last counted position of each document counts.
    """

    seed: int
    last: bool = False
    draws: int = DRAWS
    name: Literal["output"] = "output"
    unit: str = "nats"
    signed: bool = False
    noise: float = 1e-6

    def estimates(self, model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], batch: Batch) -> Estimates:
        """See :class:`Effect`."""
        return _joined([self._part(model, codecs, batch[rows]) for rows in rows_a_pass(batch.tokens)])

    def _part(self, model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], batch: Batch) -> Estimates:
        with recorded_pass(model, _sites(codecs), batch.tokens) as run:
            sums = {layer: np.zeros(batch.active[layer].nnz) for layer in codecs}
            for weights in self._weights(run.logits.detach(), batch):
                for layer, slopes in _slopes(run, weights, codecs, batch).items():
                    sums[layer] += np.square(slopes)
            return Estimates(run.residuals(), {layer: total / (2 * self.draws) for layer, total in sums.items()})

    def _weights(self, logits: Tensor, batch: Batch) -> Iterator[Tensor]:
        """z of each draw, of the shape of the logits, 0 where a position does not count."""
        counts = counting(batch.counted, self.last).to(logits)[..., None]
        p = (logits if logits.dtype == torch.float64 else logits.float()).softmax(-1)
        root = p.sqrt()
        streams = [np.random.default_rng([self.seed, int(document)]) for document in batch.documents]
        for _ in range(self.draws):
            signed = root * torch.stack([_signs(rng, tuple(p.shape[1:])) for rng in streams]).to(p)
            yield (signed - p * (root * signed).sum(-1, keepdim=True)).to(logits) * counts

    def changes(self, logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:  # noqa: ARG002 (no target is needed)
        """KL(clean ‖ changed), summed over positions."""
        clean = logits[0].double().log_softmax(-1)
        counts = counting(counted, self.last)
        each = [(clean.exp() * (clean - row.double().log_softmax(-1))).sum(-1) for row in logits[1:]]
        return torch.stack([(kl * keep).sum() for kl, keep in zip(each, counts[1:], strict=True)])


@dataclass(frozen=True)
class ValueEffect:
    """Σ over positions of |Δ output|, for a model with one output.

    Attributes:
        last: Only the last counted position of each document counts.
    """

    last: bool = False
    name: Literal["output"] = "output"
    unit: str = "units of the output"
    signed: bool = False
    noise: float = 1e-5

    def estimates(self, model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], batch: Batch) -> Estimates:
        """See :class:`Effect`."""
        return _joined([self._part(model, codecs, batch[rows]) for rows in rows_a_pass(batch.tokens)])

    def _part(self, model: HookedModel | ModelSlices, codecs: Mapping[int, SiteCodec], batch: Batch) -> Estimates:
        counts = counting(batch.counted, self.last)
        with recorded_pass(model, _sites(codecs), batch.tokens) as run:
            sums = {layer: np.zeros(batch.active[layer].nnz) for layer in codecs}
            for position in torch.nonzero(counts.any(0)).flatten().tolist():
                weights = torch.zeros_like(run.logits)
                weights[:, position, 0] = counts[:, position].to(weights)
                for layer, slopes in _slopes(run, weights, codecs, batch).items():
                    sums[layer] += np.abs(slopes)
            return Estimates(run.residuals(), sums)

    def changes(self, logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:  # noqa: ARG002 (no target is needed)
        """|Δ output|, summed over positions."""
        value = logits[..., 0].double()
        return ((value[1:] - value[0]).abs() * counting(counted, self.last)[1:]).sum(-1)


def counting(counted: Tensor, last: bool) -> Tensor:
    """Positions whose output counts, bool [n, context]: the counted ones, or only the last of them in each document."""
    if not last:
        return counted
    from_here = counted.flip(1).cumsum(1).flip(1)
    return counted & (from_here == 1)


def _sites(codecs: Mapping[int, SiteCodec]) -> dict[int, Site]:
    return {layer: codec.site for layer, codec in codecs.items()}


def _slopes(run: RecordedPass, weights: Tensor, codecs: Mapping[int, SiteCodec], batch: Batch) -> dict[int, Any]:
    """⟨weights, Δ⟩ for every active feature at every token, by one backward pass."""
    found = run.gradients(run.logits, weights)
    return {layer: ablation_estimates(codec, batch.active[layer], found[layer].flatten(0, 1)) for layer, codec in codecs.items()}


def _joined(parts: list[Estimates]) -> Estimates:
    layers = parts[0].changes
    return Estimates(
        {layer: torch.cat([part.residuals[layer] for part in parts]) for layer in layers},
        {layer: np.concatenate([part.changes[layer] for part in parts]) for layer in layers},
    )


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Random signs, int8; one random bit each."""
    n = int(np.prod(shape))
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-n // 8)), dtype=np.uint8), count=n)
    return torch.from_numpy(bits.astype(np.int8) * 2 - 1).reshape(shape)
