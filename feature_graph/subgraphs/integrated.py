"""Integrated gradients of a behaviour's metric over the features of one site at a time.

The path leads from what is written with every feature at its baseline to what is written as it is; the error term, and what a skip
transcoder adds beside its features, stay. The gradient is taken at the middle of ``steps`` equal parts and averaged.
Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks; over features as in Marks et al. 2024, Sparse Feature Circuits. Unlike
the gradient at the clean point it sees features whose effect is saturated there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import entered
from feature_graph.stats import document_means
from feature_graph.subgraphs.effects import BehaviorModel, CleanPrompts, Float, attributed, changed, chunks
from feature_graph.subgraphs.errors import SubgraphError
from feature_graph.subgraphs.tokens import PromptTokens


def integrated_attribution(model: BehaviorModel, prompts: PromptTokens, baseline: Mapping[int, Tensor], steps: int = 4) -> dict[int, Float]:
    """Layer → mean over groups of the integrated attribution of each feature, float64 [d_sae], in units of the metric.

    Args:
        model: The model and its dictionaries.
        prompts: Prompts.
        baseline: Layer → activations [d_sae] at the start of the path.
        steps: Points on the path; each costs a forward and a backward pass from each site on.

    Raises:
        SubgraphError: If ``steps`` is under 1.
    """
    if steps < 1:
        raise SubgraphError(f"steps: got {steps}, expected at least 1")
    parts: dict[int, list[Tensor]] = {layer: [] for layer in model.codecs}
    for rows in chunks(len(prompts)):
        part = prompts.take(rows)
        clean = model.clean(part)
        for layer, codec in model.codecs.items():
            parts[layer].append(_along(model, layer, codec, part, clean, baseline[layer], steps))
    return {layer: document_means(torch.cat(p).cpu().numpy(), prompts.groups).values.mean(axis=0) for layer, p in parts.items()}


def _along(
    model: BehaviorModel, layer: int, codec: SiteCodec, prompts: PromptTokens, clean: CleanPrompts, baseline: Tensor, steps: int
) -> Tensor:
    """Attribution [rows, d_sae] of one site."""
    site, mask = codec.site, prompts.mask().to(model.slices.device)
    stream = clean.run.residuals[site.point]
    change = changed(codec, clean.reads[layer], mask, baseline)
    path = torch.zeros(*mask.shape, codec.w_dec.shape[1], dtype=stream.dtype, device=stream.device)
    for row, (part, m) in enumerate(zip(change, mask, strict=True)):
        path[row, m] = (part @ codec.w_dec).to(path.dtype)
    total = torch.zeros_like(path)
    for k in range(steps):
        with torch.enable_grad():
            taken = ((1 - (k + 0.5) / steps) * path).detach().requires_grad_()
            x, taps = entered(site, stream, partial(torch.sub, other=taken))
            metric = prompts.metric(model.slices.logits_from(site.point, x, prompts.last, taps))
            total -= torch.autograd.grad(metric.sum(), taken)[0]
    return attributed(codec, change, total / steps, mask)
