"""Integrated gradients of a behaviour's metric over the features of one site at a time.

The path leads from the site with every feature at its baseline to the site as it is; the error term stays. The gradient is taken at the
middle of ``steps`` equal parts and averaged. Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks; over features as in Marks
et al. 2024, Sparse Feature Circuits. Unlike the gradient at the clean point it sees features whose effect is saturated there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import CleanRun
from feature_graph.stats import document_means
from feature_graph.subgraphs.effects import BehaviorModel, Float, attributed, changed, chunks
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
        clean = model.slices.residuals(part.tokens, model.points)
        for layer, codec in model.codecs.items():
            parts[layer].append(_along(model, codec, part, clean, baseline[layer], steps))
    return {layer: document_means(torch.cat(p).cpu().numpy(), prompts.groups).values.mean(axis=0) for layer, p in parts.items()}


def _along(model: BehaviorModel, codec: SiteCodec, prompts: PromptTokens, clean: CleanRun, baseline: Tensor, steps: int) -> Tensor:
    """Attribution [rows, d_sae] of one site."""
    x, mask = clean.residuals[codec.site.point], prompts.mask().to(model.slices.device)
    change = changed(codec, x, mask, baseline)
    path = torch.zeros_like(x)
    for row, (part, m) in enumerate(zip(change, mask, strict=True)):
        path[row, m] = (part @ codec.w_dec).to(x.dtype)
    total = torch.zeros_like(x)
    for k in range(steps):
        with torch.enable_grad():
            at = (x - (1 - (k + 0.5) / steps) * path).detach().requires_grad_()
            metric = prompts.metric(model.slices.logits_from(codec.site.point, at, prompts.last))
            total += torch.autograd.grad(metric.sum(), at)[0]
    return attributed(codec, change, total / steps, mask)
