"""Seeds of a behaviour: chosen on one half of its prompts, tested on the other.

1. rank all features of all sites by |attribution| on the choosing half; where integrated gradients are given too, take the two orders
   in turn;
2. ablate the first ``2 × top_k`` there, one by one, and keep the ``top_k`` of largest |effect|;
3. ablate these on the held-out half: the mean over groups is the effect size, with its interval and a Holm-adjusted p;
4. a seed is confirmed if it is significant, as large as what random directions of the same size do, and of the sign it was chosen with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from feature_graph.artifacts import feature_id, layer_of
from feature_graph.stats import MeanTest, adjust, mean_test, placebo_floor
from feature_graph.subgraphs.effects import BehaviorModel, Float, group_means
from feature_graph.subgraphs.tokens import PromptTokens

_POOL = 2
_PLACEBO_QUANTILE = 0.99
#: Logits; smaller effects are not called effects whatever their p.
_MIN_EFFECT = 0.01


@dataclass(frozen=True)
class Chosen:
    """A feature chosen on the first half: its attribution, the effect of its ablation, its integrated gradients if taken.

    ``layer`` is the site's key where there are dictionaries on components.
    """

    layer: int
    index: int
    attribution: float
    effect: float
    integrated: float | None = None


@dataclass(frozen=True)
class TestedSeeds:
    """Seeds after the held-out half: one dict per seed, largest |effect| first, and the floor that effects had to reach."""

    seeds: list[dict[str, Any]]
    floor: float


def choose_seeds(model: BehaviorModel, prompts: PromptTokens, top_k: int, integrated: Mapping[int, Float] | None = None) -> list[Chosen]:
    """Steps 1 and 2, on the choosing half. Fewer than ``top_k`` only if fewer features are active there.

    Args:
        model: The model and its dictionaries.
        prompts: The choosing half.
        top_k: How many seeds.
        integrated: Layer → integrated attribution [d_sae] of the same prompts.
    """
    scores = model.attribution(prompts)
    orders = [_largest(ranking, _POOL * top_k) for ranking in (scores, integrated) if ranking is not None]
    turns = [feature for turn in zip_longest(*orders) for feature in turn if feature is not None]
    pool: list[tuple[int, int]] = list(dict.fromkeys(turns))[: _POOL * top_k]
    clean = model.clean(prompts)
    effects = group_means(model.effects(prompts, clean, model.removals(prompts, clean, pool)), prompts.groups).mean(axis=0)
    order = sorted(range(len(pool)), key=lambda k: (-abs(effects[k]), pool[k]))[:top_k]
    return [_chosen(pool[k], scores, float(effects[k]), integrated) for k in order]


def _chosen(feature: tuple[int, int], scores: Mapping[int, Float], effect: float, integrated: Mapping[int, Float] | None) -> Chosen:
    layer, index = feature
    return Chosen(layer, index, float(scores[layer][index]), effect, None if integrated is None else float(integrated[layer][index]))


def confirm_seeds(
    model: BehaviorModel, prompts: PromptTokens, chosen: Sequence[Chosen], level: float, n_placebo: int, seed: int
) -> TestedSeeds:
    """Steps 3 and 4, on the held-out half."""
    clean = model.clean(prompts)
    removals = model.removals(prompts, clean, [(c.layer, c.index) for c in chosen])
    means = group_means(model.effects(prompts, clean, removals), prompts.groups)
    placebos = model.effects(prompts, clean, model.placebos(removals, n_placebo, seed))
    floor = float(placebo_floor(group_means(placebos, prompts.groups).mean(axis=0), _PLACEBO_QUANTILE, _MIN_EFFECT))
    test = mean_test(means)
    q = adjust(test.p, "holm")
    seeds = [
        _seed(model, c, test, q, k, bool(q[k] < level and abs(test.mean[k]) >= floor and test.mean[k] * c.effect > 0))
        for k, c in enumerate(chosen)
    ]
    seeds.sort(key=lambda s: (-abs(s["effect_size"]), s["feature_id"]))
    return TestedSeeds([{**s, "rank": rank} for rank, s in enumerate(seeds, start=1)], floor)


def _seed(model: BehaviorModel, chosen: Chosen, test: MeanTest, q: Float, k: int, confirmed: bool) -> dict[str, Any]:
    site = model.codecs[chosen.layer].site
    return {
        "feature_id": feature_id(chosen.layer, chosen.index),
        "effect_size": float(test.mean[k]),
        "ci_low": float(test.ci_low[k]),
        "ci_high": float(test.ci_high[k]),
        "p_value": float(test.p[k]),
        "q_value": float(q[k]),
        "attribution": chosen.attribution,
        "integrated": chosen.integrated,
        "selection_effect": chosen.effect,
        "confirmed": confirmed,
        "layer": layer_of(chosen.layer),
        "index": chosen.index,
        "uid": site.uid(chosen.index),
    }


def _largest(scores: Mapping[int, Float], n: int) -> list[tuple[int, int]]:
    """(layer, index) of the n largest |score| above 0."""
    found = []
    for layer, values in scores.items():
        size = np.abs(values)
        top = np.argsort(-size, kind="stable")[:n]
        found += [(-size[i], layer, int(i)) for i in top if size[i] > 0]
    return [(layer, index) for _, layer, index in sorted(found)[:n]]
