"""What single features do for a behaviour's metric: estimated for all of them, measured for a few.

1. Attribution, all features of all analysed sites at once: Σ over the prompt's positions of f_i · ⟨gradient of the metric, d_i⟩, the
   first-order effect of the feature being there (Syed et al. 2023, Attribution Patching Outperforms Automated Circuit Discovery).
   Integrated, the gradient is the mean over a straight path from the site with its features at other levels to the site as it is
   (Sundararajan et al. 2017); at one site the sum over all features is then the change of the metric between the two.
2. Ablation, one feature at a time: f_i · d_i is taken out of the residual stream at every position of the prompt, position 0 excepted, the
   reconstruction error stays, everything downstream runs freely; the effect is clean metric − ablated metric (positive: it supports).
3. Placebo, the same with a random direction in place of d_i: what removing the same amount along any direction does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import AnalysedModel, CleanRun, random_directions, residual_gradients
from feature_graph.stats import document_means
from feature_graph.subgraphs.tokens import PromptTokens

Float = NDArray[np.float64]
_ROWS = 64


@dataclass(frozen=True)
class Removal:
    """Something to take out of the residual stream of one site: amounts [n, context] (activation units) along a direction [d_model]."""

    layer: int
    amounts: Tensor
    direction: Tensor


@dataclass(frozen=True)
class _Removal:
    """One removal from one prompt, and the first position at which it removes something."""

    removal: int
    row: int
    first: int


class BehaviorModel:
    """The model and its dictionaries as the measurement of one behaviour sees them.

    Args:
        analysed: The model and its dictionaries.
    """

    def __init__(self, analysed: AnalysedModel) -> None:
        self.slices, self.codecs, self.points = analysed.slices, analysed.codecs, analysed.points

    def clean(self, prompts: PromptTokens) -> CleanRun:
        """Residual streams at all analysed sites and after the last block; keys and values of the blocks after the first site."""
        blocks = range(self.points[0], self.slices.n_blocks)
        return self.slices.residuals(prompts.tokens, [*self.points, self.slices.n_blocks], blocks)

    @torch.no_grad()
    def logits(self, prompts: PromptTokens, clean: CleanRun | None = None) -> Tensor:
        """Logits [n, d_vocab] at the last position of each prompt."""
        run = clean or self.slices.residuals(prompts.tokens, [self.slices.n_blocks])
        return self.slices.logits_from(self.slices.n_blocks, run.residuals[self.slices.n_blocks], prompts.last)

    def attribution(self, prompts: PromptTokens, baseline: Mapping[int, Tensor] | None = None) -> dict[int, Float]:
        """Layer → mean over groups of the attribution of each feature, float64 [d_sae], in units of the metric.

        Args:
            prompts: Prompts.
            baseline: Layer → activations [d_sae] that the change is counted from; 0 if not given.
        """
        parts: dict[int, list[Tensor]] = {layer: [] for layer in self.codecs}
        for rows in chunks(len(prompts)):
            part = prompts.take(rows)
            found = residual_gradients(self.slices, part.tokens, self.points, part.metric, positions=part.last)
            mask = part.mask().to(self.slices.device)
            for layer, codec in self.codecs.items():
                acts = changed(codec, found.residuals[codec.site.point], mask, None if baseline is None else baseline[layer])
                parts[layer].append(attributed(codec, acts, found.gradients[codec.site.point], mask))
        return {layer: document_means(torch.cat(p).cpu().numpy(), prompts.groups).values.mean(axis=0) for layer, p in parts.items()}

    @torch.no_grad()
    def removals(self, prompts: PromptTokens, clean: CleanRun, features: Sequence[tuple[int, int]]) -> list[Removal]:
        """One removal per (layer, index): all of the feature's activation on the prompts."""
        mask = prompts.mask().to(self.slices.device)
        active = {
            layer: _recorded(self.codecs[layer], clean.residuals[self.codecs[layer].site.point])
            for layer in {layer for layer, _ in features}
        }
        return [Removal(layer, active[layer][..., index] * mask, self.codecs[layer].w_dec[index]) for layer, index in features]

    @torch.no_grad()
    def effects(self, prompts: PromptTokens, clean: CleanRun, removals: Sequence[Removal]) -> Float:
        """Clean metric − metric after each removal alone, float64 [removals, n]; exactly 0 where nothing is there to remove.

        Nothing changes before the first position at which something is removed: from there on the blocks run after the clean keys and
        values, prompts that begin alike in one batch.
        """
        metric = prompts.metric(self.logits(prompts, clean))
        effects = np.zeros((len(removals), len(prompts)))
        for layer, jobs in _jobs(removals).items():
            for block in (jobs[i : i + _ROWS] for i in range(0, len(jobs), _ROWS)):
                rows = [job.row for job in block]
                after = prompts.take(rows).metric(self._removed(prompts, clean, layer, removals, block))
                effects[[job.removal for job in block], rows] = (metric[rows] - after).double().cpu().numpy()
        return effects

    def _removed(self, prompts: PromptTokens, clean: CleanRun, layer: int, removals: Sequence[Removal], jobs: Sequence[_Removal]) -> Tensor:
        """Logits [jobs, d_vocab] at the last positions of the jobs' prompts."""
        point, device = self.codecs[layer].site.point, self.slices.device
        rows, first = (torch.tensor(values, device=device) for values in zip(*((job.row, job.first) for job in jobs), strict=True))
        last = prompts.last.to(device)[rows]
        window = first[:, None] + torch.arange(int((last - first).max()) + 1, device=device)
        window = window.clamp(max=prompts.tokens.shape[1] - 1)
        amounts = torch.stack([removals[job.removal].amounts[job.row] for job in jobs]).gather(1, window)
        taken = amounts[..., None] * torch.stack([removals[job.removal].direction for job in jobs])[:, None]
        x = clean.residuals[point][rows[:, None], window]
        x = self.slices.advance((x - taken.to(x.dtype))[:, None], point, self.slices.n_blocks, clean, rows, first)
        return self.slices.logits(x[torch.arange(len(rows), device=device), 0, last - first])

    def placebos(self, removals: Sequence[Removal], n: int, seed: int) -> list[Removal]:
        """``n`` removals of the same amounts at the same positions, each along a random direction of the same norm."""
        draw = torch.Generator().manual_seed(seed)
        made = []
        for k in range(n if removals else 0):
            like = removals[k % len(removals)]
            (direction,) = random_directions(1, len(like.direction), draw, like.direction.norm())
            made.append(Removal(like.layer, like.amounts, direction))
        return made


