"""The last hop: what features write straight into a behaviour's metric, past all later blocks.

A feature's contribution f_i · d_i at the last position stays in the residual stream up to the final norm. Taken out there alone, and
nowhere else, the change of the metric is its direct effect on the output: no linearisation, the norm and the softmax are run. What a
feature of a component contributes is what it adds to the stream: of z, what W_O and a norm that follows make of it; of the MLP's input,
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import feature_id
from feature_graph.interventions import added_to_stream, at_positions
from feature_graph.stats import adjust, document_means, mean_test
from feature_graph.subgraphs.effects import BehaviorModel, CleanPrompts, recorded
from feature_graph.subgraphs.tokens import PromptTokens

Float = NDArray[np.float64]
#: Units of the metric; smaller effects are not called effects whatever their p.
_MIN_EFFECT = 0.01
_ROWS = 256


@torch.no_grad()
def output_effects(model: BehaviorModel, prompts: PromptTokens, clean: CleanPrompts, features: Sequence[tuple[int, int]]) -> Float:
    """Clean metric − metric with the feature's own contribution taken out of the final residual stream; [prompts, features].

    Args:
        model: The model and its dictionaries.
        prompts: Prompts.
        clean: Their clean run.
        features: (layer, index).
    """
    slices = model.slices
    final = at_positions(clean.run.residuals[slices.n_blocks], prompts.last)
    whole = prompts.metric(slices.logits(final))
    acts = {n: recorded(model.codecs[n], at_positions(clean.reads[n], prompts.last)) for n in {layer for layer, _ in features}}
    found = torch.zeros(len(prompts), len(features), dtype=torch.float64)
    jobs = [(row, k) for k, (layer, index) in enumerate(features) for row in (acts[layer][:, index] != 0).nonzero().flatten().tolist()]
    for block in (jobs[i : i + _ROWS] for i in range(0, len(jobs), _ROWS)):
        rows, columns = [row for row, _ in block], [k for _, k in block]
        lost = _lost(model, prompts, clean, acts, [(row, *features[k]) for row, k in block])
        after = prompts.take(rows).metric(slices.logits(final[rows] + lost))
        found[rows, columns] = (whole[rows] - after).double().cpu()
    return found.numpy()


def _lost(
    model: BehaviorModel, prompts: PromptTokens, clean: CleanPrompts, acts: Mapping[int, Tensor], jobs: Sequence[tuple[int, int, int]]
) -> Tensor:
    """What the residual stream at the last position changes by without one feature's contribution: [jobs, d_model].

    Args:
        model: The model and its dictionaries.
        prompts: Prompts.
        clean: Their clean run.
        acts: Layer → activations at the last position of each prompt, [prompts, d_sae].
        jobs: (prompt, layer, index).
    """
    slices = model.slices
    found = torch.zeros(len(jobs), slices.d_model, dtype=slices.dtype, device=slices.device)
    for layer in {layer for _, layer, _ in jobs}:
        codec, at = model.codecs[layer], [i for i, job in enumerate(jobs) if job[1] == layer]
        rows, index = (torch.tensor([jobs[i][part] for i in at], device=slices.device) for part in (0, 2))
        written = acts[layer][rows, index, None] * codec.w_dec[index]
        positions = prompts.last.to(slices.device)[rows]
        found[at] = added_to_stream(slices, clean.run, codec.site, rows, positions, -written).to(slices.dtype)
    return found


def output_edges(model: BehaviorModel, prompts: PromptTokens, features: Sequence[tuple[int, int]], level: float) -> list[dict[str, Any]]:
    """One dict per feature, largest effect first: ``feature_id``, ``effect``, ``ci_low``, ``ci_high``, ``p_value``, ``q_value``,
    ``significant``.

    The effect is the mean over groups, its interval 95 %, q by Benjamini and Hochberg over the features given; significant: q below the
    level and an effect of at least 0.01 units of the metric.
    """
    if not features:
        return []
    effects = output_effects(model, prompts, model.clean(prompts), features)
    test = mean_test(document_means(effects, prompts.groups).values)
    q = adjust(test.p, "fdr_bh")
    edges = [
        {
            "feature_id": feature_id(*feature),
            "effect": float(test.mean[k]),
            "ci_low": float(test.ci_low[k]),
            "ci_high": float(test.ci_high[k]),
            "p_value": float(test.p[k]),
            "q_value": float(q[k]),
            "significant": bool(q[k] < level and abs(test.mean[k]) >= _MIN_EFFECT),
        }
        for k, feature in enumerate(features)
    ]
    return sorted(edges, key=lambda e: (-abs(e["effect"]), e["feature_id"]))
