"""The last hop: what features write straight into a behaviour's metric, past all later blocks.

A feature's contribution f_i · d_i at the last position stays in the residual stream up to the final norm. Taken out there alone, and
nowhere else, the change of the metric is its direct effect on the output: no linearisation, the norm and the softmax are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import feature_id
from feature_graph.interventions import CleanRun, at_positions
from feature_graph.stats import adjust, document_means, mean_test
from feature_graph.subgraphs.effects import BehaviorModel
from feature_graph.subgraphs.tokens import PromptTokens

Float = NDArray[np.float64]
#: Units of the metric; smaller effects are not called effects whatever their p.
_MIN_EFFECT = 0.01
_ROWS = 256


@torch.no_grad()
def output_effects(model: BehaviorModel, prompts: PromptTokens, clean: CleanRun, features: Sequence[tuple[int, int]]) -> Float:
    """Clean metric − metric with the feature's own contribution taken out of the final residual stream; [prompts, features].

    Args:
        model: The model and its dictionaries.
        prompts: Prompts.
        clean: Their clean run, with the final residual stream (:meth:`BehaviorModel.clean`).
        features: (layer, index).
    """
    slices = model.slices
    final = at_positions(clean.residuals[slices.n_blocks], prompts.last)
    whole = prompts.metric(slices.logits(final))
    here = {layer: at_positions(clean.residuals[model.codecs[layer].site.point], prompts.last) for layer in {n for n, _ in features}}
    acts = {layer: model.codecs[layer].record(x.to(model.codecs[layer].w_enc.dtype)) for layer, x in here.items()}
    found = torch.zeros(len(prompts), len(features), dtype=torch.float64)
    jobs = [(row, k) for k, (layer, index) in enumerate(features) for row in (acts[layer][:, index] != 0).nonzero().flatten().tolist()]
    for block in (jobs[i : i + _ROWS] for i in range(0, len(jobs), _ROWS)):
        rows, columns = [row for row, _ in block], [k for _, k in block]
        written = torch.stack(
            [acts[features[k][0]][row, features[k][1]] * model.codecs[features[k][0]].w_dec[features[k][1]] for row, k in block]
        )
        after = prompts.take(rows).metric(slices.logits(final[rows] - written.to(final.dtype)))
        found[rows, columns] = (whole[rows] - after).double().cpu()
    return found.numpy()


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