def group_means(effects: Float, groups: NDArray[np.int64]) -> Float:
    """[removals, prompts] averaged within groups → [groups, removals]."""
    return document_means(effects.T, groups).values


def _jobs(removals: Sequence[Removal]) -> dict[int, list[_Removal]]:
    """Layer → jobs that remove anything at all, those with the same first position together."""
    jobs: dict[int, list[_Removal]] = {}
    for k, removal in enumerate(removals):
        there = removal.amounts != 0
        first = there.int().argmax(dim=1).tolist()
        jobs.setdefault(removal.layer, []).extend(_Removal(k, row, first[row]) for row in there.any(dim=1).nonzero().flatten().tolist())
    return {layer: sorted(found, key=lambda job: job.first) for layer, found in jobs.items()}


@torch.no_grad()
def changed(codec: SiteCodec, residual: Tensor, mask: Tensor, baseline: Tensor | None = None) -> list[Tensor]:
    """Activations minus the baseline at the positions of ``mask``, [positions, d_sae] per row."""
    acts = (_recorded(codec, x[m]) for x, m in zip(residual, mask, strict=True))
    return [a if baseline is None else a - baseline for a in acts]


@torch.no_grad()
def attributed(codec: SiteCodec, change: Sequence[Tensor], gradient: Tensor, mask: Tensor) -> Tensor:
    """Σ over positions of change · ⟨gradient, d_i⟩ of each feature in each row, [rows, d_sae]."""
    wide = gradient.to(codec.w_dec.dtype)
    return torch.stack([(c * (g[m] @ codec.w_dec.T)).sum(dim=0) for c, g, m in zip(change, wide, mask, strict=True)])


def _recorded(codec: SiteCodec, residual: Tensor) -> Tensor:
    return codec.record(residual.to(codec.w_enc.dtype))


def chunks(n: int) -> Iterator[range]:
    """Rows of one batch after another."""
    return (range(i, min(i + _ROWS // 2, n)) for i in range(0, n, _ROWS // 2))
