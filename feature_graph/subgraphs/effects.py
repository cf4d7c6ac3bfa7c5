"""What single features do for a behaviour's metric: estimated for all of them, measured for a few.

1. Attribution, all features of all analysed sites at once: Σ over the prompt's positions of f_i · ⟨gradient of the metric, d_i⟩, the
   first-order effect of the feature being there (Syed et al. 2023, Attribution Patching Outperforms Automated Circuit Discovery). The
   gradient is that of the tensor which the dictionary writes, everything after it free.
   Integrated, the gradient is the mean over a straight path from the site with its features at other levels to the site as it is
   (Sundararajan et al. 2017); at one site the sum over all features is then the change of the metric between the two.
2. Ablation, one feature at a time: f_i · d_i is taken out of what the dictionary writes (the residual stream, or what a component gives)
   at every position of the prompt, position 0 excepted; the reconstruction error, and what a skip transcoder adds beside its features,
   stay; everything downstream runs freely; the effect is clean metric − ablated metric (positive: it supports).
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
from feature_graph.interventions import (
    AnalysedModel,
    CleanRun,
    entered,
    random_directions,
    read_at,
    stream_point,
    tapped_run,
    tensor_gradients,
    write_at,
)
from feature_graph.stats import document_means
from feature_graph.subgraphs.tokens import PromptTokens

Float = NDArray[np.float64]
_ROWS = 64


@dataclass(frozen=True)
class Removal:
    """Something to take out of what is written at one site: amounts [n, context] (activation units) along a direction [d_out]."""

    layer: int
    amounts: Tensor
    direction: Tensor


@dataclass(frozen=True)
class _Removal:
    """One removal from one prompt, and the first position at which it removes something."""

    removal: int
    row: int
    first: int


@dataclass(frozen=True)
class CleanPrompts:
    """The clean run over some prompts.

    Attributes:
        run: Residual streams at the points of all sites and after the last block; keys and values of the blocks from the first point on.
        reads: Layer → what its dictionary reads [n, context, d_in].
    """

    run: CleanRun
    reads: dict[int, Tensor]


class BehaviorModel:
    """The model and its dictionaries as the measurement of one behaviour sees them.

    What is by layer is by site where there are dictionaries on components.

    Args:
        analysed: The model and its dictionaries.
    """

    def __init__(self, analysed: AnalysedModel) -> None:
        self.slices, self.codecs = analysed.slices, analysed.codecs
        n = self.slices.n_blocks
        self._reads = {layer: read_at(codec.site, n) for layer, codec in self.codecs.items()}
        self._writes = {layer: write_at(codec.site, n) for layer, codec in self.codecs.items()}

    def clean(self, prompts: PromptTokens) -> CleanPrompts:
        """Run the prompts as they are."""
        n, points = self.slices.n_blocks, {codec.site.point for codec in self.codecs.values()}
        streams = {point: stream_point(point, n) for point in (*points, n)}
        wanted = {*self._reads.values(), *streams.values()}
        run, found = tapped_run(self.slices, prompts.tokens, wanted, range(min(points), n))
        run.residuals = {point: found[where] for point, where in streams.items()}
        return CleanPrompts(run, {layer: found[where] for layer, where in self._reads.items()})

    @torch.no_grad()
    def logits(self, prompts: PromptTokens, clean: CleanPrompts | None = None) -> Tensor:
        """Logits [n, d_vocab] at the last position of each prompt."""
        run = clean.run if clean is not None else self.slices.residuals(prompts.tokens, [self.slices.n_blocks])
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
            found = tensor_gradients(self.slices, part.tokens, self._writes.values(), part.metric, part.last, self._reads.values())
            mask = part.mask().to(self.slices.device)
            for layer, codec in self.codecs.items():
                acts = changed(codec, found.tensors[self._reads[layer]], mask, None if baseline is None else baseline[layer])
                parts[layer].append(attributed(codec, acts, found.gradients[self._writes[layer]], mask))
        return {layer: document_means(torch.cat(p).cpu().numpy(), prompts.groups).values.mean(axis=0) for layer, p in parts.items()}

    @torch.no_grad()
    def removals(self, prompts: PromptTokens, clean: CleanPrompts, features: Sequence[tuple[int, int]]) -> list[Removal]:
        """One removal per (layer, index): all of the feature's activation on the prompts."""
        mask = prompts.mask().to(self.slices.device)
        active = {layer: recorded(self.codecs[layer], clean.reads[layer]) for layer in {layer for layer, _ in features}}
        return [Removal(layer, active[layer][..., index] * mask, self.codecs[layer].w_dec[index]) for layer, index in features]

    @torch.no_grad()
    def effects(self, prompts: PromptTokens, clean: CleanPrompts, removals: Sequence[Removal]) -> Float:
        """Clean metric − metric after each removal alone, float64 [removals, n]; exactly 0 where nothing is there to remove.

        Nothing changes before the first position at which something is removed: from there on the blocks run after the clean keys and
        values, prompts that begin alike in one batch.
        """
        metric = prompts.metric(self.logits(prompts, clean))
        effects = np.zeros((len(removals), len(prompts)))
        for layer, jobs in _jobs(removals).items():
            for block in (jobs[i : i + _ROWS] for i in range(0, len(jobs), _ROWS)):
                rows = [job.row for job in block]
                after = prompts.take(rows).metric(self._removed(prompts, clean.run, layer, removals, block))
                effects[[job.removal for job in block], rows] = (metric[rows] - after).double().cpu().numpy()
        return effects

    def _removed(self, prompts: PromptTokens, clean: CleanRun, layer: int, removals: Sequence[Removal], jobs: Sequence[_Removal]) -> Tensor:
        """Logits [jobs, d_vocab] at the last positions of the jobs' prompts."""
        site, device = self.codecs[layer].site, self.slices.device
        rows, first = (torch.tensor(values, device=device) for values in zip(*((job.row, job.first) for job in jobs), strict=True))
        last = prompts.last.to(device)[rows]
        window = first[:, None] + torch.arange(int((last - first).max()) + 1, device=device)
        window = window.clamp(max=prompts.tokens.shape[1] - 1)
        amounts = torch.stack([removals[job.removal].amounts[job.row] for job in jobs]).gather(1, window)
        taken = amounts[..., None] * torch.stack([removals[job.removal].direction for job in jobs])[:, None]
        stream = clean.residuals[site.point][rows[:, None], window][:, None]
        x, taps = entered(site, stream, lambda x: x - taken.to(x.dtype)[:, None])
        x = self.slices.advance(x, site.point, self.slices.n_blocks, clean, rows, first, taps)
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
def changed(codec: SiteCodec, read: Tensor, mask: Tensor, baseline: Tensor | None = None) -> list[Tensor]:
    """Activations minus the baseline at the positions of ``mask``, [positions, d_sae] per row of what is read [rows, context, d_in]."""
    acts = (recorded(codec, x[m]) for x, m in zip(read, mask, strict=True))
    return [a if baseline is None else a - baseline for a in acts]


@torch.no_grad()
def attributed(codec: SiteCodec, change: Sequence[Tensor], gradient: Tensor, mask: Tensor) -> Tensor:
    """Σ over positions of change · ⟨gradient, d_i⟩ of each feature in each row, [rows, d_sae]."""
    wide = gradient.to(codec.w_dec.dtype)
    return torch.stack([(c * (g[m] @ codec.w_dec.T)).sum(dim=0) for c, g, m in zip(change, wide, mask, strict=True)])


def recorded(codec: SiteCodec, read: Tensor) -> Tensor:
    """Activations [..., d_sae] of what is read [..., d_in]."""
    return codec.record(read.to(codec.w_enc.dtype))


def chunks(n: int) -> Iterator[range]:
    """Rows of one batch after another."""
    return (range(i, min(i + _ROWS // 2, n)) for i in range(0, n, _ROWS // 2))
